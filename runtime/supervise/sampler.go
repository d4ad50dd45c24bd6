package supervise

import (
	"sync"
	"sync/atomic"
	"time"

	"mlrun/limit"
	"mlrun/meter"
	"mlrun/proc"
)

const (
	timerMost   = 200 * time.Millisecond // longest wait for the time alone that the runtime's timers serve
	freezeTime  = 20 * time.Millisecond  // how long a freeze may take before it is measured all the same
	alarms      = 4                      // freezes that find no breach that a group may suffer at once,
	alarmEvery  = 500 * time.Millisecond // and another one each time this has passed; beyond, it is measured running first
	peakEvery   = 100 * time.Millisecond // exact readings for the peak's sake: at most this often,
	peakFree    = 10 * time.Millisecond  // and all of them take no more than this
	peakShare   = 1000                   // and one part in this of the time
	cheapRead   = 2 * time.Millisecond   // exact reading that is made for a question about the state
	duty        = 4                      // readings that are forced by shared memory take at most 1/(1+duty) of the time
	peakPercent = 101                    // a bound of this much of the highest one that was read exactly is worth an exact reading
	peakHaste   = 4                      // if it takes at most this part of the time to the next sample
	steadyPart  = 50                     // and the group has changed by at most this part of it
	sharedPart  = 90                     // percent of the bound: a reading under it shows that memory is shared

	roomyPart    = 4                      // part of the limit whose headroom lets an ambiguous reading wait,
	rushPart     = 4                      // and under which a crowd that grows in number is stopped before it is measured
	lookFrom     = 16                     // members from which the memory of the whole machine is looked at first
	holdEvery    = 250 * time.Millisecond // how often a group that is held is looked after
	mutedEvery   = 250 * time.Millisecond // samples of a group that goes on over its limit
	nudgeEvery   = time.Second            // looks at the reapers
	observeEvery = time.Second            // looks at what was used, of so many members at most
	observeMost  = 64
	growsOn      = 1 << 20     // bytes that a group must have grown by after it was told to stop
	victimWait   = time.Second // how long a process that was killed has to give its memory back
)

// word is what the loop answers to a breach.
type word struct {
	ending bool    // the group was told to end: watch the ceiling from now on
	muted  bool    // it goes on over its limit: say nothing until it has recovered
	victim proc.ID // it goes on without this process, unless that is zero
}

// callbacks are how a sampler reports. They are called in its goroutine.
type callbacks struct {
	over func(*breach) // a confirmed breach; the sampler goes on when it is answered
	hope func()        // once, when a group that was told to end passes the ceiling
	warn func(Warning) // once for each part of the limit
	much func(excess, limit.Spent)
	deaf func(error) // there are no events although they were asked for
}

// sampler turns the memory of a group into events. It runs in a goroutine of its own, since an exact reading of a large
// group takes long, and the loop must not wait for it. All fields but those below mu belong to that goroutine.
type sampler struct {
	fs     proc.FS
	group  *proc.Group
	meter  *meter.Meter
	policy limit.Policy
	mode   meter.Mode
	report callbacks

	// What is known of the group
	use       limit.Use     // at most, as of the newest sample
	mapped    *meter.Mapped // nil: not there, or not needed yet
	mappedAt  int64         // memory of the whole machine at the newest sample
	looks     int           // since then
	size      int           // members at the newest sample
	version   uint64        // of the group, as the meter knows it
	lastTaken time.Time     // when that was
	steady    time.Time     // when the bound has changed last by more than a small part
	ceiling   bool          // the group was told to end
	muted     bool          // it is over the limit, which was said
	answer    *word         // to the breach that was reported
	throttle  throttle      // over the soft limit, or out of CPU time
	account   account       // what is limited besides memory
	nudged    time.Time     // when the reapers were looked at
	again     bool          // a sample is due now, whatever was said before
	// observed: nobody tells what has been used, so it is looked at; at last at observedAt.
	observed   bool
	observedAt time.Time
	paused     *proc.Frozen // not nil: stopped by request
	share      share        // of the groups that the run is in
	due        time.Time    // when the next sample is
	start      time.Time
	reading    bool             // an exact reading is being made aside
	spent      time.Duration    // by these
	readBound  int64            // the bound when the newest of these began
	verified   time.Time        // when the newest of the others began
	used       func(int64) bool // of Config
	warned     int              // percent
	swapAt     int64            // of the machine, at the newest exact reading
	events     eventState       // see events_linux.go
	alarmed    time.Duration    // freezes that found no breach, each alarmEvery, less the time that has passed
	alarmedAt  time.Time
	breachAt   time.Time

	holding   atomic.Bool // the group is stopped on purpose, or about to be: no stop of the payload is anybody else's
	throttled atomic.Bool // and it is the soft limit's
	done      chan struct{}
	poke      chan struct{}

	mu    sync.Mutex
	inbox []func()
	watch *meter.Watch // what the goroutine waits on; nil: poke
	over  bool
	stats stats
}

// stats is what a sampler has seen.
type stats struct {
	memory     Memory
	last       meter.Reading // newest exact reading
	peakBound  int64         // highest bound for which there is an exact reading
	underSince time.Time     // newest sample under the limit
	several    bool          // there was more than one process at some sample
	throttled  time.Duration // for which the group was stopped for being over its soft limit,
	rationed   time.Duration // and for its quota of CPU time,
	periods    int64         // and how often that was

	shared bool // much of what was resident was shared with others, at some exact reading
}

func newSampler(fs proc.FS, g *proc.Group, p limit.Policy, mode meter.Mode, report callbacks) *sampler {
	s := &sampler{
		fs: fs, group: g, meter: meter.New(fs), policy: p, mode: mode, report: report,
		done: make(chan struct{}), poke: make(chan struct{}, 1), share: share{room: limit.Alone(), most: 1<<63 - 1},
	}
	s.stats.memory.Meter = string(meter.Poll)
	s.account.report = report.much
	return s
}

// run samples until stop is called.
func (s *sampler) run() {
	defer close(s.done)
	defer s.meter.Close()
	defer s.closeEvents()
	s.start = time.Now()
	s.stats.underSince = s.start
	// The first sample waits as long as an empty group may: nothing of the payload runs yet.
	s.due = s.start.Add(s.policy.Next(limit.Use{}))
	settle := s.start.Add(settleAfter)
	if s.share.seat != nil {
		s.due = s.start // what the others leave is not known yet
	}
	if !s.account.budget.Unlimited() {
		s.account.due = s.start
	}
	var cause meter.Cause
	for s.deliver() {
		now := time.Now()
		if s.again {
			s.again, s.due = false, now
		}
		if s.throttle.due(now) {
			s.release(now)
		}
		switch {
		case cause&meter.Faulted != 0:
			s.due = now.Add(s.faulted(now))
		case cause&meter.Woke != 0:
			// Nothing has grown yet: what was known is still true.
			s.events.asleep = false
			s.under(now)
			s.due = now.Add(s.policy.NextShared(s.use, s.share.room))
		case !s.due.After(now):
			s.due = now.Add(s.tick(now))
		}
		if a := &s.account; !a.due.IsZero() && !a.due.After(now) {
			s.audit(time.Now())
		}
		if !s.events.tried && !settle.After(now) {
			s.settle()
		}
		if r := s.events.retry; !r.IsZero() && r.Before(now) {
			s.cover(now)
		}
		until := s.wakes()
		if !s.events.tried && settle.Before(until) {
			until = settle
		}
		s.awaited(time.Until(until))
		cause = s.wait(time.Until(until))
	}
	s.endStop(time.Now())
}

// wakes is when there is something to do.
func (s *sampler) wakes() time.Time {
	until := s.due
	if at := s.account.due; !at.IsZero() && at.Before(until) {
		until = at
	}
	if t := &s.throttle; t.halted != nil && t.thawAt.Before(until) {
		until = t.thawAt
	}
	return until
}

// wait blocks until d has passed, something happens or somebody has posted. When nothing is to be waited for but the time, and that for a while but not
// for long, the runtime's timers are used: a thread that waits in a system call keeps the runtime's monitor thread looking, every 20 us at first, for 10 ms.
func (s *sampler) wait(d time.Duration) meter.Cause {
	if s.watch != nil {
		on := s.interest()
		if on != 0 || d < s.watch.Brief() || d > timerMost {
			return s.watch.Wait(d, on)
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return 0
	case <-s.poke:
		return meter.Poked
	}
}

// post has f carried out by the sampler's goroutine; false: that has ended.
func (s *sampler) post(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.inbox = append(s.inbox, f)
	s.wakeUp()
	return true
}

// wakeUp needs mu.
func (s *sampler) wakeUp() {
	if s.watch != nil {
		s.watch.Poke()
	}
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// deliver carries out what was posted. false: it is over.
func (s *sampler) deliver() bool {
	s.mu.Lock()
	list, over := s.inbox, s.over
	s.inbox = nil
	s.mu.Unlock()
	for _, f := range list {
		f()
	}
	return !over
}

// stop ends the sampler and waits for it.
func (s *sampler) stop() {
	s.mu.Lock()
	s.over = true
	s.wakeUp()
	s.mu.Unlock()
	<-s.done
}

// resume answers a breach.
func (s *sampler) resume(w word) { s.post(func() { s.answer = &w }) }

// totals returns what was seen; after stop, all of it.
func (s *sampler) totals() stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// question asks for a snapshot; ok is false when the sampler has ended or is busy for longer than wait.
func (s *sampler) question(wait time.Duration) (sn Snapshot, ok bool) {
	c := make(chan Snapshot, 1)
	t := time.NewTimer(wait)
	defer t.Stop()
	if s.post(func() { s.snapshot(func(sn Snapshot) { c <- sn }) }) {
		select {
		case sn = <-c:
			return sn, true
		case <-s.done:
		case <-t.C:
		}
	}
	st := s.totals()
	return s.describe(Snapshot{Current: st.memory.Bound, Peak: st.memory.Peak, Processes: s.group.Size()}, &st), false
}

// tick does what is due and returns when the next thing is.
func (s *sampler) tick(now time.Time) time.Duration {
	if now.Sub(s.nudged) >= nudgeEvery {
		s.nudged = now
		s.group.Nudge()
	}
	s.observe(now)
	if s.paused != nil {
		return s.staysPaused()
	}
	wait, still := s.look(now)
	if !still {
		wait = s.sample(now)
		s.lastTaken = now
		s.tellUsed()
	}
	switch {
	case s.throttle.halted != nil && s.throttle.halted.Settled():
		return s.throttle.thawAt.Sub(now) + wait // nothing grows until then
	case still:
		return s.slowDown(now, wait)
	}
	return s.doze(now, s.slowDown(now, wait))
}

// observe looks at what has been used, for the largest resident set and what is lost with a process, when nobody tells.
func (s *sampler) observe(now time.Time) {
	if s.observed && now.Sub(s.observedAt) >= observeEvery && s.group.Size() <= observeMost {
		s.observedAt = now
		s.group.Usage()
	}
}

// sample takes one sample and returns when the next one is due.
func (s *sampler) sample(now time.Time) time.Duration {
	before := s.use
	s.bound(now)
	switch s.policy.Judge(limit.Sample{Bound: s.use}) {
	case limit.Fine:
		s.under(now)
		s.muted = s.muted && !s.policy.Recovered(s.use)
		wait := s.policy.Next(s.use)
		if s.worthForPeak(now) {
			s.aside(nil)
		}
		wait = s.shared(now, wait)
		s.warn(now, wait)
		return wait
	default:
		return s.shared(now, s.measure(now, before))
	}
}

// tellUsed tells what was measured to whoever still wants to know.
func (s *sampler) tellUsed() {
	if s.used == nil {
		return
	}
	if !s.used(s.totals().memory.Peak) {
		s.used = nil
	}
}

func (s *sampler) under(now time.Time) {
	s.mu.Lock()
	s.stats.underSince = now
	s.mu.Unlock()
}
