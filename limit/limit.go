// Package limit is the policy of the memory limit: pure functions from what was measured to what follows from it.
//
// # When to look again
//
// A limit that is held by sampling is as good as the moment of the next sample. The group cannot reach the limit
// before headroom / rate, where headroom is the limit minus the upper bound of what it uses, and rate is the fastest
// growth that is assumed of it. So that is when the next sample is due, clamped to [Min, Max]:
//
//	next = clamp((limit - bound) / rate, Min, Max)
//	rate = 4 GiB/s x min(CPUs, 4)
//
// Far from the limit a sample every quarter of a second is enough; below rate x Min of headroom it is one every
// millisecond. What a group can exceed the limit by is then at most what it touches in Min plus the time that a sample
// and a stop take (about 0.3 ms): for a process that touches 2 GiB/s, about 3 MiB.
//
// The rate is assumed, not measured: page faults of 4 KiB pages reach 1 to 3 GiB/s per CPU, transparent huge pages
// about three times that while memory bandwidth lasts.
//
// # What a sample says
//
// See Judge. Package limit reads no clock, no file and no process: the same input always gives the same decision.
package limit

import "time"

// Policy is one memory limit and how closely it is watched.
type Policy struct {
	Limit   int64         // bytes; <= 0 is none
	Ceiling int64         // bytes: above it, a group that was already told to end is killed at once
	Rate    int64         // bytes per second of growth that are assumed
	Min     time.Duration // shortest time between samples
	Max     time.Duration // longest time between samples
}

// GrowthPerCPU is the growth assumed of each CPU, up to 4 of them, in bytes per second.
const GrowthPerCPU = 4 << 30

// New returns the policy for a limit in bytes on a machine with cpus processors.
func New(limit int64, cpus int) Policy {
	cpus = max(cpus, 1)
	p := Policy{
		Limit: limit,
		Rate:  GrowthPerCPU * int64(min(cpus, 4)),
		Min:   time.Millisecond,
		Max:   250 * time.Millisecond,
	}
	if limit <= 0 {
		return p
	}
	p.Ceiling = ceiling(limit)
	return p
}

// ceiling is limit + 10 %, at least limit + 64 MiB.
func ceiling(limit int64) int64 {
	extra := max(limit/10, 64<<20)
	if limit > 1<<63-1-extra {
		return 1<<63 - 1
	}
	return limit + extra
}

// Next is how long the next sample can wait when bound is the upper bound of what the group uses now, in bytes.
func (p Policy) Next(bound int64) time.Duration {
	if p.Limit <= 0 {
		return p.Max
	}
	headroom := p.Limit - bound
	if headroom <= 0 {
		return p.Min
	}
	d := time.Duration(float64(headroom) / float64(p.Rate) * float64(time.Second))
	return min(max(d, p.Min), p.Max)
}

// Sample is what is known of the group at one moment.
type Sample struct {
	Bound  int64 // bytes that it uses at most
	Exact  bool  // Memory was read from every process for this sample
	Memory int64 // bytes, when Exact
	Frozen bool  // the group was stopped while Memory was read
}

// Decision is what follows from a sample.
type Decision int

// In the order in which a breach passes through them.
const (
	Fine    Decision = iota // nothing to do until Next
	Measure                 // the bound does not exclude a breach: read exactly
	Confirm                 // over the limit as far as a running group can be read: stop it and read again
	Breach                  // over the limit
)

func (d Decision) String() string {
	return [...]string{"fine", "measure", "confirm", "breach"}[d]
}

// Judge decides what a sample means for the limit.
func (p Policy) Judge(s Sample) Decision {
	switch {
	case p.Limit <= 0:
		return Fine
	case s.Exact && s.Memory <= p.Limit:
		return Fine
	case s.Exact && s.Frozen:
		return Breach
	case s.Exact:
		return Confirm
	case s.Bound > p.Limit:
		return Measure
	}
	return Fine
}

// Hopeless tells whether a group that was told to end for exceeding the limit uses so much that its grace period is over.
func (p Policy) Hopeless(memory int64) bool { return p.Limit > 0 && memory > p.Ceiling }
