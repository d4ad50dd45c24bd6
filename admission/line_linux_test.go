package admission

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestHerd(t *testing.T) {
	w := newWorld(t)
	var ps []*waiter
	for range 5 {
		p := w.start("100M", 100, time.Hour)
		p.says("held")
		ps = append(ps, p)
	}
	w.available(350) // two of them, and 100 MiB stay
	ps[0].says("admitted")
	ps[1].says("admitted")
	w.looks()
	ps[2].silent()
	// The first has used what it reserved.
	w.available(250)
	ps[0].do("used 104857600")
	w.looks()
	ps[2].silent()
	w.available(300)
	ps[2].says("admitted")
	w.looks()
	ps[3].silent()
	// One ends without having used anything.
	ps[1].do("release")
	ps[3].says("admitted")
	w.looks()
	ps[4].silent()
}

func TestOrder(t *testing.T) {
	w := newWorld(t)
	var ps []*waiter
	for range 12 {
		p := w.start("1%", 10, time.Hour)
		p.says("held")
		ps = append(ps, p)
	}
	w.available(900)
	for _, p := range ps {
		p.says("admitted")
	}
	var last record
	tab := w.peek()
	for range ps {
		var next record
		for _, r := range tab.list {
			if r.state == holding && r.ticket > last.ticket && (next.ticket == 0 || r.ticket < next.ticket) {
				next = r
			}
		}
		if next.ticket == 0 || next.until <= last.until {
			t.Fatalf("ticket %d was admitted at %d, after %+v", next.ticket, next.until, last)
		}
		last = next
	}
}

func TestKilledHolder(t *testing.T) {
	w := newWorld(t)
	w.available(500)
	holder := w.start("10%", 300, time.Hour)
	holder.says("admitted")
	p := w.start("10%", 300, time.Hour)
	p.says("held")
	holder.kill()
	since := time.Now()
	p.says("admitted")
	t.Logf("after %v", time.Since(since))
}

func TestKilledHolderBeforeAnybodyWaits(t *testing.T) {
	w := newWorld(t)
	w.available(500)
	holder := w.start("10%", 300, time.Hour)
	holder.says("admitted")
	holder.kill()
	w.start("10%", 300, time.Hour).says("admitted")
}

func TestKilledWaiters(t *testing.T) {
	w := newWorld(t)
	var ps []*waiter
	for range 4 {
		p := w.start("90%", 50, time.Hour)
		p.says("held")
		ps = append(ps, p)
	}
	last := w.start("10%", 50, time.Hour)
	last.says("held")
	w.available(200)
	w.looks()
	last.silent()
	for _, p := range ps {
		p.kill()
	}
	since := time.Now()
	last.says("admitted")
	t.Logf("after %v", time.Since(since))
}

func TestStoppedFirst(t *testing.T) {
	w := newWorld(t)
	first := w.start("10%", 50, time.Hour)
	first.says("held")
	second := w.start("10%", 50, time.Hour)
	second.says("held")
	w.looks()
	if err := first.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.available(160) // for one of them
	second.says("admitted")
	third := w.start("10%", 50, time.Hour)
	third.says("held")
	if err := first.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	w.allPresent()
	second.do("release")
	first.says("admitted")
	w.looks()
	third.silent()
}

// allPresent waits until nobody who waits counts as absent.
func (w *world) allPresent() {
	w.t.Helper()
	eventually(w.t, "nobody is absent", func() bool {
		return !slices.ContainsFunc(w.peek().list, func(r record) bool { return r.state == waiting && r.absent })
	})
}

func TestSmallOnePasses(t *testing.T) {
	w := newWorld(t)
	w.available(700)
	holder := w.start("10%", 400, time.Hour)
	holder.says("admitted")
	first := w.start("10%", 500, time.Hour) // needs 600 of 300: and has them when the holder ends
	first.says("held")
	large := w.start("10%", 150, time.Hour) // would leave 150 and 400
	large.says("held")
	small := w.start("10%", 90, time.Hour) // leaves 210 and 400
	small.says("held")
	small.says("admitted")
	w.looks()
	large.silent()
	first.silent()
	holder.do("release")
	first.says("admitted")
	w.looks()
	large.silent()
}

func TestSettle(t *testing.T) {
	w := newWorld(t)
	w.available(500)
	holder := w.start("10%", 300, 500*time.Millisecond)
	holder.says("admitted")
	p := w.start("10%", 300, time.Hour)
	p.says("held")
	p.says("admitted")
}

// A reservation goes with its process, also when others have the descriptor of the table.
func TestInheritedDescriptor(t *testing.T) {
	w := newWorld(t)
	w.available(500)
	holder := w.start("10%", 300, time.Hour)
	holder.says("admitted")
	fd := -1
	pidfd, _, errno := syscall.Syscall(434, uintptr(holder.cmd.Process.Pid), 0, 0) // pidfd_open(2)
	if errno != 0 {
		t.Skip("pidfd_open:", errno)
	}
	for n := range 64 {
		got, _, errno := syscall.Syscall(438, pidfd, uintptr(n), 0) // pidfd_getfd(2): a duplicate, as fork makes one
		if errno == syscall.EPERM || errno == syscall.ENOSYS {
			t.Skip("pidfd_getfd:", errno)
		}
		if errno != 0 {
			continue
		}
		var a, b syscall.Stat_t
		if syscall.Fstat(int(got), &a) == nil && syscall.Stat(w.dir+"/"+tableFile, &b) == nil && a.Ino == b.Ino && a.Dev == b.Dev {
			fd = int(got)
			break
		}
		syscall.Close(int(got))
	}
	if fd < 0 {
		t.Fatal("the holder has no descriptor of the table")
	}
	defer syscall.Close(fd)
	p := w.start("10%", 300, time.Hour)
	p.says("held")
	holder.kill()
	p.says("admitted")
}
