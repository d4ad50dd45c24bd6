package proc

import (
	"time"

	"golang.org/x/sys/unix"
)

// Frozen is a set of processes that Freeze stopped.
type Frozen struct {
	g    *Group
	were map[ID]bool // stopped by somebody else before
	all  bool
}

// Freeze sends SIGSTOP to all members until a complete pass finds none running, or until the time is over: a process in
// an uninterruptible wait stops only when that ends. Thaw or kill them soon.
func (g *Group) Freeze(limit time.Duration) *Frozen {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := &Frozen{g: g, were: map[ID]bool{}}
	for pid, m := range g.members {
		if s, err := g.fs.Stat(pid); err == nil && s.Stopped() {
			f.were[m.ID] = true
		}
	}
	end := time.Now().Add(limit)
	for pass := 0; ; pass++ {
		_ = g.signalGroup(unix.SIGSTOP)
		for _, m := range g.members {
			_ = m.handle.Signal(unix.SIGSTOP)
		}
		found := g.lookAgain()
		running := 0
		for pid, m := range g.members {
			if g.runs(pid, m) {
				running++
			}
		}
		if running == 0 && !found {
			f.all = true
			return f
		}
		if time.Now().After(end) {
			return f
		}
		if pass > 0 {
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// runs tells whether any thread of a process is neither stopped nor ended: /proc/PID/stat has the state of the first thread only,
// and a stop reaches the threads one after the other.
func (g *Group) runs(pid int, m *Member) bool {
	s, err := g.fs.Stat(pid)
	if err != nil || s.Start != m.Start || s.Ended() {
		return false
	}
	if s.Threads <= 1 {
		return !s.Stopped()
	}
	if !s.Stopped() && s.State != 'Z' {
		return true
	}
	return g.fs.threadRuns(pid)
}

// Complete tells whether every member was seen stopped.
func (f *Frozen) Complete() bool { return f.all }

// Thaw sends SIGCONT to everything that Freeze stopped. What was stopped before is left alone unless all is set.
func (f *Frozen) Thaw(all bool) {
	g := f.g
	if all {
		clear(f.were)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(f.were) == 0 {
		_ = g.signalGroup(unix.SIGCONT)
	}
	for pid, m := range g.members {
		if f.were[m.ID] {
			continue
		}
		if s, err := g.fs.Stat(pid); err == nil && s.Start == m.Start && s.Stopped() {
			_ = m.handle.Signal(unix.SIGCONT)
		}
	}
}
