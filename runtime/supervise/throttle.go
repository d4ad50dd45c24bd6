package supervise

import (
	"time"

	"mlrun/proc"
)

// throttle is a group that is stopped for parts of the time: over its soft limit, or out of CPU time.
type throttle struct {
	halted *proc.Halted // not nil: stopped
	since  time.Time    // when, or until when that was accounted for
	began  time.Time    // when
	thawAt time.Time
	soft   bool          // it is for the soft limit of memory; else for the quota of CPU time
	stopAt time.Time     // over its soft limit: when it has run for its part; zero: it was not stopped yet
	run    time.Duration // and how long that is
}

func (t *throttle) active() bool { return t.halted != nil || !t.stopAt.IsZero() }

// due tells whether a group that is stopped is to go on.
func (t *throttle) due(now time.Time) bool { return t.halted != nil && !t.thawAt.After(now) }

// stopFor stops the group for a while; run continues it. Tally must have been called just before.
func (s *sampler) stopFor(now time.Time, stop time.Duration, soft bool) {
	s.holding.Store(true)
	s.throttled.Store(soft)
	t := &s.throttle
	t.halted, t.soft, t.stopAt = s.group.Halt(), soft, time.Time{}
	t.began = time.Now()
	t.since, t.thawAt = t.began, now.Add(stop)
}

// release lets a group that was stopped run.
func (s *sampler) release(now time.Time) {
	t := &s.throttle
	if t.halted == nil {
		return
	}
	// Then a stop of the payload is somebody else's.
	t.halted.Continue(func() { s.holding.Store(false) })
	s.endStop(time.Now())
	s.account.stopped += now.Sub(t.since)
	t.halted = nil
	s.throttled.Store(false)
	if t.soft {
		t.stopAt = now.Add(t.run)
		if t.stopAt.Before(s.due) {
			s.due = t.stopAt
		}
	}
}

// endStop accounts for a stop, which may have ended before its time.
func (s *sampler) endStop(now time.Time) {
	t := &s.throttle
	if t.halted == nil {
		return
	}
	d := now.Sub(t.began)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.soft {
		s.stats.throttled += d
	} else {
		s.stats.rationed += d
	}
}

// ending tells whether the group was told to end: it is not stopped on purpose any more.
func (s *sampler) ending() bool { return s.ceiling || s.account.over }

// slowDown stops a group over its soft limit when its time to run is over, and returns how long to wait: at most wait while it runs.
func (s *sampler) slowDown(now time.Time, wait time.Duration) time.Duration {
	t := &s.throttle
	if t.halted != nil {
		return wait
	}
	stop, run := s.policy.Throttle(s.soft(now))
	if stop == 0 || s.ending() {
		t.stopAt = time.Time{}
		if s.policy.High > 0 && s.use.Memory > s.policy.High && !s.ending() {
			wait = min(wait, throttleRead) // shared memory, or no exact reading yet
		}
		return wait
	}
	if rest := t.stopAt.Sub(now); rest > 0 {
		return min(wait, rest)
	}
	s.group.Tally()
	s.stopFor(now, stop, true)
	t.run = run
	s.mu.Lock()
	s.stats.memory.Throttled++
	s.mu.Unlock()
	return wait
}

// soft is the memory of the group as far as the soft limit needs to know it, in bytes: where the bound is over it, an exact reading
// says by how much, as often as is affordable.
func (s *sampler) soft(now time.Time) int64 {
	bound := s.use.Memory
	if s.policy.High <= 0 || bound <= s.policy.High {
		return bound
	}
	last := s.stats.last
	if now.Sub(last.At) >= max(throttleRead, duty*last.Cost) {
		s.aside(nil)
	}
	if last.At.IsZero() {
		return 0 // soon
	}
	return min(bound, last.Memory+max(bound-s.readBound, 0))
}

// throttleRead is how often the memory of a group over its soft limit is read exactly.
const throttleRead = 100 * time.Millisecond
