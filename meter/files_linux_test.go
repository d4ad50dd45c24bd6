package meter

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"mlrun/proc"
)

func TestMappings(t *testing.T) {
	m := mappings{files: map[string]spans{}}
	for _, maps := range []string{
		"7f0000000000-7f0000010000 r--p 00000000 fd:01 77                         /lib/libc.so\n" +
			"7f0000010000-7f0000014000 rw-p 00010000 fd:01 77                         /lib/libc.so\n" +
			"7f0000014000-7f0000020000 rw-p 00000000 00:00 0 \n" +
			"7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]\n" +
			"7ffc00021000-7ffc00023000 r-xp 00000000 00:00 0                          [vdso]\n",
		// The same, and more of it; the same number on another device; a name with a colon and a newline in it.
		"7f1000000000-7f1000008000 r--p 00008000 fd:01 77                         /lib/libc.so\n" +
			"7f1000008000-7f1000010000 r--p 00020000 fd:01 77                         /lib/libc.so\n" +
			"7f1000010000-7f1000011000 r--p 00000000 fd:02 77                         /lib/libc.so\n" +
			"7f1000011000-7f1000012000 r--p 00000000 fd:02 78                         /a:b\\012c (deleted)\n" +
			"7f1000012000-7f1000014000 rw-s 00000000 00:01 9                          /dev/zero (deleted)\n" +
			"7f1000014000-7f1000018000 rw-s 00000000 00:01 10                         /memfd:x (deleted)\n",
	} {
		if !m.add([]byte(maps)) {
			t.Fatalf("not parsed:\n%s", maps)
		}
	}
	// 0 to 0x14000 and 0x20000 to 0x28000 of the library, and the others.
	if want := int64(0x14000 + 0x8000 + 0x1000 + 0x1000 + 0x2000 + 0x4000); m.size() != want || m.other != 0 {
		t.Errorf("%#x bytes, %#x of them apart, want %#x and 0", m.size(), m.other, want)
	}
	// Each open file of these has pages of its own.
	own := "7f0000000000-7f0000002000 rw-s 00000000 00:0e 10                          anon_inode:[io_uring]\n" +
		"7f0000002000-7f0000003000 rw-s 00000000 00:05 11                          /dev/video0\n" +
		"7f0000003000-7f0000004000 rw-s 00000000 00:08 12                          socket:[12]\n"
	m = mappings{files: map[string]spans{}}
	for range 2 {
		if !m.add([]byte(own)) {
			t.Fatal("not parsed")
		}
	}
	if m.size() != 2*0x4000 {
		t.Errorf("pages of their own: %#x bytes, want %#x", m.size(), 2*0x4000)
	}
	for _, maps := range []string{"", "x", "7f00-8f00", "7f00-8f00 r--p 0", "7f00-8f00 r--p 0 00:00"} {
		m := mappings{files: map[string]spans{}}
		if m.add([]byte(maps)) {
			t.Errorf("%q was taken for mappings", maps)
		}
	}
}

// TestSpans compares the set with one that is written out.
func TestSpans(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var l spans
		var want [64]bool
		for range r.IntN(12) {
			from := r.Int64N(63)
			s := span{from, from + 1 + r.Int64N(63-from)}
			l = l.add(s)
			for i := s.from; i < s.to; i++ {
				want[i] = true
			}
		}
		n := int64(0)
		for _, w := range want {
			if w {
				n++
			}
		}
		if l.size() != n {
			t.Fatalf("%v has %d bytes, want %d", l, l.size(), n)
		}
		for i := 1; i < len(l); i++ {
			if l[i-1].to >= l[i].from {
				t.Fatalf("%v is not sorted or not joined", l)
			}
		}
	}
}

// TestBoundByFiles has four processes of a fake tree that have the same 40 MiB of a file, and little of their own.
func TestBoundByFiles(t *testing.T) {
	const mib = 1 << 20
	page := int64(os.Getpagesize())
	dir := t.TempDir()
	write := func(pid int, name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, strconv.Itoa(pid)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(pid), name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	statm := func(pid int, anon, file int64) {
		write(pid, "statm", strconv.FormatInt(1000*mib/page, 10)+" "+strconv.FormatInt((anon+file)/page, 10)+" "+strconv.FormatInt(file/page, 10)+" 0 0 0 0\n")
	}
	maps := func(pid int, inode string) {
		write(pid, "maps", "7f0000000000-7f0002800000 r--s 00000000 fd:01 "+inode+"                          /data\n")
	}
	var ids []proc.ID
	for pid := 1; pid <= 4; pid++ {
		statm(pid, int64(pid)*mib, 40*mib)
		maps(pid, "5")
		write(pid, "stat", strconv.Itoa(pid)+" (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5\n")
		ids = append(ids, proc.ID{PID: pid, Start: 5})
	}
	m := New(proc.FS(dir))
	defer m.Close()
	m.Set(ids)
	own := 10*mib + m.unit.lag
	for _, c := range []struct {
		name         string
		enough, want int64
		change       func()
	}{
		{"the sum is enough", 1000 * mib, own + 160*mib, func() {}},
		{"once", 100 * mib, own + 40*mib, func() {}},
		{"it cannot be enough", 45 * mib, own + 160*mib, func() {}},
		{"another file", 100 * mib, own + 80*mib, func() { maps(4, "6") }},
		{"one that cannot be read", 100 * mib, own + 80*mib, func() { os.Remove(filepath.Join(dir, "4", "maps")) }},
		{"own memory beyond", 100 * mib, own + 79*mib + 160*mib, func() { statm(1, 80*mib, 40*mib) }},
	} {
		c.change()
		if got, _ := m.Bound(time.Now(), c.enough); got != c.want {
			t.Errorf("%s: %d KiB, want %d", c.name, got>>10, c.want>>10)
		}
	}
}
