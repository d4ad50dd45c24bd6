package proc

import (
	"bytes"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Tally is what a group uses, and has used, besides memory.
type Tally struct {
	CPU   time.Duration // of all processes that are and were: see Times
	Tasks int64         // processes and threads that are; zombies count 1, as the kernel counts them
}

// tick is USER_HZ: the parts in which /proc counts CPU time.
const tick = 10 * time.Millisecond

// Tally is Times to the nanosecond for processes that live, and the number of tasks.
//
// The CPU time of a process that is waited for while it is read can be missing or be there twice: that of the next Tally is right again. That of
// one whose parent ignores SIGCHLD is lost with it (wait(2)).
func (g *Group) Tally() (t Tally) {
	g.Update(time.Now())
	g.mu.Lock()
	defer g.mu.Unlock()
	for pid, m := range g.members {
		s, err := g.fs.Stat(pid)
		if err != nil || s.Start != m.Start {
			continue
		}
		m.stopped = s.Stopped()
		t.Tasks += int64(max(s.Threads, 1))
		t.CPU += time.Duration(s.ChildUTime+s.ChildSTime) * tick
		if own, ok := g.fs.clock(pid); ok {
			t.CPU += own
		} else {
			t.CPU += time.Duration(s.UTime+s.STime) * tick
		}
	}
	for pid := range g.reapers {
		if s, err := g.fs.Stat(pid); err == nil {
			t.CPU += time.Duration(s.ChildUTime+s.ChildSTime) * tick
		}
	}
	return t
}

// clock is the CPU time of all threads of a process, from its clock (clock_getcpuclockid(3)).
func (f FS) clock(pid int) (time.Duration, bool) {
	if f != Root {
		return 0, false
	}
	const sched = 2 // CPUCLOCK_SCHED of a process, linux/posix-timers_types.h
	var ts unix.Timespec
	if unix.ClockGettime(int32(^pid<<3|sched), &ts) != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}

// HugePages is the memory of all members in huge pages (hugetlbfs, MAP_HUGETLB) of these sizes, in bytes. Pages that several of them share
// count for each.
func (g *Group) HugePages(sizes []int64) []int64 {
	sums := make([]int64, len(sizes))
	for _, id := range g.Members() {
		if b, err := os.ReadFile(g.fs.path(id.PID, "status")); err != nil || !hasHugePages(b) {
			continue
		}
		if b, err := os.ReadFile(g.fs.path(id.PID, "smaps")); err == nil {
			addHugePages(sums, sizes, b)
		}
	}
	return sums
}

// hasHugePages tells whether there is anything in the HugetlbPages line of /proc/PID/status (Linux 4.4).
func hasHugePages(status []byte) bool {
	_, rest, ok := bytes.Cut(status, []byte("\nHugetlbPages:"))
	return ok && kilobytes(rest) > 0
}

// addHugePages adds what mappings of /proc/PID/smaps have. In each of them KernelPageSize comes before.
func addHugePages(sums, sizes []int64, smaps []byte) {
	which := -1
	for line := range bytes.Lines(smaps) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		switch string(name) {
		case "KernelPageSize":
			which = slices.Index(sizes, kilobytes(value))
		case "Shared_Hugetlb", "Private_Hugetlb":
			if which >= 0 {
				sums[which] += kilobytes(value)
			}
		}
	}
}

// kilobytes is the first number of a line, in bytes.
func kilobytes(b []byte) (n int64) {
	b = bytes.TrimLeft(b, " \t")
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int64(c-'0')
	}
	return n << 10
}
