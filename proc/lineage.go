package proc

import (
	"cmp"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// lineage is the set of processes of one run where the kernel hands orphans to init: macOS has no subreaper. A process is a member when
//
//   - it is in the payload's process group, or in one that a member has made (its number is the member's pid, and stays taken while anybody is
//     in the group);
//   - its parent is a member: once seen it stays one, whoever its parent is later;
//   - it carries the mark of the run (MarkerEnv): so are those found whose parent had ended before anybody looked.
//
// The kernel tells when a member forks, not whom. So a look asks for the children of those that have forked, and for the processes in
// the groups; and once a second a complete scan looks at all processes, while anything forks. A process that is forked and loses its parent between
// two looks, leaves the groups and drops the mark is not found.
//
// All of it is portable: what the platform has to tell is kernel, which tests replace.
type lineage struct {
	kernel kernel
	leader ID

	lead     sync.Mutex // held while the process group is signalled or given up; never waits for mu
	released atomic.Bool
	size     atomic.Int64
	version  atomic.Uint64

	mu      sync.Mutex
	marker  string         // "": no look for it
	reapers map[int]bool   // who are no members; true: whose children are
	groups  map[int]bool   // process groups that are the run's own
	joined  map[int]bool   // those of them that are not an escape
	members map[int]*kin   // by pid
	strange map[int]uint64 // start times of orphans without the mark: nobody gets it later
	escaped map[ID]bool
	scanned time.Time
	cost    time.Duration // of the last complete scan
	changed bool          // something was forked since
	lost    Tally         // of members that have ended, and that no member has waited for
}

// kin is a member.
type kin struct {
	ID
	parent  int
	stopped bool // as of the newest Tally
	used    usage
}

// usage is the CPU time of a process, and that of the children that it has waited for.
type usage struct {
	user, system, childUser, childSystem time.Duration
	threads                              int
}

// kernel is what a platform tells of its processes, and does to them. What changes nothing may be called from several goroutines.
type kernel interface {
	stat(pid int) (Stat, error) // zombies, too; ErrGone
	children(pid int) []int
	group(pgid int) []int
	all() []int
	marked(pid int, marker string) bool
	usage(pid int) (usage, bool)
	signal(pid int, sig syscall.Signal) error // pid < 0: a process group
	watch(id ID)                              // have forked tell of it
	forked() (pids []int, sure bool)          // watched processes that have forked since; not sure: perhaps others have, too
	close()
}

// newLineage makes the set with the payload leader in it, and all children of reaper, unless that is 0.
func newLineage(k kernel, reaper, leader int) (*lineage, error) {
	s, err := k.stat(leader)
	if err != nil {
		return nil, err
	}
	g := &lineage{
		kernel: k, leader: s.ID(), reapers: map[int]bool{os.Getpid(): false},
		groups: map[int]bool{}, joined: map[int]bool{leader: true}, members: map[int]*kin{}, strange: map[int]uint64{}, escaped: map[ID]bool{},
	}
	if reaper > 0 {
		g.reapers[reaper] = true
	}
	g.groups[leader] = true
	g.add(s)
	return g, nil
}

// Close gives everything back.
func (g *lineage) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.giveUp()
	for pid := range g.members {
		g.drop(pid)
	}
	g.kernel.close()
}

// Leader is the payload.
func (g *lineage) Leader() ID { return g.leader }

// Version changes whenever the set of members does.
func (g *lineage) Version() uint64 { return g.version.Load() }

// Size is the number of processes as of the last Update.
func (g *lineage) Size() int { return int(g.size.Load()) }

// Members lists the processes as of the last Update.
func (g *lineage) Members() []ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	ids := make([]ID, 0, len(g.members))
	for _, m := range g.members {
		ids = append(ids, m.ID)
	}
	return ids
}

// livingWait is for how long Living waits for an Update that is under way.
const livingWait = 5 * time.Millisecond

// sizeWithout is a number of members as of the last Update, without the leader if that has ended since: it is a member until the next one.
func sizeWithout(n int, leaderLives bool) int {
	if n > 0 && !leaderLives {
		n--
	}
	return n
}

// lockSoon locks mu within livingWait, or not at all.
func lockSoon(mu *sync.Mutex) bool {
	for end := time.Now().Add(livingWait); !mu.TryLock(); time.Sleep(livingWait / 10) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// Living counts the processes that have not ended, as of now; as of the last Update when another one is under way.
func (g *lineage) Living() (n int) {
	if !lockSoon(&g.mu) {
		return sizeWithout(g.Size(), g.alive(g.leader))
	}
	defer g.mu.Unlock()
	g.look()
	for _, m := range g.members {
		if g.alive(m.ID) {
			n++
		}
	}
	return n
}

// Escaped tells how many processes were seen that had left the payload's process group.
func (g *lineage) Escaped() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.escaped)
}

// Update looks for processes that were forked since the last call, and drops those that are gone. See Version.
func (g *lineage) Update(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.look()
	if g.changed && now.Sub(g.scanned) >= max(scanEvery, scanShare*g.cost) {
		g.scan(now)
	}
}

const (
	scanEvery = time.Second // a complete scan at most this often, while anything forks,
	scanShare = 100         // and in at most one part in this of the time
	scanTurns = 16          // rounds of a scan: each finds the children of the one before
)

// look finds the children of those that have forked, and theirs, and who is in the groups of the run, and drops who is gone. It tells whether
// there is somebody new.
func (g *lineage) look() (added bool) {
	forked, sure := g.kernel.forked()
	if !sure {
		forked = forked[:0]
		for pid := range g.members {
			forked = append(forked, pid)
		}
		for pid, of := range g.reapers {
			if of {
				forked = append(forked, pid)
			}
		}
	}
	g.sweep()
	if len(forked) == 0 {
		return false
	}
	g.changed = true
	for len(forked) > 0 {
		pid := forked[0]
		forked = forked[1:]
		if g.members[pid] == nil && !g.reapers[pid] {
			continue
		}
		for _, child := range g.kernel.children(pid) {
			if g.probe(child) {
				added = true
				forked = append(forked, child) // it may have forked before anybody watched it
			}
		}
	}
	for pgid := range g.groups {
		for _, pid := range g.kernel.group(pgid) {
			added = g.probe(pid) || added
		}
	}
	return added
}

// sweep drops the members that are gone, and the groups that nobody is in.
func (g *lineage) sweep() {
	var gone []int
	for pid, m := range g.members {
		s, err := g.kernel.stat(pid)
		if err != nil || s.Start != m.Start {
			gone = append(gone, pid)
			continue
		}
		g.note(m, s)
	}
	// One that was forked is behind its parent: who is gone itself is taken not to have waited for it.
	slices.SortFunc(gone, func(a, b int) int {
		return cmp.Or(cmp.Compare(g.members[a].Start, g.members[b].Start), cmp.Compare(a, b))
	})
	for _, pid := range gone {
		g.drop(pid)
	}
	for pgid := range g.groups {
		if g.members[pgid] == nil && len(g.kernel.group(pgid)) == 0 {
			delete(g.groups, pgid) // its number may be somebody else's from now on
		}
	}
}

// scan looks at every process, and at orphans for the mark.
func (g *lineage) scan(now time.Time) (added bool) {
	g.scanned, g.changed = now, false
	defer func(start time.Time) { g.cost = time.Since(start) }(time.Now())
	g.sweep()
	var rest []Stat
	here := map[int]uint64{}
	for _, pid := range g.kernel.all() {
		if s, err := g.kernel.stat(pid); err == nil && !s.Ended() && g.members[pid] == nil {
			rest = append(rest, s)
			here[pid] = s.Start
		}
	}
	for range scanTurns {
		before := len(rest)
		rest = slices.DeleteFunc(rest, func(s Stat) bool { return g.belongs(s) && g.add(s) })
		if len(rest) == before {
			break
		}
		added = true
	}
	for pid, start := range g.strange {
		if here[pid] != start {
			delete(g.strange, pid)
		}
	}
	return added
}

// probe takes pid in if it is a new member.
func (g *lineage) probe(pid int) bool {
	s, err := g.kernel.stat(pid)
	if err != nil || s.Ended() {
		return false
	}
	if m := g.members[pid]; m != nil {
		if m.Start == s.Start {
			return false
		}
		g.drop(pid)
	}
	return g.belongs(s) && g.add(s)
}

// belongs is the rule of membership.
func (g *lineage) belongs(s Stat) bool {
	if _, apart := g.reapers[s.PID]; apart {
		return false
	}
	switch {
	case g.reapers[s.PPID], g.members[s.PPID] != nil, g.groups[s.PGRP]:
		return true
	case g.marker == "" || s.PPID != 1 || g.strange[s.PID] == s.Start:
		return false
	}
	if g.kernel.marked(s.PID, g.marker) {
		return true
	}
	g.strange[s.PID] = s.Start
	return false
}

// add takes a process in. The look that found it goes on with its children: who forks before it is watched is found by that.
func (g *lineage) add(s Stat) bool {
	g.kernel.watch(s.ID())
	m := &kin{ID: s.ID(), parent: s.PPID}
	g.members[s.PID] = m
	g.version.Add(1)
	g.size.Add(1)
	g.note(m, s)
	return true
}

// note remembers groups that a member has made, and who left the payload's.
func (g *lineage) note(m *kin, s Stat) {
	m.parent = s.PPID
	if s.PGRP == s.PID && !(s.PID == g.leader.PID && g.released.Load()) {
		g.groups[s.PGRP] = true
	}
	if !g.released.Load() && !g.joined[s.PGRP] {
		g.escaped[m.ID] = true
	}
}

// drop forgets a member. If its parent is a member, that has waited for it, and has its CPU time.
func (g *lineage) drop(pid int) {
	m := g.members[pid]
	if m == nil {
		return
	}
	if g.members[m.parent] == nil {
		g.lost.use(m.used)
	}
	delete(g.members, pid)
	g.size.Add(-1)
	g.version.Add(1)
}

// Drop forgets a process that was seen to be gone.
func (g *lineage) Drop(id ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.members[id.PID]; m != nil && m.ID == id {
		g.drop(id.PID)
	}
}

// alive tells whether id has not ended.
func (g *lineage) alive(id ID) bool {
	s, err := g.kernel.stat(id.PID)
	return err == nil && s.Start == id.Start && !s.Ended()
}

// Release tells that the leader is about to be reaped: from now on its process group is not signalled as such.
func (g *lineage) Release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.released.Load() {
		return
	}
	g.look()
	g.giveUp()
	g.leave(g.leader)
}

// Join takes in the process leader, which is the leader of a process group, and all other descendants of reaper.
func (g *lineage) Join(reaper, leader int) (ID, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, err := g.kernel.stat(leader)
	if err != nil {
		return ID{}, err
	}
	if reaper > 0 && reaper != os.Getpid() {
		g.reapers[reaper] = true
	}
	if s.PGRP == leader {
		g.joined[leader] = true
	}
	if g.members[leader] == nil {
		g.add(s)
	}
	return s.ID(), nil
}

// Leave tells that a process that joined is about to be reaped.
func (g *lineage) Leave(leader ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.look()
	g.leave(leader)
}

// leave drops a zombie that is about to be reaped, with all the CPU time that it has used.
func (g *lineage) leave(id ID) {
	m := g.members[id.PID]
	if m == nil || m.ID != id {
		return
	}
	if s, err := g.kernel.stat(id.PID); err == nil && s.Start == id.Start {
		g.measure(m)
	}
	delete(g.joined, id.PID)
	g.drop(id.PID)
}

// measure reads what a member has used.
func (g *lineage) measure(m *kin) {
	if u, ok := g.kernel.usage(m.PID); ok {
		m.used = u
	}
}

// Mark tells that who carries the mark of supervisor's run is a member.
func (g *lineage) Mark(supervisor ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.marker = Marker(supervisor)
	clear(g.strange)
}

// Foreign is Mark for a leader that somebody else waits for.
func (g *lineage) Foreign(supervisor ID) { g.Mark(supervisor) }

// Lost tells that the leader, or a process that joined, has ended and may have been waited for by somebody else.
func (g *lineage) Lost(leader ID) {
	if leader == g.leader {
		g.giveUp()
	}
	g.Leave(leader)
}

// Seek takes in what carries the mark of supervisor's run and is no member, and tells how many there were.
func (g *lineage) Seek(supervisor ID) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	marker := Marker(supervisor)
	for _, pid := range g.kernel.all() {
		_, apart := g.reapers[pid]
		if s, err := g.kernel.stat(pid); err == nil && !s.Ended() && !apart && g.members[pid] == nil && g.kernel.marked(pid, marker) {
			g.add(s)
			n++
		}
	}
	return n
}

// Quiet tells whether no member lives, and two complete scans in a row have found nobody new.
func (g *lineage) Quiet() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.look() || g.scan(time.Now()) || g.scan(time.Now()) {
		return false
	}
	for _, m := range g.members {
		if g.alive(m.ID) {
			return false
		}
	}
	return true
}

// Gone tells that a reaper has ended, with nothing left below it.
func (g *lineage) Gone(reaper int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.reapers, reaper)
}

// Adopt tells that a reaper is gone. Its children are init's, and found by what is known of them.
func (g *lineage) Adopt(reaper, _ int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.reapers, reaper)
	g.scan(time.Now())
}

// Nudge has nothing to continue here: no reaper has something to tell.
func (g *lineage) Nudge() {}
