package supervise

import (
	"time"

	"mlrun/proc"
)

// throttle is the duty cycle of a group over its soft limit: stopped for a while, then running for a while.
type throttle struct {
	frozen *proc.Frozen // not nil: stopped
	since  time.Time    // when, or until when that was accounted for
	quota  time.Time    // when, if it is for the quota of CPU time
	thawAt time.Time
	stopAt time.Time // when it has run for its part; zero: it was not stopped yet
	run    time.Duration
}

func (t *throttle) active() bool { return t.frozen != nil || !t.stopAt.IsZero() }

// held tells for how long the group stays stopped.
func (t *throttle) held(now time.Time) (time.Duration, bool) {
	if t.frozen == nil || !t.thawAt.After(now) {
		return 0, false
	}
	return t.thawAt.Sub(now), true
}

// release lets a group that was stopped run for its part of the period.
func (s *sampler) release(now time.Time) {
	t := &s.throttle
	if t.frozen == nil {
		return
	}
	t.frozen.Thaw(false)
	s.endRation(time.Now())
	s.account.stopped += now.Sub(t.since)
	t.frozen, t.stopAt = nil, now.Add(t.run)
	s.holding.Store(false)
	s.throttled.Store(false)
}

// endRation accounts for a stop for the quota of CPU time, which may have ended before its time.
func (s *sampler) endRation(now time.Time) {
	t := &s.throttle
	if t.quota.IsZero() {
		return
	}
	s.mu.Lock()
	s.stats.rationedFor += now.Sub(t.quota)
	s.mu.Unlock()
	t.quota = time.Time{}
}

// ending tells whether the group was told to end: it is not stopped on purpose any more.
func (s *sampler) ending() bool { return s.ceiling || s.account.over }

// slowDown stops a group over its soft limit when its time to run is over, and returns how long to wait: at most wait while it runs.
func (s *sampler) slowDown(now time.Time, wait time.Duration) time.Duration {
	t := &s.throttle
	if t.frozen != nil {
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
	s.holding.Store(true)
	s.stopFor(now, stop, s.group.Freeze(freezeTime, nil))
	t.run = run
	s.throttled.Store(true)
	s.mu.Lock()
	s.stats.memory.Throttled++
	s.stats.memory.ThrottledMS += stop.Milliseconds()
	s.mu.Unlock()
	return stop
}

// stopFor keeps a group that was stopped for a while; tick continues it.
func (s *sampler) stopFor(now time.Time, stop time.Duration, f *proc.Frozen) {
	s.throttle.frozen = f
	s.throttle.since, s.throttle.thawAt, s.throttle.run = time.Now(), now.Add(stop), 0
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
