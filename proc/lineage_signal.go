package proc

import (
	"syscall"
	"time"
)

// A process is signalled by its number when its start time was seen to be right just before: macOS has no pidfd. Numbers are given in turn
// up to 99999, so one that was just freed is somebody else's only after all others.

// signal sends sig to one process.
func (g *lineage) signal(id ID, sig syscall.Signal) error {
	if !g.alive(id) {
		return ErrGone
	}
	if err := g.kernel.signal(id.PID, sig); err != syscall.ESRCH {
		return err
	}
	return ErrGone
}

// SignalLeader sends sig to the payload alone.
func (g *lineage) SignalLeader(sig syscall.Signal) error {
	g.lead.Lock()
	defer g.lead.Unlock()
	if g.released.Load() {
		return ErrGone
	}
	return g.signal(g.leader, sig)
}

// SignalGroup sends sig to the payload's process group, in one step that a fork cannot outrun. Until Release the leader was not waited for, so
// the number is its own.
func (g *lineage) SignalGroup(sig syscall.Signal) error {
	g.lead.Lock()
	defer g.lead.Unlock()
	if g.released.Load() {
		return ErrGone
	}
	if s, err := g.kernel.stat(g.leader.PID); err != nil || s.Start != g.leader.Start {
		return ErrGone
	}
	return afterGroupSignal(g.kernel.signal(-g.leader.PID, sig), func() bool {
		for _, pid := range g.kernel.group(g.leader.PID) {
			if s, err := g.kernel.stat(pid); err == nil && !s.Ended() {
				return true
			}
		}
		return false
	})
}

// KillGroup sends SIGKILL to the process group and releases it.
func (g *lineage) KillGroup() {
	_ = g.SignalGroup(syscall.SIGKILL)
	g.giveUp()
}

func (g *lineage) giveUp() {
	g.lead.Lock()
	defer g.lead.Unlock()
	g.released.Store(true)
}

// SignalAll sends sig once to every member: to the process group as a whole, and to each one outside it. denied lists those that may not be
// signalled (EPERM).
func (g *lineage) SignalAll(sig syscall.Signal) (denied []ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	inGroup := g.SignalGroup(sig) == nil
	g.scan(time.Now())
	for pid, m := range g.members {
		s, err := g.kernel.stat(pid)
		if err != nil || s.Start != m.Start || inGroup && s.PGRP == g.leader.PID {
			continue
		}
		if g.signal(m.ID, sig) == syscall.EPERM {
			denied = append(denied, m.ID)
		}
	}
	return denied
}

// Kill stops all members, to learn of those that they fork, and sends SIGKILL to each.
func (g *lineage) Kill(limit time.Duration) {
	g.Freeze(limit, nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		_ = g.signal(m.ID, syscall.SIGKILL)
	}
}

// halted is a set of processes that Freeze or Halt has stopped.
type halted struct {
	g    *lineage
	were map[ID]bool // stopped by somebody else before
	all  bool
}

// Freeze sends SIGSTOP to all members until a complete pass finds none running, or until the time is over, or until giveUp, which may be nil, says
// so. Thaw or kill them soon.
func (g *lineage) Freeze(limit time.Duration, giveUp func() bool) *halted {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := &halted{g: g, were: map[ID]bool{}}
	for pid, m := range g.members {
		if s, err := g.kernel.stat(pid); err == nil && s.Stopped() {
			f.were[m.ID] = true
		}
	}
	for end := time.Now().Add(limit); ; time.Sleep(freezePause) {
		g.stop()
		if found := g.look(); !found && g.running() == 0 {
			f.all = true
			return f
		}
		if time.Now().After(end) || giveUp != nil && giveUp() {
			return f
		}
	}
}

const (
	freezePause = 100 * time.Microsecond
	haltTurns   = 4 // how often Halt looks for those that were forked while it sent signals
)

// Halt sends SIGSTOP to all members without waiting for anybody to stop, right after a Tally.
func (g *lineage) Halt() *halted {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := &halted{g: g, were: map[ID]bool{}}
	for _, m := range g.members {
		if m.stopped {
			f.were[m.ID] = true
		}
	}
	for range haltTurns {
		g.stop()
		if !g.look() {
			break
		}
	}
	return f
}

// stop sends SIGSTOP to everybody.
func (g *lineage) stop() {
	_ = g.SignalGroup(syscall.SIGSTOP)
	for _, m := range g.members {
		_ = g.signal(m.ID, syscall.SIGSTOP)
	}
}

// running counts the members that are neither stopped nor ended.
func (g *lineage) running() (n int) {
	for pid, m := range g.members {
		if s, err := g.kernel.stat(pid); err == nil && s.Start == m.Start && !s.Ended() && !s.Stopped() {
			n++
		}
	}
	return n
}

// Complete tells whether every member was seen stopped.
func (f *halted) Complete() bool { return f.all }

// Thaw sends SIGCONT to everything that was stopped. What was stopped before is left alone unless all is set.
func (f *halted) Thaw(all bool) {
	g := f.g
	if all {
		clear(f.were)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(f.were) == 0 {
		_ = g.SignalGroup(syscall.SIGCONT)
	}
	for _, m := range g.members {
		if !f.were[m.ID] {
			_ = g.signal(m.ID, syscall.SIGCONT)
		}
	}
}

// Settled tells whether nobody of the run runs any more, and tells those that have got away to stop.
func (f *halted) Settled() bool {
	g := f.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.look() && g.running() == 0 {
		return true
	}
	g.stop()
	return false
}

// Continue sends SIGCONT to those that Halt has stopped, and then calls running. A stop that others have sent meanwhile is lost: macOS does not tell of
// signals that are pending.
func (f *halted) Continue(running func()) {
	f.Thaw(false)
	running()
}

// Tally counts. CPU time that a member has used since the last call, and that nobody of the run has waited for, is missing after it has ended.
func (g *lineage) Tally() Tally {
	g.Update(time.Now())
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.lost
	for pid, m := range g.members {
		s, err := g.kernel.stat(pid)
		if err != nil || s.Start != m.Start {
			continue
		}
		m.stopped = s.Stopped()
		g.measure(m)
		t.use(m.used)
		t.Tasks += int64(max(m.used.threads, 1))
	}
	return t
}

// use adds the CPU time of a process and of those that it has waited for.
func (t *Tally) use(u usage) {
	user, system := u.user+u.childUser, u.system+u.childSystem
	t.User, t.System, t.CPU = t.User+user, t.System+system, t.CPU+user+system
}

// Usage has the CPU time of all, and nothing else.
func (g *lineage) Usage() Usage {
	t := g.Tally()
	return Usage{User: t.User, System: t.System}
}

// Unwaited is 0: see Tally.Unwaited.
func (g *lineage) Unwaited() (user, system time.Duration) { return 0, 0 }
