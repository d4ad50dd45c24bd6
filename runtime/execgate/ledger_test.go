package execgate

import (
	"strconv"
	"testing"
)

const mib = 1 << 20

// ticket is a pledge without an end.
type ticket struct {
	bytes, used int64
	released    int
}

func (t *ticket) Used(n int64)       { t.used = max(t.used, n) }
func (t *ticket) Outstanding() int64 { return max(t.bytes-t.used, 0) }
func (t *ticket) Release()           { t.released++ }

// What a program had resident is expected of the next one of that name, and what is small is not remembered.
func TestLearns(t *testing.T) {
	var l ledger
	run := func(program string, peaks ...int64) {
		l.add(7, program, nil)
		for _, peak := range append(peaks, 1) {
			l.sweep(func(int) (int64, bool) { return peak, true })
		}
		l.sweep(func(int) (int64, bool) { return 0, false })
	}
	for _, c := range []struct {
		program string
		peaks   []int64
		want    int64
	}{
		{"cc1", nil, 0},
		{"cc1", []int64{100 * mib, 400 * mib, 200 * mib}, 400 * mib},
		{"cc1", []int64{800 * mib}, 800 * mib},
		{"cc1", []int64{400 * mib}, 750 * mib}, // an eighth of the way
		{"sh", []int64{2 * mib}, 0},
		{"", []int64{500 * mib}, 0},
	} {
		run(c.program, c.peaks...)
		if got := l.need(c.program); got != c.want {
			t.Errorf("%s after %v: %d MiB, want %d", c.program, c.peaks, got/mib, c.want/mib)
		}
	}
	for range 100 {
		run("cc1", mib)
	}
	if got := l.need("cc1"); got != 0 || len(l.learnt) != 0 || len(l.names) != 0 {
		t.Errorf("%d MiB after it was small for long, %v", got/mib, l.names)
	}
	for i := range 2 * maxPrograms {
		run("p"+strconv.Itoa(i), 100*mib)
	}
	if len(l.learnt) != maxPrograms || len(l.names) != maxPrograms || l.need("p0") != 0 || l.need("p"+strconv.Itoa(2*maxPrograms-1)) == 0 {
		t.Errorf("%d programs, %d names", len(l.learnt), len(l.names))
	}
}

// A ticket is released once: when the program has ended, when its process executes another one, or when nothing is pledged any more.
func TestPledges(t *testing.T) {
	l := ledger{reserve: 100 * mib}
	used := map[int]int64{1: 0, 2: 0, 3: 0}
	sweep := func() bool { return l.sweep(func(pid int) (int64, bool) { n, ok := used[pid]; return n, ok }) }
	var tickets []*ticket
	add := func(pid int) {
		tickets = append(tickets, &ticket{bytes: 100 * mib})
		l.add(pid, "p", tickets[len(tickets)-1])
	}
	check := func(open bool, want ...int) {
		t.Helper()
		if got := sweep(); got != open {
			t.Errorf("something is pledged: %v", got)
		}
		for i, n := range want {
			if got := tickets[i].released; got != n {
				t.Errorf("ticket %d was released %d times, want %d", i, got, n)
			}
		}
	}
	for pid := 1; pid <= 3; pid++ {
		add(pid)
	}
	check(true, 0, 0, 0)
	used[1], used[2] = 30*mib, 150*mib
	check(true, 0, 1, 0)
	delete(used, 3)
	check(true, 0, 1, 1)
	add(1)
	check(true, 1, 1, 1, 0)
	used[1] = 100 * mib
	check(false, 1, 1, 1, 1)
	if len(l.pledges) != 0 {
		t.Errorf("%d are followed", len(l.pledges))
	}
	for pid := range 2 * maxPledges {
		add(pid)
	}
	if len(l.pledges) != maxPledges || l.pledges[0].pid != maxPledges || tickets[4].released != 1 {
		t.Errorf("%d are followed, from %d", len(l.pledges), l.pledges[0].pid)
	}
}

// memory is what is remembered of programs.
type memory map[string]int64

func (m memory) Expect(key string) (int64, bool) { n, ok := m[key]; return n, ok }
func (m memory) Record(key string, peak int64)   { m[key] = peak }

// What was learnt is there for the next gate.
func TestRemembered(t *testing.T) {
	m := memory{}
	a := ledger{peaks: m}
	if got := a.need("cc1"); got != 0 {
		t.Errorf("%d bytes of what was never seen", got)
	}
	a.learn("cc1", 300<<20)
	a.learn("true", 1<<20)
	b := ledger{peaks: m}
	if got := b.need("cc1"); got != 300<<20 {
		t.Errorf("%d bytes of cc1", got)
	}
	if got := b.need("true"); got != 0 || len(m) != 1 {
		t.Errorf("%d bytes of true, %v", got, m)
	}
}
