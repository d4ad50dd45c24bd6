//go:build !portable

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

// patience is how long a freeze goes on between two questions whether to give up. The first one comes when everybody was told to stop.
const patience = time.Millisecond

// Freeze sends SIGSTOP to all members until a complete pass finds none running, or until the time is over, or until giveUp, which may
// be nil, says so: a process stops only when a system call ends that cannot be interrupted. giveUp must not use the group. Thaw or
// kill them soon.
func (g *Group) Freeze(limit time.Duration, giveUp func() bool) *Frozen {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.freezes++
	f := &Frozen{g: g, were: map[ID]bool{}}
	for pid, m := range g.members {
		if s, err := g.fs.Stat(pid); err == nil && s.Stopped() {
			f.were[m.ID] = true
		}
	}
	start := time.Now()
	end, ask := start.Add(limit), start
	for pass := 0; ; pass++ {
		_ = g.SignalGroup(unix.SIGSTOP)
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
		now := time.Now()
		if now.After(end) {
			return f
		}
		if giveUp != nil && !now.Before(ask) {
			if giveUp() {
				return f
			}
			ask = time.Now().Add(patience)
		}
		if pass > 0 {
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// Complete tells whether every member was seen stopped.
func (f *Frozen) Complete() bool { return f.all }

// runs tells whether any thread of a process is neither stopped nor ended: /proc/PID/stat has the state of the first thread only,
// and a stop reaches the threads one after the other.
func (g *Group) runs(pid int, m *Member) bool {
	s, err := g.fs.Stat(pid)
	if err != nil || s.Start != m.Start || s.Ended() {
		return false
	}
	g.note(m, s)
	if s.Threads <= 1 {
		return !s.Stopped()
	}
	if !s.Stopped() && s.State != 'Z' {
		return true
	}
	return g.fs.threadRuns(pid)
}

// Thaw sends SIGCONT to everything that Freeze stopped, also to who has not come to stop yet: a SIGSTOP that is pending would stop it
// later, with nobody to continue it. What was stopped before is left alone unless all is set.
func (f *Frozen) Thaw(all bool) {
	g := f.g
	if all {
		clear(f.were)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(f.were) == 0 {
		_ = g.SignalGroup(unix.SIGCONT)
	}
	for _, m := range g.members {
		if !f.were[m.ID] {
			_ = m.handle.Signal(unix.SIGCONT)
		}
	}
}
