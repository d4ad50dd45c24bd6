package supervise

import (
	"sort"
	"sync"
	"time"

	"mlrun/limit"
	"mlrun/meter"
	"mlrun/proc"
)

const (
	freezeTime  = 20 * time.Millisecond  // how long a freeze may take before it is measured all the same
	alarms      = 4                      // freezes that find no breach that a group may suffer at once,
	alarmEvery  = 500 * time.Millisecond // and another one each time this has passed; beyond, it is measured running first
	peakEvery   = 100 * time.Millisecond // exact readings for the peak's sake: at most this often,
	peakShare   = 100                    // and at most one part in this of the time
	cheapRead   = 2 * time.Millisecond   // exact reading that is made for a question about the state
	costPerGiB  = 10 * time.Millisecond  // of an exact reading (4 KiB pages)
	maxVictims  = 10
	duty        = 4   // readings that are forced by shared memory take at most 1/(1+duty) of the time
	peakPercent = 101 // a bound of this much of the highest one that was read exactly is worth an exact reading
	peakHaste   = 4   // if it takes at most this part of the time to the next sample
	steadyPart  = 50  // and the group has changed by at most this part of it
)

// breach is a confirmed excess, with the group stopped.
type breach struct {
	reading meter.Reading
	frozen  *proc.Frozen
	victims []Victim
}

// sampler turns the memory of a group into events. It runs in a goroutine of its own, since an exact reading of a large
// group takes long, and the loop must not wait for it.
type sampler struct {
	fs     proc.FS
	group  *proc.Group
	meter  *meter.Meter
	policy limit.Policy
	onOver func(*breach) // called at a confirmed breach; the sampler goes on when resume is sent to
	onHope func()        // called once when the group passes the ceiling

	quit    chan struct{}
	done    chan struct{}
	resume  chan bool // true: watch the ceiling from now on
	ask     chan chan snapshot
	ceiling bool

	alarmed   time.Duration // freezes that found no breach, each alarmEvery, less the time that has passed
	alarmedAt time.Time

	mu    sync.Mutex // for whoever asks; the sampler itself only needs it to write
	stats stats
}

// stats is what a sampler has seen.
type stats struct {
	memory     Memory
	last       meter.Reading // newest exact reading
	bound      int64         // newest bound
	peakBound  int64         // highest bound for which there is an exact reading
	underSince time.Time     // newest sample under the limit
	several    bool          // there was more than one process at some sample
}

// snapshot answers a question about the state.
type snapshot struct {
	Current   int64 // bytes
	Exact     bool  // Current is a PSS, not an upper bound
	Peak      int64
	Processes int
}

func newSampler(fs proc.FS, g *proc.Group, p limit.Policy) *sampler {
	return &sampler{
		fs: fs, group: g, meter: meter.New(fs), policy: p,
		quit: make(chan struct{}), done: make(chan struct{}), resume: make(chan bool), ask: make(chan chan snapshot),
	}
}

// run samples until stop is called.
func (s *sampler) run() {
	defer close(s.done)
	defer s.meter.Close()
	// The first sample waits as long as an empty group may: nothing of the payload runs yet.
	s.stats.underSince = time.Now()
	timer := time.NewTimer(s.policy.Next(0))
	defer timer.Stop()
	for {
		select {
		case <-s.quit:
			return
		case c := <-s.ask:
			c <- s.answer()
			continue
		case <-timer.C:
		}
		timer.Reset(s.sample())
	}
}

// stop ends the sampler and waits for it.
func (s *sampler) stop() {
	close(s.quit)
	<-s.done
}

// totals returns what was seen; after stop, all of it.
func (s *sampler) totals() stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// question asks for a snapshot; ok is false when the sampler has ended or is busy for longer than wait.
func (s *sampler) question(wait time.Duration) (sn snapshot, ok bool) {
	c := make(chan snapshot, 1)
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case s.ask <- c:
		return <-c, true
	case <-s.done:
	case <-t.C:
	}
	st := s.totals()
	return snapshot{Current: st.bound, Peak: st.memory.Peak, Processes: s.group.Size()}, false
}

// sample takes one sample and returns when the next one is due.
func (s *sampler) sample() time.Duration {
	now := time.Now()
	before := s.stats.bound
	bound := s.bound(now)
	switch s.policy.Judge(limit.Sample{Bound: bound}) {
	case limit.Fine:
		s.under(now)
		if s.worthForPeak(now, before, bound) {
			s.exact()
		}
		return s.policy.Next(bound)
	default:
		return s.measure(now)
	}
}

// bound takes the cheap reading.
func (s *sampler) bound(now time.Time) int64 {
	if s.group.Update(now) || s.stats.memory.Samples == 0 {
		s.meter.Set(s.group.Members())
	}
	bound, gone := s.meter.Bound(now, s.policy.Limit)
	if gone {
		s.refresh()
	}
	s.mu.Lock()
	st := &s.stats
	st.memory.Samples++
	st.bound = bound
	st.memory.PeakUpper = max(st.memory.PeakUpper, bound)
	st.several = st.several || s.group.Size() > 1
	s.mu.Unlock()
	return bound
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
	s.meter.Set(s.group.Members())
}

func (s *sampler) under(now time.Time) {
	s.mu.Lock()
	s.stats.underSince = now
	s.mu.Unlock()
}

// worthForPeak tells whether an exact reading may find a new peak and is affordable: it must be over long before the next
// sample is due, and a group that grows competes with it for the same locks.
func (s *sampler) worthForPeak(now time.Time, before, bound int64) bool {
	st := &s.stats
	since := now.Sub(st.last.At)
	steady := max(bound, before)-min(bound, before) <= bound/steadyPart
	cost := max(st.last.Cost, estimate(bound))
	return steady && bound > st.peakBound*peakPercent/100 && since >= peakEvery && since >= peakShare*st.last.Cost &&
		s.policy.Next(bound) >= peakHaste*cost
}

// estimate is about what an exact reading of so many bytes takes.
func estimate(bytes int64) time.Duration {
	return time.Duration(float64(bytes) / (1 << 30) * float64(costPerGiB))
}

// exact takes an exact reading.
func (s *sampler) exact() meter.Reading {
	r := s.meter.Exact()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.stats
	st.last = r
	st.peakBound = max(st.peakBound, st.bound)
	st.memory.ExactReads++
	st.memory.Peak = max(st.memory.Peak, r.Memory)
	st.memory.Unreadable = max(st.memory.Unreadable, r.Unreadable)
	return r
}

// measure finds out whether the limit is exceeded, after the bound did not exclude it.
func (s *sampler) measure(now time.Time) time.Duration {
	if s.ceiling {
		r := s.exact()
		if s.policy.Hopeless(r.Memory) {
			if s.onHope != nil {
				s.onHope()
				s.onHope = nil
			}
			return s.policy.Max
		}
		return s.pause(r)
	}
	if !s.mayFreeze(now) {
		r := s.exact()
		if s.policy.Judge(limit.Sample{Exact: true, Memory: r.Memory}) == limit.Fine {
			s.under(now)
			return s.pause(r)
		}
	}
	f := s.group.Freeze(freezeTime)
	s.meter.Set(s.group.Members())
	r := s.exact()
	if s.policy.Judge(limit.Sample{Exact: true, Frozen: true, Memory: r.Memory}) != limit.Breach {
		f.Thaw(false)
		s.alarmed += alarmEvery
		s.under(now)
		return s.policy.Next(r.Upper)
	}
	s.report(r, f)
	return s.policy.Next(r.Memory)
}

// mayFreeze tells whether a freeze is due without a second opinion. The first crossing of the bound is often none of the limit,
// the second one mostly is: the bound goes on from an exact reading then.
func (s *sampler) mayFreeze(now time.Time) bool {
	s.alarmed = max(0, s.alarmed-now.Sub(s.alarmedAt))
	s.alarmedAt = now
	return s.alarmed < alarms*alarmEvery
}

// pause keeps readings that shared memory forces from taking more than a part of the time.
func (s *sampler) pause(r meter.Reading) time.Duration {
	return max(s.policy.Next(r.Upper), duty*r.Cost)
}

// report hands a breach to the loop and waits for its word.
func (s *sampler) report(r meter.Reading, f *proc.Frozen) {
	b := &breach{reading: r, frozen: f, victims: s.victims(r)}
	s.mu.Lock()
	s.stats.memory.AtBreach = r.Memory
	s.stats.memory.DetectionDelayUS = r.At.Sub(s.stats.underSince).Microseconds()
	s.mu.Unlock()
	s.onOver(b)
	select {
	case s.ceiling = <-s.resume:
		if s.ceiling {
			s.policy.Limit = s.policy.Ceiling
		}
	case <-s.quit:
	}
}

// victims lists the largest members.
func (s *sampler) victims(r meter.Reading) []Victim {
	each := append([]meter.Usage(nil), r.Each...)
	sort.Slice(each, func(i, j int) bool { return each[i].Memory > each[j].Memory })
	var list []Victim
	for _, u := range each[:min(len(each), maxVictims)] {
		list = append(list, Victim{ID: u.ID, Command: s.fs.Command(u.PID), Memory: u.Memory, Swap: u.Swap, Exact: u.Exact})
	}
	return list
}

// answer reads exactly when that is cheap, and gives the bound otherwise.
func (s *sampler) answer() snapshot {
	bound := s.bound(time.Now())
	st := s.totals()
	if max(estimate(bound), st.last.Cost/2) > cheapRead {
		n := len(s.group.Members())
		return snapshot{Current: bound, Peak: st.memory.Peak, Processes: n}
	}
	r := s.exact()
	return snapshot{Current: r.Memory, Exact: true, Peak: max(st.memory.Peak, r.Memory), Processes: r.Processes}
}
