package proc

import (
	"sort"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	rescan  = time.Second           // a complete scan of /proc at most this often
	grace   = 10 * time.Millisecond // after which a pid that was allocated but not in /proc is looked at once more
	maxStep = 512                   // more new pids than this are found by a complete scan
)

// Member is a process of a group.
type Member struct {
	ID
	Escaped bool // it left the payload's process group
	handle  *Handle
}

// Group is the set of processes of one run. Its methods may be called from several goroutines.
type Group struct {
	fs     FS
	reaper int

	mu       sync.Mutex
	leader   ID
	released bool // the leader was reaped: its process group id is not ours any more
	members  map[int]*Member
	escaped  map[ID]string
	last     int               // last pid allocated, at the last look
	pending  map[int]time.Time // pids that were allocated but not in /proc: not there yet, or gone again
	scanned  time.Time
	changed  bool // forks since the last complete scan
}

// NewGroup makes the group of the payload leader and of all descendants of reaper. Close it.
func NewGroup(fs FS, reaper int, leader int) (*Group, error) {
	g := &Group{fs: fs, reaper: reaper, members: map[int]*Member{}, pending: map[int]time.Time{}, escaped: map[ID]string{}}
	h, err := OpenHandle(fs, leader)
	if err != nil {
		return nil, err
	}
	g.leader = h.ID
	g.members[leader] = &Member{ID: h.ID, handle: h}
	g.last = leader // every other member is younger
	return g, nil
}

// Close gives all descriptors back.
func (g *Group) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for pid, m := range g.members {
		m.handle.Close()
		delete(g.members, pid)
	}
}

// Leader is the payload.
func (g *Group) Leader() ID { return g.leader }

// Release tells that the leader is about to be reaped: from now on its process group is not signalled as such.
func (g *Group) Release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.released {
		return
	}
	g.lookAgain() // who is in the process group can only be seen while it is ours
	g.released = true
	g.drop(g.leader.PID)
}

// Adopt tells that the reaper is gone and pid became the parent of its children.
func (g *Group) Adopt(pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reaper = pid
	g.scan(time.Now())
}

// Update looks for processes that were forked since the last call, and drops those that are gone. It tells whether the
// set has changed.
func (g *Group) Update(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := len(g.members)
	added := false
	last, ok := g.fs.lastPID()
	step := last - g.last
	switch {
	case !ok, step < 0, step > maxStep, g.changed && now.Sub(g.scanned) >= rescan:
		g.last = last
		return g.scan(now)
	case step == 0 && len(g.pending) == 0:
		return false
	}
	g.last = last
	g.changed = g.changed || step > 0
	for pid, since := range g.pending {
		if now.Sub(since) >= grace {
			_, isNew := g.probe(pid)
			delete(g.pending, pid)
			added = added || isNew
		}
	}
	added = g.probeNew(last-step, last, now) || added
	return added || len(g.members) != before
}

// probeNew looks at the pids after from up to last, and tells whether one is a new member.
func (g *Group) probeNew(from, last int, now time.Time) (added bool) {
	for pid := from + 1; pid <= last; pid++ {
		seen, isNew := g.probe(pid)
		if !seen {
			g.pending[pid] = now
		}
		added = added || isNew
	}
	return added
}

// scan looks at every process. A child may be listed before its parent, so it goes on until nothing is found.
func (g *Group) scan(now time.Time) bool {
	g.scanned, g.changed = now, false
	clear(g.pending)
	changed := false
	for pid, m := range g.members {
		if s, err := g.fs.Stat(pid); err != nil || s.Start != m.Start {
			g.drop(pid)
			changed = true
		} else {
			g.note(m, s)
		}
	}
	pids, err := g.fs.PIDs()
	if err != nil {
		return changed
	}
	sort.Ints(pids)
	var rest []Stat
	for _, pid := range pids {
		if g.members[pid] != nil || pid == g.reaper {
			continue
		}
		if s, err := g.fs.Stat(pid); err == nil {
			rest = append(rest, s)
		}
	}
	for found := true; found; {
		found = false
		keep := rest[:0]
		for _, s := range rest {
			if g.belongs(s) && g.add(s) {
				found, changed = true, true
				continue
			}
			keep = append(keep, s)
		}
		rest = keep
	}
	return changed
}

// probe looks at one new pid. seen is false when it is not in /proc (yet).
func (g *Group) probe(pid int) (seen, added bool) {
	s, err := g.fs.Stat(pid)
	if err != nil {
		return false, false
	}
	if m := g.members[pid]; m != nil {
		if m.Start == s.Start {
			return true, false
		}
		g.drop(pid)
	}
	return true, g.belongs(s) && g.add(s)
}

func (g *Group) belongs(s Stat) bool {
	if s.PID == g.reaper {
		return false
	}
	if s.PPID == g.reaper || g.members[s.PPID] != nil {
		return true
	}
	return s.PGRP == g.leader.PID && !g.released
}

// add takes a process in. Threads have an entry in /proc too, though it is not listed: they are no process for pidfd.
func (g *Group) add(s Stat) bool {
	h, err := OpenHandle(g.fs, s.PID)
	if err != nil || h.Start != s.Start {
		if err == nil {
			h.Close()
		}
		return false
	}
	m := &Member{ID: s.ID(), handle: h}
	g.members[s.PID] = m
	g.note(m, s)
	return true
}

// note remembers who left the process group.
func (g *Group) note(m *Member, s Stat) {
	if !g.released && s.PGRP != g.leader.PID && !m.Escaped {
		m.Escaped = true
		g.escaped[m.ID] = s.Comm
	}
}

func (g *Group) drop(pid int) {
	if m := g.members[pid]; m != nil {
		m.handle.Close()
		delete(g.members, pid)
	}
}

// Drop forgets a process that was seen to be gone.
func (g *Group) Drop(id ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.members[id.PID]; m != nil && m.ID == id {
		g.drop(id.PID)
	}
}

// Forget forgets the member with this pid, which the caller has reaped.
func (g *Group) Forget(pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop(pid)
}

// Members lists the processes as of the last Update.
func (g *Group) Members() []ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	ids := make([]ID, 0, len(g.members))
	for _, m := range g.members {
		ids = append(ids, m.ID)
	}
	return ids
}

// Size is the number of processes as of the last Update.
func (g *Group) Size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members)
}

// Escaped tells how many processes were seen that had left the payload's process group.
func (g *Group) Escaped() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.escaped)
}

// SignalLeader sends sig to the payload alone.
func (g *Group) SignalLeader(sig unix.Signal) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[g.leader.PID]
	if m == nil || g.released {
		return ErrGone
	}
	return m.handle.Signal(sig)
}

// SignalGroup sends sig to the payload's process group, in one step that a fork cannot outrun.
func (g *Group) SignalGroup(sig unix.Signal) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.signalGroup(sig)
}

func (g *Group) signalGroup(sig unix.Signal) error {
	if g.released {
		return ErrGone
	}
	err := unix.Kill(-g.leader.PID, sig)
	if err == unix.ESRCH {
		return ErrGone
	}
	return err
}

// SignalAll sends sig once to every member: to the process group as a whole, and to each one outside it. denied lists
// those that may not be signalled (EPERM).
func (g *Group) SignalAll(sig unix.Signal) (denied []ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.scan(time.Now())
	inGroup := g.signalGroup(sig) == nil
	for pid, m := range g.members {
		s, err := g.fs.Stat(pid)
		if err != nil || s.Start != m.Start {
			g.drop(pid)
			continue
		}
		if inGroup && s.PGRP == g.leader.PID {
			continue
		}
		if err := m.handle.Signal(sig); err == unix.EPERM {
			denied = append(denied, m.ID)
		}
	}
	return denied
}

// lookAgain finds what was forked meanwhile, without the 100 ms of patience that Update has.
func (g *Group) lookAgain() bool {
	last, ok := g.fs.lastPID()
	step := last - g.last
	if !ok || step < 0 || step > maxStep {
		g.last = last
		return g.scan(time.Now())
	}
	found := g.probeNew(g.last, last, time.Now())
	g.last, g.changed = last, g.changed || step > 0
	return found
}
