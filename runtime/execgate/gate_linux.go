package execgate

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	sweepEvery = 100 * time.Millisecond // looks at what programs use of what was pledged to them,
	sweepShare = 100                    // in at most one part in this of the time,
	sweepAge   = 4                      // and seldomer the longer nothing was let in: after this part of that time
	keptEvery  = time.Second            // looks at who was interrupted, while nobody waits
)

// Gate answers the execs of a run. All fields but those below mu belong to its thread.
type Gate struct {
	cfg    Config
	poll   *poller
	reader reader
	note   notification
	line   line
	ledger ledger

	tried   map[int]attempt // the newest calls that went on, by thread
	passing map[int]bool    // threads that need no room: they have it already
	waiter  *waiter         // of the oldest of the line; nil: there is none, or it has to be let go on
	open    bool            // something is pledged
	swept   time.Time       // when the ledger was looked at,
	cost    time.Duration
	newest  time.Time // when somebody was let in
	looked  time.Time // when those that wait were looked at

	done chan struct{}

	mu    sync.Mutex
	inbox []func()
	over  bool
	stats Stats
}

// waiter is a call of Room.Wait, for whoever is the oldest and needs so much.
type waiter struct {
	need   int64
	cancel context.CancelFunc
}

// New makes a gate that has no listener yet. Close it.
func New(cfg Config) (*Gate, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	g := &Gate{cfg: cfg, poll: p, passing: map[int]bool{}, tried: map[int]attempt{}, done: make(chan struct{})}
	g.ledger.reserve, g.ledger.peaks = cfg.Reserve, cfg.Peaks
	go g.run()
	return g, nil
}

// Listen takes over a listener. pass, unless 0, is a thread that has room already: its calls go on until Passed.
func (g *Gate) Listen(fd, pass int) {
	posted := g.post(func() {
		g.poll.add(fd)
		if pass != 0 {
			g.passing[pass] = true
		}
	})
	if !posted {
		unix.Close(fd)
	}
}

// Passed ends what Listen has granted to a thread.
func (g *Gate) Passed(thread int) {
	g.post(func() { delete(g.passing, thread) })
}

// Force lets the oldest go on that waits, whether there is room or not.
func (g *Gate) Force() {
	g.post(func() {
		if c := g.oldest(); c != nil {
			g.admit(c, nil, Forced)
			g.await()
		}
	})
}

// Oldest is what the oldest that waits is expected to use, and since when it waits.
func (g *Gate) Oldest() (need int64, since time.Time, ok bool) {
	type answer struct {
		need  int64
		since time.Time
	}
	c := make(chan *answer, 1)
	if !g.post(func() {
		if first := g.oldest(); first != nil {
			c <- &answer{first.need, first.since}
			return
		}
		c <- nil
	}) {
		return 0, since, false
	}
	select {
	case a := <-c:
		if a != nil {
			return a.need, a.since, true
		}
	case <-g.done:
	}
	return 0, since, false
}

// Stats returns what was seen up to now.
func (g *Gate) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stats
}

// Close gives all listeners back: who waits fails with ENOSYS. It waits for the gate's thread.
func (g *Gate) Close() {
	g.mu.Lock()
	if !g.over {
		g.over = true
		g.poll.poke()
	}
	g.mu.Unlock()
	<-g.done
}

// post has f carried out by the gate's thread; false: that has ended.
func (g *Gate) post(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return false
	}
	g.inbox = append(g.inbox, f)
	g.poll.poke()
	return true
}

// deliver carries out what was posted. false: it is over.
func (g *Gate) deliver() bool {
	g.mu.Lock()
	list, over := g.inbox, g.over
	g.inbox = nil
	g.mu.Unlock()
	for _, f := range list {
		f()
	}
	return !over
}

// run is the gate's thread.
func (g *Gate) run() {
	defer close(g.done)
	runtime.LockOSThread() // it ends with this goroutine, since Config.Thread may have changed it
	if g.cfg.Thread != nil {
		g.cfg.Thread()
	}
	for g.deliver() {
		g.poll.wait(g.due())
		for i := len(g.poll.polls) - 1; i > 0 && i < len(g.poll.polls); i-- {
			switch p := g.poll.polls[i]; {
			case p.Revents&unix.POLLIN != 0:
				g.take(int(p.Fd))
			case p.Revents != 0: // nobody is left that could make a call (Linux 5.9)
				g.close(i)
			}
		}
		now := time.Now()
		if g.patrolDue(now) == 0 {
			g.patrol(now)
		}
		if g.sweepDue(now) == 0 {
			g.sweep(now)
		}
	}
	g.end()
}

// end gives everything back.
func (g *Gate) end() {
	g.stopWaiting()
	now := time.Now()
	for _, c := range slices.Clone(g.line.calls) {
		g.lose(c, now)
	}
	for len(g.ledger.pledges) > 0 {
		g.ledger.end(g.ledger.pledges[0].pid)
	}
	g.mu.Lock()
	g.poll.close()
	g.mu.Unlock()
}

// due is when there is something to do besides calls; negative: nothing.
func (g *Gate) due() time.Duration {
	now := time.Now()
	sweep, patrol := g.sweepDue(now), g.patrolDue(now)
	if sweep < 0 || patrol >= 0 && patrol < sweep {
		return patrol
	}
	return sweep
}

// take reads a call, and answers it at once if there is room.
func (g *Gate) take(fd int) {
	switch e := receive(fd, &g.note); e {
	case 0:
	case unix.ENOENT:
		return
	default:
		g.broken(e)
		return
	}
	now := time.Now()
	n := &g.note
	if g.tried[int(n.pid)] == attemptOf(n) {
		_ = goOn(fd, n.id) // who does not wait any more is not missed
		return
	}
	if g.passing[int(n.pid)] {
		g.went(int(n.pid), attemptOf(n))
		if e := goOn(fd, n.id); e == 0 {
			g.count(func(s *Stats) { s.Execs++ })
		}
		return
	}
	c := &call{
		listener: fd, id: n.id, attempt: attemptOf(n),
		place: place{thread: int(n.pid), call: n.nr, arch: n.arch, at: n.ip, args: [3]uint64(n.args[:3])},
	}
	if g.cfg.Reserve == 0 {
		c.program = g.reader.program(n)
	}
	c.need = g.ledger.need(c.program)
	if len(g.line.calls) == 0 {
		if t, ok := g.cfg.Room.Enter(now, c.need); ok {
			g.enter(c, t, now)
			return
		}
	}
	g.hold(c, now)
}

func attemptOf(n *notification) attempt { return attempt{n.nr, n.arch, n.ip, n.args[2]} }

// maxTried is how many of these are remembered.
const maxTried = 512

// went remembers a call that goes on.
func (g *Gate) went(thread int, a attempt) {
	if len(g.tried) >= maxTried {
		clear(g.tried)
	}
	g.tried[thread] = a
}

// enter lets a call go on; false: it does not wait any more.
func (g *Gate) enter(c *call, t Ticket, now time.Time) bool {
	noted, pid := t != nil || g.cfg.Reserve == 0, 0
	if noted {
		pid = process(c.thread) // afterwards its number may not be there any more
	}
	if e := goOn(c.listener, c.id); e != 0 {
		if t != nil {
			t.Release()
		}
		if e != unix.ENOENT {
			g.broken(e)
		}
		return false
	}
	g.count(func(s *Stats) { s.Execs++ })
	g.newest = now
	g.went(c.thread, c.attempt)
	if noted {
		g.ledger.add(pid, c.program, t)
		g.open = g.open || t != nil
	}
	return true
}

// hold makes a call wait.
func (g *Gate) hold(c *call, now time.Time) {
	if g.cfg.Reserve > 0 {
		c.program = g.reader.program(&g.note) // for who reads of it
	}
	again := g.line.join(c, now)
	g.count(func(s *Stats) {
		s.Waiting = len(g.line.calls)
		if !again {
			s.Held++
		}
	})
	if !again {
		g.tell(c, Holds, now)
	}
	if len(g.line.calls) == 1 {
		g.looked = now
	}
	g.await()
}

// await has somebody wait for the room of the oldest.
func (g *Gate) await() {
	first := g.oldest()
	if w := g.waiter; w != nil {
		if first != nil && first.need == w.need {
			return
		}
		g.stopWaiting()
	}
	if first == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &waiter{first.need, cancel}
	g.waiter = w
	go func() {
		t, err := g.cfg.Room.Wait(ctx, w.need)
		posted := err == nil && g.post(func() {
			cancel()
			if g.waiter == w {
				g.waiter = nil
				g.release(t)
			} else if t != nil {
				t.Release() // it is not for who is the oldest now
			}
		})
		if !posted && t != nil {
			t.Release()
		}
	}()
}

func (g *Gate) stopWaiting() {
	if g.waiter != nil {
		g.waiter.cancel()
		g.waiter = nil
	}
}

// release lets the oldest in, for which there is room, and as many of the next ones as there is room for now. What one will use for which nothing is
// pledged has to show before the next one may follow: that is for Room.Wait.
func (g *Gate) release(t Ticket) {
	first, ok := g.oldest(), true
	if first == nil && t != nil {
		t.Release()
	}
	for first != nil && ok {
		g.admit(first, t, Let)
		if first = g.oldest(); first != nil && first.need > 0 {
			t, ok = g.cfg.Room.Enter(time.Now(), first.need)
		} else {
			break
		}
	}
	g.await()
}

// oldest is the first one in the line that still waits.
func (g *Gate) oldest() *call {
	for {
		first := g.line.first()
		if first == nil || waits(first.listener, first.id) {
			return first
		}
		g.lose(first, time.Now())
	}
}

// admit lets a call of the line go on.
func (g *Gate) admit(c *call, t Ticket, how Outcome) {
	now := time.Now()
	if !g.enter(c, t, now) {
		g.lose(c, now)
		return
	}
	g.line.leave(c)
	g.left(c, now, how == Forced)
	g.tell(c, how, now)
}

// lose gives up the place of a call that does not wait any more.
func (g *Gate) lose(c *call, now time.Time) {
	g.line.interrupt(c)
	g.left(c, now, false)
}

func (g *Gate) left(c *call, now time.Time, forced bool) {
	g.count(func(s *Stats) {
		s.Waiting = len(g.line.calls)
		s.Waited += now.Sub(c.from)
		s.Longest = max(s.Longest, now.Sub(c.since))
		if forced {
			s.Forced++
		}
	})
}

// patrolDue is when those that wait are to be looked at; negative: there is none.
func (g *Gate) patrolDue(now time.Time) time.Duration {
	switch {
	case len(g.line.calls) > 0:
		return max(g.looked.Add(PatrolEvery).Sub(now), 0)
	case len(g.line.kept) > 0:
		return max(g.looked.Add(keptEvery).Sub(now), 0)
	}
	return -1
}

// patrol looks who waits yet.
func (g *Gate) patrol(now time.Time) {
	g.looked = now
	for _, c := range slices.Clone(g.line.calls) {
		if !waits(c.listener, c.id) {
			g.lose(c, now)
		}
	}
	for _, c := range g.line.forget(ended) {
		g.tell(c, Gone, now)
	}
	g.await()
}

// close gives a listener back.
func (g *Gate) close(i int) {
	fd := int(g.poll.polls[i].Fd)
	for _, c := range slices.Clone(g.line.calls) {
		if c.listener == fd {
			g.lose(c, time.Now())
		}
	}
	g.poll.drop(i)
	g.await()
}

// broken gives everything up: the kernel does not do what it has to.
func (g *Gate) broken(err error) {
	g.stopWaiting()
	for i := len(g.poll.polls) - 1; i > 0; i-- {
		g.close(i)
	}
	if g.cfg.Broken != nil {
		g.cfg.Broken(err)
	}
}

func (g *Gate) count(f func(*Stats)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(&g.stats)
}

func (g *Gate) tell(c *call, what Outcome, now time.Time) {
	if g.cfg.Held != nil {
		g.cfg.Held(Notice{what, c.thread, c.program, c.need, now.Sub(c.since), len(g.line.calls)})
	}
}
