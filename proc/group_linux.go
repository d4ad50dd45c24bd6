//go:build !portable

package proc

import (
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	rescan      = time.Second           // a complete scan of /proc at most this often, while others than too many are forked,
	share       = 2000                  // and in at most one part in this of the time
	grace       = 10 * time.Millisecond // after which a pid that was allocated but not in /proc is looked at once more
	quietRounds = 64                    // looks at new pids in a row
	maxStep     = 512                   // more new pids than this are found by a complete scan,
	duty        = 10                    // if the last one was that many times as long ago as it took; else the newest are looked at
)

// Member is a process of a group.
type Member struct {
	ID
	Escaped bool // it left the payload's process group
	handle  *Handle
	stopped bool // when it was looked at last
}

// Group is the set of processes of one run. Its methods may be called from several goroutines.
type Group struct {
	fs     FS
	newest *LastPID // below mu

	leader   ID
	payload  *Handle     // the leader, until the group is closed
	lead     sync.Mutex  // held while the process group is signalled or given up; never waits for mu
	released atomic.Bool // the leader may be reaped: its process group id is not ours any more
	foreign  atomic.Bool // and at any time, by somebody else
	bereft   atomic.Bool // somebody like that has ended: what it left has parents that are none of the group
	marker   string      // of the run, with foreign,
	seal     uint64      // and its other mark
	size     atomic.Int64
	version  atomic.Uint64

	mu      sync.Mutex
	reapers map[int]bool // whose children are members
	joined  map[int]bool // process groups beside the payload's that are the group's own
	members map[int]*Member
	escaped map[ID]string
	last    int               // last pid allocated, at the last look
	pending map[int]time.Time // pids that were allocated but not in /proc: not there yet, or gone again
	scanned time.Time         // start and
	cost    time.Duration     // duration of the last complete scan
	changed bool              // forks since then, or so shortly before that it may have missed one
	recheck bool              // it has to be made once more, and soon
	freezes int               // how often Freeze was called
	cpu     cpuLedger         // of Tally
	use     useLedger         // of Usage
}

// NewGroup makes the group of the payload leader and of all descendants of reaper. Close it.
func NewGroup(fs FS, reaper int, leader int) (*Group, error) {
	g := &Group{fs: fs, newest: fs.LastPID(), reapers: map[int]bool{reaper: true}, joined: map[int]bool{}, members: map[int]*Member{}, pending: map[int]time.Time{}, escaped: map[ID]string{}}
	h, err := OpenHandle(fs, leader)
	if err != nil {
		return nil, err
	}
	g.leader, g.payload = h.ID, h
	g.members[leader] = &Member{ID: h.ID, handle: h}
	g.size.Store(1)
	g.last = leader // every other member is younger
	return g, nil
}

// Close gives all descriptors back.
func (g *Group) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for pid := range g.members {
		g.drop(pid)
	}
	g.giveUp(0)
	g.payload.Close()
	g.newest.Close()
}

// Leader is the payload.
func (g *Group) Leader() ID { return g.leader }

// Release tells that the leader is about to be reaped: from now on its process group is not signalled as such.
func (g *Group) Release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.released.Load() {
		return
	}
	g.lookAgain() // who is in the process group can only be seen while it is ours
	g.giveUp(0)
	g.drop(g.leader.PID)
}

// KillGroup sends SIGKILL to the process group and releases it. It does not wait for an Update or a Freeze that is under way.
func (g *Group) KillGroup() { g.giveUp(unix.SIGKILL) }

func (g *Group) giveUp(sig unix.Signal) {
	g.lead.Lock()
	defer g.lead.Unlock()
	if sig != 0 && !g.released.Load() && g.there() {
		_ = unix.Kill(-g.leader.PID, sig)
	}
	g.released.Store(true)
}

// there tells whether the pid of the leader, and so the number of its process group, is still its own.
func (g *Group) there() bool { return !g.foreign.Load() || g.payload.Signal(0) != ErrGone }

// Join takes in the process leader, which is the leader of a process group, and all other descendants of reaper.
func (g *Group) Join(reaper, leader int) (ID, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, err := g.fs.Stat(leader)
	if err != nil {
		return ID{}, err
	}
	g.reapers[reaper] = true
	if s.PGRP == leader {
		g.joined[leader] = true
	}
	if g.members[leader] == nil && !g.add(s) {
		delete(g.reapers, reaper)
		delete(g.joined, leader)
		return ID{}, ErrGone
	}
	return s.ID(), nil
}

// Leave tells that a process that joined is about to be reaped: from now on its process group is nobody's.
func (g *Group) Leave(leader ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lookAgain() // who is in the process group can only be seen while it is ours
	delete(g.joined, leader.PID)
	if m := g.members[leader.PID]; m != nil && m.ID == leader {
		g.drop(leader.PID)
	}
}

// Foreign tells that somebody else waits for the leader: its process group is signalled only while the leader is seen to be there, and
// who is started when it is not, by whomever, is a member if it carries a mark of supervisor's run.
func (g *Group) Foreign(supervisor ID) {
	g.Mark(supervisor)
	g.foreign.Store(true)
}

// Mark is Foreign for a process that joined.
func (g *Group) Mark(supervisor ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.marker, g.seal = Marker(supervisor), Seal(supervisor)
}

// Lost tells that the leader, or a process that joined, has ended and may have been waited for by somebody else: its process group is
// nobody's already.
func (g *Group) Lost(leader ID) {
	if leader == g.leader {
		g.giveUp(0)
	}
	g.bereft.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.joined, leader.PID)
	g.lookAgain()
	if m := g.members[leader.PID]; m != nil && m.ID == leader {
		g.drop(leader.PID)
	}
}

// Seek takes in what carries the marker of supervisor's run and is no member, and tells how many there were: those that no ancestry leads to
// any more. It reads the environments of all processes.
func (g *Group) Seek(supervisor ID) int {
	ids, _ := g.fs.Marked(supervisor)
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, id := range ids {
		if g.members[id.PID] != nil || g.reapers[id.PID] {
			continue
		}
		if s, err := g.fs.Stat(id.PID); err == nil && s.ID() == id && !s.Ended() && g.add(s) {
			n++
		}
	}
	return n
}

// Quiet tells whether no member lives, and nobody can have been forked by one without having been seen: the newest pid was the same before and
// after a look at all that are new. Who forks and ends without pause is caught by that, however short it lives; on a machine where others
// do that, it takes many calls.
func (g *Group) Quiet() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for range quietRounds {
		if g.lookAgain() {
			return false
		}
		if last, ok := g.newest.Read(); ok && last == g.last {
			break
		}
	}
	last, ok := g.newest.Read()
	if !ok || last != g.last {
		return false
	}
	now := time.Now()
	for pid, since := range g.pending {
		if now.Sub(since) < grace {
			return false
		}
		delete(g.pending, pid)
		if _, added := g.probe(pid); added {
			return false
		}
	}
	for _, m := range g.members {
		if g.fs.Alive(m.ID) {
			return false
		}
	}
	return true
}

// Kill stops all members, to learn of those that they fork, and sends SIGKILL to each.
func (g *Group) Kill(limit time.Duration) {
	g.Freeze(limit, nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		_ = m.handle.Signal(unix.SIGKILL)
	}
}

// Gone tells that a reaper has ended, with nothing left below it.
func (g *Group) Gone(reaper int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.reapers, reaper)
}

// Adopt tells that a reaper is gone and pid became the parent of its children.
func (g *Group) Adopt(reaper, pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.reapers, reaper)
	g.reapers[pid] = true
	g.scan(time.Now())
}

// Update looks for processes that were forked since the last call, and drops those that are gone. See Version.
func (g *Group) Update(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last, ok := g.newest.Read()
	step := last - g.last
	if step == 0 && ok && len(g.pending) == 0 && !g.changed {
		return
	}
	g.changed = g.changed || step != 0
	since := now.Sub(g.scanned)
	if !ok || g.changed && since >= max(rescan, share*g.cost) || g.recheck && since >= grace || g.tooMany(step) {
		if !ok || g.mayScan(now) {
			g.complete(last, now)
			return
		}
	}
	for pid, since := range g.pending {
		if now.Sub(since) >= grace {
			g.probe(pid)
			delete(g.pending, pid)
		}
	}
	g.probeNew(last, now)
}

// tooMany tells whether the numbers wrapped, or more were allocated than there may be processes.
func (g *Group) tooMany(step int) bool { return step < 0 || step > maxStep }

// mayScan tells whether a complete scan is affordable. A storm of forks leaves thousands of zombies behind, and little time to look at
// them; what lives of it has the newest pids.
func (g *Group) mayScan(now time.Time) bool { return now.Sub(g.scanned) >= duty*g.cost }

// probeNew looks at the pids that were allocated since the last look, the newest maxStep at most, and tells whether one is a new member.
func (g *Group) probeNew(last int, now time.Time) (added bool) {
	from := g.last
	if g.tooMany(last - from) {
		from = max(0, last-maxStep)
	}
	g.last = last
	for pid := from + 1; pid <= last; pid++ {
		seen, isNew := g.probe(pid)
		if !seen {
			g.pending[pid] = now
		}
		added = added || isNew
	}
	return added
}

// complete is a scan as of the pid that was allocated last. Who was being forked then was perhaps not in /proc yet, and whose parent has ended during
// the scan has perhaps been read before, and the parent not at all: another scan finds them, soon if nobody else would look at their pids.
func (g *Group) complete(last int, now time.Time) (added bool) {
	step := last - g.last
	g.last = last
	added = g.scan(now)
	g.changed, g.recheck = step != 0 || g.recheck, step < 0
	return added
}

// scan looks at every process. A child may be listed before its parent, so it goes on until nothing is found.
func (g *Group) scan(now time.Time) bool {
	g.scanned = now
	defer func(start time.Time) { g.cost = time.Since(start) }(time.Now())
	for pid, since := range g.pending {
		if now.Sub(since) >= grace {
			delete(g.pending, pid)
		}
	}
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
		if g.members[pid] != nil || g.reapers[pid] {
			continue
		}
		if s, err := g.fs.Stat(pid); err == nil && !s.Ended() {
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
	return true, !s.Ended() && g.belongs(s) && g.add(s)
}

func (g *Group) belongs(s Stat) bool {
	if g.reapers[s.PID] {
		return false
	}
	if g.reapers[s.PPID] || g.members[s.PPID] != nil {
		return true
	}
	return g.joined[s.PGRP] || s.PGRP == g.leader.PID && !g.released.Load() || g.bereft.Load() && g.fs.marked(s.PID, g.marker, g.seal)
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
	g.version.Add(1)
	g.size.Add(1)
	g.note(m, s)
	return true
}

// note remembers who is stopped, and who left the process group.
func (g *Group) note(m *Member, s Stat) {
	m.stopped = s.Stopped()
	if !g.released.Load() && s.PGRP != g.leader.PID && !g.joined[s.PGRP] && !m.Escaped {
		m.Escaped = true
		g.escaped[m.ID] = s.Comm
	}
}

func (g *Group) drop(pid int) {
	if m := g.members[pid]; m != nil {
		if m.handle != g.payload {
			m.handle.Close()
		}
		delete(g.members, pid)
		g.size.Add(-1)
		g.version.Add(1)
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

// Nudge continues reapers that somebody has stopped: what they have to tell would never come. They are children of the calling process, which has
// not waited for them.
func (g *Group) Nudge() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for pid := range g.reapers {
		if s, err := g.fs.Stat(pid); err == nil && s.Stopped() && s.PPID == os.Getpid() {
			_ = unix.Kill(pid, unix.SIGCONT)
		}
	}
}

// Version changes whenever the set of members does, whoever looked for them.
func (g *Group) Version() uint64 { return g.version.Load() }

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
func (g *Group) Size() int { return int(g.size.Load()) }

// fewPIDs is how many pids Living looks at that were allocated since the last Update: it must not take long, since in a storm others fork meanwhile.
const fewPIDs = 64

// Living counts the processes that have not ended, as of now; as of the last Update when another one is under way, or in a storm of forks.
func (g *Group) Living() int {
	if !lockSoon(&g.mu) {
		return sizeWithout(g.Size(), g.fs.Alive(g.Leader()))
	}
	defer g.mu.Unlock()
	if last, ok := g.newest.Read(); ok && last > g.last && last-g.last <= fewPIDs {
		g.probeNew(last, time.Now())
	}
	n := 0
	for _, m := range g.members {
		if g.fs.Alive(m.ID) {
			n++
		}
	}
	return n
}

// Escaped tells how many processes were seen that had left the payload's process group.
func (g *Group) Escaped() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.escaped)
}

// SignalLeader sends sig to the payload alone.
func (g *Group) SignalLeader(sig unix.Signal) error {
	g.lead.Lock()
	defer g.lead.Unlock()
	if g.released.Load() {
		return ErrGone
	}
	return g.payload.Signal(sig)
}

// SignalGroup sends sig to the payload's process group, in one step that a fork cannot outrun.
func (g *Group) SignalGroup(sig unix.Signal) error {
	g.lead.Lock()
	defer g.lead.Unlock()
	if g.released.Load() || !g.there() {
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
	inGroup := g.SignalGroup(sig) == nil
	if now := time.Now(); g.mayScan(now) {
		g.scan(now)
	} else {
		g.lookAgain()
	}
	for pid, m := range g.members {
		s, err := g.fs.Stat(pid)
		if err != nil || s.Start != m.Start {
			g.drop(pid)
			continue
		}
		g.note(m, s)
		if inGroup && s.PGRP == g.leader.PID {
			continue
		}
		if err := m.handle.Signal(sig); err == unix.EPERM {
			denied = append(denied, m.ID)
		}
	}
	return denied
}

// lookAgain finds what was forked meanwhile, without the patience that Update has.
func (g *Group) lookAgain() bool {
	now := time.Now()
	last, ok := g.newest.Read()
	step := last - g.last
	if !ok || g.tooMany(step) && g.mayScan(now) {
		return g.complete(last, now)
	}
	g.changed = g.changed || step != 0
	return g.probeNew(last, now)
}
