package supervise

import (
	"sort"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/limit"
	"mlrun/meter"
	"mlrun/proc"
	"mlrun/signame"
)

const maxVictims = 10 // processes that are listed

// breach is a confirmed excess, with the group stopped.
type breach struct {
	frozen  *proc.Frozen
	use     limit.Use
	each    []meter.Usage
	victims []Victim // the largest ones
	fresh   bool     // the one before is long ago

	unstoppable bool // it is not stopped, and goes on growing

	chosen Victim  // who is to be killed for all
	killed proc.ID // and was
	held   bool    // the group stays stopped

	mu       sync.Mutex
	answered bool // what follows is decided
}

// again stops those whom somebody else has continued, until it is decided what follows.
func (b *breach) again(g *proc.Group) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.answered {
		g.Freeze(freezeTime, nil)
	}
}

func (b *breach) decided() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answered = true
}

// measure finds out whether the limit is exceeded, after the bound did not exclude it.
func (s *sampler) measure(now time.Time, before limit.Use) time.Duration {
	if s.ceiling {
		r := s.verify(false)
		if s.policy.Hopeless(used(r)) {
			if s.report.hope != nil {
				s.report.hope()
				s.report.hope = nil
			}
			return mutedEvery
		}
		return s.pause(r)
	}
	if s.muted || s.stale(now, before) || !s.mayFreeze(now) {
		r := s.verify(false)
		fine := s.policy.Judge(limit.Sample{Exact: true, Memory: used(r)}) == limit.Fine
		if fine {
			s.under(now)
		}
		s.muted = s.muted && !s.policy.Recovered(used(r))
		if s.muted {
			return max(s.pause(r), mutedEvery)
		}
		if fine && (s.policy.Headroom(atMost(r)) >= 0 || !s.mayFreeze(now)) {
			return s.pause(r)
		}
	}
	var r meter.Reading
	unstoppable := false
	if s.throttle.halted != nil {
		s.release(now) // whoever is stopped below is stopped for the breach
		if a := &s.account; !a.due.IsZero() {
			a.due = now // to stop it again
		}
	}
	s.holding.Store(true)
	defer s.holding.Store(false) // by then it goes on, or waits for its end
	told := int64(-1)
	f := s.group.Freeze(freezeTime, func() bool {
		r, told, unstoppable = s.growsOn(told)
		return unstoppable
	})
	if !unstoppable {
		s.regroup()
		r = s.verify(true)
	}
	if s.policy.Judge(limit.Sample{Exact: true, Frozen: true, Memory: used(r)}) != limit.Breach {
		f.Thaw(false)
		s.alarmed += max(alarmEvery, duty*r.Cost)
		s.under(now)
		return s.next(r)
	}
	s.breached(r, f, now, unstoppable)
	return s.next(r)
}

// growsOn tells, of a group that does not stop, whether it is over its limit and grows on all the same: it is in a system call that nothing
// but its end can end, such as mmap(2) with MAP_POPULATE.
// What it has grown by before it was told does not count: told is its RSS at the first look after that, -1: this is the first.
func (s *sampler) growsOn(told int64) (r meter.Reading, first int64, on bool) {
	rss, _ := s.meter.Bound(time.Now(), 1<<63-1)
	r = s.meter.Certain()
	if told < 0 {
		return r, rss, false
	}
	return r, told, s.policy.Limit > 0 && r.Memory > s.policy.Limit && rss-told > growsOn
}

// next is when a sample is due after an exact reading.
func (s *sampler) next(r meter.Reading) time.Duration {
	return s.policy.Next(atMost(r))
}

// stale tells whether the bound went up since the exact reading that it went on from is too old, and not since the group has grown. A new
// one is no reason to stop anybody.
func (s *sampler) stale(now time.Time, before limit.Use) bool {
	return s.policy.Headroom(before) >= 0 && !s.verified.IsZero() && !s.meter.Based(now)
}

// mayFreeze tells whether a freeze is due without a second opinion. The first crossing of the bound is often none of the limit,
// the second one mostly is: the bound goes on from an exact reading then.
func (s *sampler) mayFreeze(now time.Time) bool {
	s.alarmed = max(0, s.alarmed-now.Sub(s.alarmedAt))
	s.alarmedAt = now
	return s.alarmed < alarms*alarmEvery
}

// pause keeps readings that shared memory forces from taking more than a part of the time. Where one was short of certain, since the group
// grew while it was made, the next one is due soon; but not where it found much room.
func (s *sampler) pause(r meter.Reading) time.Duration {
	if s.policy.Headroom(atMost(r)) < 0 {
		cost := r.Cost
		if s.policy.Headroom(used(r)) > s.policy.Limit/roomyPart {
			cost *= duty
		}
		return max(s.next(r), cost)
	}
	return s.next(r)
}

// breached hands a breach to the loop and waits for its word.
func (s *sampler) breached(r meter.Reading, f *proc.Frozen, now time.Time, unstoppable bool) {
	b := &breach{frozen: f, unstoppable: unstoppable, use: used(r), each: r.Each, victims: s.victims(r, f.Complete()), fresh: now.Sub(s.breachAt) > limit.VictimAge}
	s.breachAt = now
	s.mu.Lock()
	m := &s.stats.memory
	m.Breaches++
	m.AtBreach, m.SwapAtBreach = r.Memory, r.Swap
	m.Peak = max(m.Peak, r.Memory)
	m.DetectionDelayUS = r.At.Sub(s.stats.underSince).Microseconds()
	s.mu.Unlock()
	s.answer = nil
	s.report.over(b)
	for s.deliver() && s.answer == nil {
		s.wait(holdEvery)
		if s.policy.OnBreach == limit.Freeze {
			b.again(s.group)
		}
	}
	if s.answer == nil {
		return // it is over
	}
	w := *s.answer
	s.muted = w.muted
	if w.ending {
		s.ceiling = true
		s.policy.Limit, s.policy.Swap, s.policy.High = s.policy.Ceiling, 0, 0
	}
	for end := time.Now().Add(victimWait); w.victim.PID != 0 && s.fs.Alive(w.victim) && time.Now().Before(end) && s.deliver(); {
		s.wait(time.Millisecond)
	}
}

// victims lists the largest members, of a group that did not stop without their arguments: those are in the address space, which
// may be in use until the system call ends.
func (s *sampler) victims(r meter.Reading, stopped bool) []Victim {
	each := append([]meter.Usage(nil), r.Each...)
	sort.Slice(each, func(i, j int) bool { return each[i].Memory > each[j].Memory })
	var list []Victim
	for _, u := range each[:min(len(each), maxVictims)] {
		name := s.fs.Name
		if stopped {
			name = s.fs.Command
		}
		list = append(list, victim(u, name))
	}
	return list
}

func victim(u meter.Usage, name func(int) string) Victim {
	return Victim{ID: u.ID, Command: name(u.PID), Memory: u.Memory, Swap: u.Swap, Exact: u.Exact}
}

// choose finds the member that is to be killed for all: the one with the most memory, or the youngest one.
func (b *breach) choose(a limit.Action) {
	var chosen meter.Usage
	ok := false
	for _, u := range b.each {
		better := u.Memory+u.Swap > chosen.Memory+chosen.Swap
		if a == limit.KillNewest {
			better = u.Start > chosen.Start || u.Start == chosen.Start && u.PID > chosen.PID
		}
		if better || !ok {
			chosen, ok = u, true
		}
	}
	b.chosen = victim(chosen, proc.Root.Name)
	for _, v := range b.victims {
		if v.ID == chosen.ID {
			b.chosen = v
		}
	}
}

// breached is called with the group stopped, by order of the sampler.
func (l *loop) breached(b *breach) {
	l.pending = b
	l.verdict.Top = b.victims
	e := event{kind: evBreach, fresh: b.fresh, urgent: b.unstoppable}
	if a := l.set.onBreach; a == limit.KillLargest || a == limit.KillNewest {
		b.choose(a)
		e.victim = b.chosen.PID != 0 && b.chosen.ID != l.group.Leader()
	}
	l.event(e)
	if !b.held {
		l.thaw()
	}
	n := l.notice(b)
	l.tell(Occurrence{Breach: &n})
}

// killVictim kills the one process that was chosen.
func (l *loop) killVictim() {
	b := l.pending
	h, err := proc.OpenID(proc.Root, b.chosen.ID)
	if err == nil {
		err = h.Signal(unix.SIGKILL)
		h.Close()
	}
	if err == unix.EPERM {
		l.deny(b.chosen.ID)
		return
	}
	b.killed = b.chosen.ID
	freeMemory([]Victim{b.chosen})
	l.verdict.Killed = append(l.verdict.Killed, b.chosen)
	l.goesOn(b)
}

// freeMemory gives the memory of processes back that were sent SIGKILL, in a goroutine of its own. With a system call that goes on
// until it is done, they would keep it, and take more.
func freeMemory(list []Victim) {
	go func() {
		for _, v := range list {
			if h, err := proc.OpenID(proc.Root, v.ID); err == nil {
				h.FreeMemory()
				h.Close()
			}
		}
	}()
}

// hold leaves the group stopped. The terminal is mlrun's until it goes on, so that Ctrl-C does something.
func (l *loop) hold() {
	l.pending.held = true
	l.term.takeBack()
	l.goesOn(l.pending)
}

// goesOn reports a breach that does not end the run.
func (l *loop) goesOn(b *breach) {
	if l.cfg.Breached != nil {
		l.cfg.Breached(l.notice(b))
	}
}

func (l *loop) notice(b *breach) Notice {
	n := Notice{ID: l.cfg.ID, Action: l.set.onBreach.String(), Memory: b.use.Memory, Victim: b.chosen, Top: b.victims}
	if l.set.onBreach == limit.Signal {
		n.Signal = signame.Name(l.cfg.Signal)
	}
	return n
}

// warn reports that a part of the limit is in use. Where the bound says so, and what is certain does not, it is read exactly, if that
// is affordable and takes a small part of the time to the next sample, or the group has not grown for long.
func (s *sampler) warn(now time.Time, wait time.Duration) {
	percent := s.policy.Warn(s.use, s.warned)
	if s.ceiling || percent == 0 {
		return
	}
	if least := (limit.Use{Memory: s.meter.Least()}); s.policy.Warn(least, s.warned) == percent {
		s.warning(percent, least, now)
		return
	}
	if !s.affords(now) || wait < peakHaste*s.cost() && now.Sub(s.steady) < peakEvery {
		return
	}
	s.aside(func(r meter.Reading) { s.warning(s.policy.Warn(used(r), s.warned), used(r), now) })
}

// warning reports that percent of the limit are in use, unless it is 0.
func (s *sampler) warning(percent int, u limit.Use, at time.Time) {
	if percent == 0 {
		return
	}
	s.warned = percent
	w := Warning{Percent: percent, Memory: u.Memory, Swap: u.Swap, At: at.UTC()}
	s.mu.Lock()
	s.stats.memory.Warnings = append(s.stats.memory.Warnings, w)
	s.mu.Unlock()
	if s.report.warn != nil {
		s.report.warn(w)
	}
}
