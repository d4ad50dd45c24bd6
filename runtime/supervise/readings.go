package supervise

import (
	"time"

	"mlrun/limit"
	"mlrun/meter"
)

// look spares a large group a sample when the memory of the whole machine says that nothing has grown.
func (s *sampler) look(now time.Time) (wait time.Duration, still bool) {
	if s.mapped == nil || s.share.limited() || s.ceiling || s.muted || s.lastTaken.IsZero() || s.group.Size() < lookFrom || now.Sub(s.lastTaken) >= s.policy.Max {
		return 0, false
	}
	m, ok := s.mapped.Read()
	growth := max(m-s.mappedAt, 0)
	if !ok || !s.policy.Still(s.use, growth, s.looks) {
		return 0, false
	}
	s.looks++
	s.mu.Lock()
	s.stats.memory.Looks++
	s.mu.Unlock()
	return s.policy.Next(limit.Use{Memory: s.use.Memory + growth, Swap: s.use.Swap}), true
}

// enough is up to where the sum of RSS is all that needs to be known.
func (s *sampler) enough() int64 {
	enough := int64(1<<63 - 1)
	for _, n := range []int64{s.policy.Limit, s.policy.Swap, s.policy.High} {
		if n > 0 {
			enough = min(enough, n)
		}
	}
	return min(enough, max(s.share.most, 0))
}

// bound takes the cheap reading.
func (s *sampler) bound(now time.Time) {
	s.group.Update(now)
	if s.group.Version() != s.version || s.stats.memory.Samples == 0 {
		s.regroup()
	}
	size := s.group.Size()
	if size >= lookFrom {
		if s.mapped == nil {
			s.mapped = meter.NewMapped()
		}
		if s.mapped != nil {
			s.mappedAt, _ = s.mapped.Read()
		}
		s.looks = 0
	}
	bound, gone := int64(0), false
	rush := s.rush(now, size)
	if rush {
		bound, gone = s.meter.Bound(now, 1<<63-1)
	}
	if !rush || s.meter.Own() <= s.policy.Limit {
		bound, gone = s.meter.Bound(now, s.enough())
	}
	if gone {
		s.refresh()
	}
	if before := s.use.Memory; max(bound, before)-min(bound, before) > bound/steadyPart {
		s.steady = now
	}
	s.use = limit.Use{Memory: bound, Swap: s.swapBound()}
	s.mu.Lock()
	st := &s.stats
	st.memory.Samples++
	st.memory.Bound = bound
	st.memory.PeakUpper = max(st.memory.PeakUpper, bound)
	if least := s.meter.Least(); s.policy.Headroom(limit.Use{Memory: least}) >= 0 {
		st.memory.Peak = max(st.memory.Peak, least)
	}
	st.several = st.several || size > 1
	s.mu.Unlock()
}

// regroup makes the members of the group those that are measured.
func (s *sampler) regroup() {
	s.version = s.group.Version() // before the members: one that comes between is in both
	s.meter.Set(s.group.Members())
}

// rush tells whether a large group that grows in number is so near its limit that the sum of RSS has to do as its bound, unless that is
// mostly of files: what says more takes long while so many want a processor, and none at all once they are stopped.
func (s *sampler) rush(now time.Time, size int) bool {
	grown := size > s.size
	s.size = size
	return grown && size >= lookFrom && s.policy.Limit > 0 && s.policy.Headroom(s.use) < s.policy.Limit/rushPart && s.mayFreeze(now)
}

// refresh drops members that are gone.
func (s *sampler) refresh() {
	for _, id := range s.group.Members() {
		if !s.fs.Alive(id) {
			if st, err := s.fs.Stat(id.PID); err != nil || st.Start != id.Start {
				s.group.Drop(id)
			}
		}
	}
	s.regroup()
}

// worthForPeak tells whether an exact reading may find a new peak and is affordable: it must be over long before the next
// sample is due, and a group that grows competes with it for the same locks.
func (s *sampler) worthForPeak(now time.Time) bool {
	return s.steady.Before(now) && s.newPeak(now) && s.policy.Next(s.use) >= peakHaste*s.cost()
}

// newPeak tells whether the bound is one that no exact reading has seen, and it is not too soon for one.
func (s *sampler) newPeak(now time.Time) bool {
	seen := max(s.stats.peakBound, s.stats.memory.Peak)
	return s.use.Memory > seen*peakPercent/100 && now.Sub(s.stats.last.At) >= peakEvery && s.affords(now)
}

// affords tells whether one more exact reading that nothing depends on leaves what these take together within their share of the time.
func (s *sampler) affords(now time.Time) bool {
	return s.spent+s.cost() <= peakFree+now.Sub(s.start)/peakShare
}

// cost is about what an exact reading takes now.
func (s *sampler) cost() time.Duration { return max(s.stats.last.Cost, s.meter.Estimate()) }

// verify takes an exact reading that tells whether the limit is exceeded, and no more than that if more takes long. Of a group that was
// stopped there is at least what is certain.
func (s *sampler) verify(stopped bool) meter.Reading {
	until := int64(0)
	if s.policy.Swap <= 0 && s.cost() > freezeTime {
		until = s.policy.Limit
	}
	if s.policy.Swap > 0 {
		s.swapAt = meter.SwapUsed()
	}
	s.verified, s.readBound = time.Now(), s.use.Memory
	var r meter.Reading
	if stopped {
		r = s.meter.ExactStopped(until)
		r.Memory = max(r.Memory, s.meter.Certain().Memory)
	} else {
		r = s.meter.ExactUntil(until)
	}
	s.note(r, stopped)
	return r
}

// aside takes an exact reading that no decision waits for, in a goroutine of its own with a meter of its own, and then calls done, which may
// be nil, in the sampler's: a walk of the page tables of a process that has just begun to grow takes until that ends.
func (s *sampler) aside(done func(meter.Reading)) {
	if s.reading {
		return
	}
	s.reading = true
	m, members, bound, swap := s.meter.Another(), s.group.Members(), s.use.Memory, int64(0)
	if s.policy.Swap > 0 {
		swap = meter.SwapUsed()
	}
	go func() {
		m.Set(members)
		r := m.Exact()
		m.Close()
		s.post(func() {
			s.reading, s.readBound, s.swapAt = false, bound, swap
			s.spent += r.Cost
			s.note(r, false)
			if done != nil {
				done(r)
			}
		})
	}()
}

// note remembers an exact reading. What a group that runs seems to have over its limit is no peak: who forks or executes while it is read
// may be counted twice, and a look at it while it is stopped would have told.
func (s *sampler) note(r meter.Reading, stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.stats
	st.last = r
	s.share.note(r)
	st.peakBound = max(st.peakBound, st.memory.Bound)
	st.shared = st.shared || r.Upper < st.memory.Bound*sharedPart/100
	st.memory.ExactReads++
	if stopped || s.muted || s.policy.Headroom(used(r)) >= 0 {
		st.memory.Peak = max(st.memory.Peak, r.Memory)
	}
	st.memory.SwapPeak = max(st.memory.SwapPeak, r.Swap)
	st.memory.Unreadable = max(st.memory.Unreadable, r.Unreadable)
	st.memory.Uncertain = max(st.memory.Uncertain, uncertain(r))
}

// uncertain is by how much a reading may be too low for processes that could not be read, in bytes.
func uncertain(r meter.Reading) int64 {
	if r.Unreadable == 0 {
		return 0
	}
	return r.Upper - r.Memory
}

// atMost is what an exact reading says at most.
func atMost(r meter.Reading) limit.Use { return limit.Use{Memory: r.Upper, Swap: r.Swap} }

// used is what an exact reading says.
func used(r meter.Reading) limit.Use { return limit.Use{Memory: r.Memory, Swap: r.Swap} }

// swapBound is what the group has swapped out at most: what it had at the newest exact reading, and all that the machine has swapped
// out since then.
func (s *sampler) swapBound() int64 {
	if s.policy.Swap <= 0 {
		return 0
	}
	now := meter.SwapUsed()
	if s.stats.last.At.IsZero() {
		return now
	}
	return s.stats.last.Swap + max(now-s.swapAt, 0)
}

// snapshot answers with an exact reading when that is cheap, and with the bound otherwise.
func (s *sampler) snapshot(answer func(Snapshot)) {
	s.bound(time.Now())
	st := s.totals()
	sn := Snapshot{Current: s.use.Memory, Peak: st.memory.Peak, Processes: s.group.Size()}
	if s.reading || max(s.meter.Estimate(), st.last.Cost/2) > cheapRead {
		answer(s.describe(sn, &st))
		return
	}
	s.aside(func(r meter.Reading) {
		st := s.totals()
		answer(s.describe(Snapshot{
			Current: r.Memory, Exact: true, Peak: st.memory.Peak, Processes: r.Processes, Swap: r.Swap, Unreadable: r.Unreadable, Uncertain: uncertain(r),
		}, &st))
	})
}

// describe adds how it is watched.
func (s *sampler) describe(sn Snapshot, st *stats) Snapshot {
	sn.Meter, sn.Throttled = st.memory.Meter, s.throttled.Load()
	return sn
}
