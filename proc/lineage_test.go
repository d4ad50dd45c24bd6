package proc

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"mlrun/libproc"
)

// fake is a kernel like that of macOS: no subreaper, no pidfd, forks that are told of without saying whom, and EPERM for groups of zombies.
type fake struct {
	t       *testing.T
	now     uint64
	clock   time.Duration
	next    int
	procs   map[int]*task
	watched map[ID]bool
	events  []int
	unsure  bool
	asked   int // for the mark
	sent    []string
	onStop  func(pid int) // called when a process gets SIGSTOP
}

type task struct {
	Stat
	ours  bool // it descends from the payload
	env   string
	used  usage
	other bool // of another user
}

const (
	initPID  = 1
	selfPID  = 50 // the supervisor's
	firstPID = 100
)

func newFake(t *testing.T) *fake {
	f := &fake{t: t, now: 1000, next: firstPID, procs: map[int]*task{}, watched: map[ID]bool{}}
	f.procs[initPID] = &task{Stat: Stat{PID: initPID, PGRP: initPID, State: 'S', Threads: 1, Start: 1}}
	f.procs[selfPID] = &task{Stat: Stat{PID: selfPID, PPID: initPID, PGRP: selfPID, State: 'S', Threads: 1, Start: 2}}
	return f
}

// payload starts one, in a group of its own, and the group of its run.
func (f *fake) payload() (*lineage, int) {
	pid := f.fork(selfPID)
	p := f.procs[pid]
	p.PGRP, p.ours, p.env = pid, true, Mark("", ID{selfPID, 2})
	g, err := newLineage(f, 0, pid)
	if err != nil {
		f.t.Fatal(err)
	}
	g.Mark(ID{selfPID, 2})
	f.t.Cleanup(g.Close)
	return g, pid
}

func (f *fake) fork(parent int) int {
	f.now++
	for f.taken(f.next) {
		f.next++
	}
	pid, p := f.next, f.procs[parent]
	f.next++
	f.procs[pid] = &task{Stat: Stat{PID: pid, PPID: parent, PGRP: p.PGRP, State: 'S', Threads: 1, Start: f.now}, ours: p.ours, env: p.env}
	if f.watched[p.ID()] {
		f.events = append(f.events, parent)
	}
	return pid
}

// taken tells whether a number is in use, also by a process group (bsd/kern/kern_fork.c, forkproc).
func (f *fake) taken(pid int) bool {
	for _, p := range f.procs {
		if p.PID == pid || p.PGRP == pid {
			return true
		}
	}
	return false
}

func (f *fake) leadGroup(pid int) { f.procs[pid].PGRP = pid }

// exit makes a zombie; init waits for it at once.
func (f *fake) exit(pid int) {
	p := f.procs[pid]
	p.State = 'Z'
	for _, c := range f.procs {
		if c.PPID == pid {
			c.PPID = initPID
			if c.State == 'Z' {
				delete(f.procs, c.PID)
			}
		}
	}
	if p.PPID == initPID {
		delete(f.procs, pid)
	}
}

func (f *fake) reap(pid int) {
	p := f.procs[pid]
	if parent := f.procs[p.PPID]; parent != nil {
		parent.used.childUser += p.used.user + p.used.childUser
	}
	delete(f.procs, pid)
}

func (f *fake) stat(pid int) (Stat, error) {
	if p := f.procs[pid]; p != nil {
		return p.Stat, nil
	}
	return Stat{}, ErrGone
}

func (f *fake) list(want func(*task) bool) (pids []int) {
	for pid, p := range f.procs {
		if want(p) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

func (f *fake) children(pid int) []int { return f.list(func(p *task) bool { return p.PPID == pid }) }
func (f *fake) group(pgid int) []int   { return f.list(func(p *task) bool { return p.PGRP == pgid }) }
func (f *fake) all() []int             { return f.list(func(*task) bool { return true }) }
func (f *fake) watch(id ID)            { f.watched[id] = true }
func (f *fake) close()                 {}

func (f *fake) marked(pid int, marker string) bool {
	f.asked++
	return isMarked([]byte(f.procs[pid].env), marker)
}

func (f *fake) usage(pid int) (usage, bool) {
	p := f.procs[pid]
	return p.used, p != nil && !p.other
}

func (f *fake) forked() ([]int, bool) {
	events := f.events
	f.events = nil
	return events, !f.unsure
}

func (f *fake) signal(pid int, sig syscall.Signal) error {
	targets := []int{pid}
	if pid < 0 {
		targets = f.group(-pid)
	}
	err := syscall.ESRCH
	for _, pid := range targets {
		p := f.procs[pid]
		switch {
		case p == nil:
			continue
		case p.other, p.State == 'Z':
			if err != 0 {
				err = syscall.EPERM
			}
			continue
		}
		err = 0
		if !p.ours {
			f.t.Errorf("signal %v hits process %d, which is somebody else's", sig, pid)
		}
		f.sent = append(f.sent, fmt.Sprint(pid, " ", sig))
		switch sig {
		case syscall.SIGKILL:
			f.exit(pid)
		case syscall.SIGSTOP:
			p.State = 'T'
			if f.onStop != nil {
				f.onStop(pid)
			}
		case syscall.SIGCONT:
			p.State = 'S'
		}
	}
	if err == 0 {
		return nil
	}
	return err
}

// members checks who is one.
func members(t *testing.T, when string, g *lineage, want ...int) {
	t.Helper()
	var got []int
	for _, id := range g.Members() {
		got = append(got, id.PID)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || g.Size() != len(want) {
		t.Errorf("%s: members %v (%d), want %v", when, got, g.Size(), want)
	}
}

// update looks, an hour later than the one before: a complete scan is due.
func (f *fake) update(g *lineage) {
	f.clock += time.Hour
	g.Update(time.Now().Add(f.clock))
}

func TestLineageChildren(t *testing.T) {
	f := newFake(t)
	g, a := f.payload()
	f.fork(selfPID) // the guard
	b := f.fork(a)
	c := f.fork(b) // before anybody watches b
	f.procs[c].PGRP = 4711
	g.Update(time.Now())
	members(t, "children and theirs", g, a, b, c)
	if g.Escaped() != 1 {
		t.Errorf("%d escaped, want 1", g.Escaped())
	}
	f.exit(b)
	g.Update(time.Now())
	members(t, "c has init for a parent, b is a zombie", g, a, b, c)
	f.reap(b)
	d := f.fork(c)
	g.Update(time.Now())
	members(t, "c forks", g, a, c, d)
	if before := g.Version(); func() bool { g.Update(time.Now()); return g.Version() != before }() {
		t.Error("the version changes without a change")
	}
	if n := g.Living(); n != 3 {
		t.Errorf("%d live, want 3", n)
	}
}

// TestLineageDaemons checks who is found whose parents have ended before anybody looked.
func TestLineageDaemons(t *testing.T) {
	f := newFake(t)
	g, a := f.payload()

	inGroup := f.fork(f.fork(a))
	f.exit(f.procs[inGroup].PPID)
	f.reap(f.procs[a+1].PID)
	f.update(g)
	members(t, "an orphan in the payload's group", g, a, inGroup)

	leader := f.fork(a)
	f.leadGroup(leader)
	g.Update(time.Now()) // it is seen
	daemon := f.fork(f.fork(leader))
	f.exit(f.procs[daemon].PPID)
	f.exit(leader)
	f.reap(leader)
	g.Update(time.Now())
	members(t, "an orphan in a group that a member had made", g, a, inGroup, daemon)

	middle := f.fork(a)
	f.leadGroup(middle)
	marked := f.fork(middle)
	f.leadGroup(marked)
	bare := f.fork(middle)
	f.leadGroup(bare)
	f.procs[bare].env = ""
	f.fork(initPID) // somebody else's
	f.exit(middle)
	f.reap(middle)
	f.update(g)
	members(t, "an orphan with the mark, one without", g, a, inGroup, daemon, marked)
	asked := f.asked
	f.fork(a)
	f.update(g)
	if f.asked != asked {
		t.Errorf("orphans were asked %d times more for the mark that they did not have", f.asked-asked)
	}
	if n := g.Seek(ID{selfPID, 2}); n != 0 {
		t.Errorf("Seek finds %d more", n)
	}
}

// TestLineageReuse checks that nobody is taken for a member who only has a member's number, or the number of its group.
func TestLineageReuse(t *testing.T) {
	f := newFake(t)
	g, a := f.payload()
	b := f.fork(a)
	f.leadGroup(b)
	g.Update(time.Now())
	members(t, "before", g, a, b)
	f.exit(b)
	f.reap(b)
	g.Update(time.Now())
	f.next = b
	if pid := f.fork(initPID); pid != b {
		t.Fatalf("the number was not reused: %d", pid)
	}
	f.leadGroup(b)
	f.procs[f.fork(b)].PGRP = b
	f.fork(a)
	f.update(g)
	members(t, "after", g, a, b+2)
	g.SignalAll(syscall.SIGTERM) // the fake complains when it hits others
	if n := g.Living(); n != 2 {
		t.Errorf("%d live, want 2", n)
	}
}

func TestLineageGroupSignal(t *testing.T) {
	f := newFake(t)
	g, a := f.payload()
	b := f.fork(a)
	if err := g.SignalGroup(syscall.SIGUSR1); err != nil || len(f.sent) != 2 {
		t.Errorf("%v, %v", err, f.sent)
	}
	f.exit(b)
	f.procs[a].State = 'Z'
	if err := g.SignalGroup(syscall.SIGUSR1); err != ErrGone {
		t.Errorf("only zombies: %v, want ErrGone", err)
	}
	f.procs[b] = &task{Stat: Stat{PID: b, PPID: a, PGRP: a, State: 'S', Threads: 1, Start: 5000}, ours: true, other: true}
	if err := g.SignalGroup(syscall.SIGUSR1); err != syscall.EPERM {
		t.Errorf("one of another user: %v, want EPERM", err)
	}
	f.update(g)
	if denied := g.SignalAll(syscall.SIGUSR1); len(denied) != 1 || denied[0].PID != b {
		t.Errorf("denied: %v", denied)
	}
	g.Release()
	if err := g.SignalGroup(syscall.SIGUSR1); err != ErrGone {
		t.Errorf("released: %v", err)
	}
	if err := g.SignalLeader(syscall.SIGUSR1); err != ErrGone {
		t.Errorf("released: %v", err)
	}
	members(t, "released", g, b)
}

func TestAfterGroupSignal(t *testing.T) {
	for _, c := range []struct {
		err   error
		alive bool
		want  error
	}{
		{nil, false, nil}, {nil, true, nil},
		{syscall.ESRCH, true, ErrGone},
		{syscall.EPERM, false, ErrGone}, {syscall.EPERM, true, syscall.EPERM},
		{syscall.EINVAL, true, syscall.EINVAL},
	} {
		if got := afterGroupSignal(c.err, func() bool { return c.alive }); got != c.want {
			t.Errorf("%v, alive %v: %v, want %v", c.err, c.alive, got, c.want)
		}
	}
}

func TestLineageFreeze(t *testing.T) {
	f := newFake(t)
	g, a := f.payload()
	b := f.fork(a)
	f.leadGroup(b)
	g.Update(time.Now())
	f.procs[b].State = 'T'
	var late int
	f.onStop = func(pid int) {
		if pid == a && late == 0 {
			late = f.fork(a) // in the moment in which it is stopped
			f.leadGroup(late)
		}
	}
	z := g.Freeze(time.Second, nil)
	if !z.Complete() || f.procs[a].State != 'T' || f.procs[late].State != 'T' {
		t.Errorf("complete %v, payload %c, late child %c", z.Complete(), f.procs[a].State, f.procs[late].State)
	}
	z.Thaw(false)
	if f.procs[a].State != 'S' || f.procs[late].State != 'S' || f.procs[b].State != 'T' {
		t.Errorf("after the thaw: %c %c, and %c, which was stopped before", f.procs[a].State, f.procs[late].State, f.procs[b].State)
	}
	g.Tally()
	g.Halt().Thaw(true)
	if f.procs[b].State != 'S' {
		t.Errorf("thawed all: %c", f.procs[b].State)
	}
	f.onStop = func(pid int) { f.procs[pid].State = 'S' } // it does not stop
	turns := 0
	if z := g.Freeze(time.Minute, func() bool { turns++; return turns > 2 }); z.Complete() {
		t.Error("a freeze that was given up is complete")
	}
	f.onStop = nil
	g.Kill(time.Second)
	f.reap(a)
	if !g.Quiet() {
		t.Errorf("not quiet: %v", f.list(func(p *task) bool { return p.ours }))
	}
}

// TestLineageHalt: one who was forked while the others were told to stop is found, and told, by Settled; who was stopped before stays so.
func TestLineageHalt(t *testing.T) {
	f := newFake(t)
	g, a := f.payload()
	b := f.fork(a)
	f.procs[b].State = 'T'
	g.Tally()
	h := g.Halt()
	late := f.fork(a)
	if h.Settled() {
		t.Error("settled while somebody runs who was forked since")
	}
	if f.procs[late].State != 'T' || !h.Settled() {
		t.Errorf("late child %c: want it stopped, and that seen", f.procs[late].State)
	}
	told := false
	h.Continue(func() { told = f.procs[a].State == 'S' })
	if !told || f.procs[late].State != 'S' || f.procs[b].State != 'T' {
		t.Errorf("told %v, late child %c, stopped before %c", told, f.procs[late].State, f.procs[b].State)
	}
}

func TestLineageTally(t *testing.T) {
	f := newFake(t)
	g, a := f.payload()
	b, c := f.fork(a), f.fork(a)
	d := f.fork(c)
	for _, pid := range []int{a, b, c, d} {
		f.procs[pid].used = usage{user: time.Second, threads: 2}
	}
	check := func(when string, user time.Duration, tasks int64) {
		t.Helper()
		if got := g.Tally(); got.User != user || got.CPU != user || got.Tasks != tasks {
			t.Errorf("%s: %+v, want %v and %d tasks", when, got, user, tasks)
		}
		if got := g.Usage(); got.User != user {
			t.Errorf("%s: usage %+v, want %v", when, got, user)
		}
	}
	check("all live", 4*time.Second, 8)
	f.exit(b)
	f.reap(b)
	check("the payload has waited for one", 4*time.Second, 6)
	f.exit(c)
	f.reap(c)
	f.exit(d) // init waits
	check("init has waited for one", 4*time.Second, 2)
	f.procs[a].used.user = 2 * time.Second
	f.exit(a)
	g.Release()
	f.reap(a)
	check("the payload was reaped", 5*time.Second, 0)
}

func TestLineageJoin(t *testing.T) {
	f := newFake(t)
	g, a := f.payload()
	e := f.fork(selfPID)
	f.leadGroup(e)
	f.procs[e].ours = true
	id, err := g.Join(0, e)
	if err != nil || id.PID != e {
		t.Fatal(id, err)
	}
	child := f.fork(e)
	f.update(g)
	members(t, "joined", g, a, e, child)
	if g.Escaped() != 0 {
		t.Errorf("%d escaped", g.Escaped())
	}
	f.exit(e)
	g.Leave(id)
	f.reap(e)
	f.update(g)
	members(t, "left", g, a, child)
	if _, err := g.Join(0, 9999); err != ErrGone {
		t.Errorf("a process that is not there: %v", err)
	}
}

// TestLineageRandom runs whatever processes may do, and checks that every member is one, that what was seen once is never lost, and that signals hit
// nobody else (which the fake checks).
func TestLineageRandom(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		f := newFake(t)
		f.unsure = seed%3 == 0
		g, a := f.payload()
		seen := map[ID]bool{}
		for range 150 {
			live := f.list(func(p *task) bool { return p.State != 'Z' && p.PID >= firstPID })
			pick := live[r.IntN(len(live))]
			switch r.IntN(9) {
			case 0, 1, 2:
				if len(live) < 30 {
					f.fork(pick)
				}
			case 3:
				f.fork([]int{initPID, selfPID}[r.IntN(2)])
			case 4:
				if pick != a {
					f.exit(pick)
				}
			case 5:
				for _, pid := range f.list(func(p *task) bool { return p.State == 'Z' && p.PPID != selfPID }) {
					f.reap(pid)
				}
			case 6:
				f.leadGroup(pick)
			case 7:
				if r.IntN(4) == 0 {
					f.procs[pick].env = ""
				}
				if r.IntN(10) == 0 {
					f.next = firstPID // the numbers wrap
				}
			case 8:
				g.SignalAll(syscall.SIGUSR1)
			}
			if r.IntN(2) == 0 {
				f.update(g)
			} else {
				g.Update(time.Now())
			}
			now := map[ID]bool{}
			for _, id := range g.Members() {
				now[id] = true
				if p := f.procs[id.PID]; p != nil && p.ID() == id && !p.ours {
					t.Fatalf("seed %d: %v is a member and not ours", seed, p.Stat)
				}
			}
			for id := range seen {
				if p := f.procs[id.PID]; p != nil && p.ID() == id && !now[id] {
					t.Fatalf("seed %d: %v was a member, and is none any more", seed, p.Stat)
				}
			}
			seen = now
		}
		g.Kill(time.Second)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestStatOf(t *testing.T) {
	for status, want := range map[uint32]byte{libproc.Idle: 'R', libproc.Run: 'R', libproc.Sleep: 'S', libproc.Stop: 'T', libproc.Zombie: 'Z', 99: 'R'} {
		s := statOf(libproc.BSDInfo{Status: status, PID: 7, PPID: 1, PGID: 5, TTYPgrp: 3, StartSeconds: 1700000000, StartMicroseconds: 7})
		if s.State != want || s.ID() != (ID{7, 1700000000000007}) || s.PPID != 1 || s.PGRP != 5 || s.TTYPgrp != 3 {
			t.Errorf("status %d: %+v, want %c", status, s, want)
		}
		if s.Ended() != (want == 'Z') || s.Stopped() != (want == 'T') {
			t.Errorf("status %d: ended %v, stopped %v", status, s.Ended(), s.Stopped())
		}
	}
}
