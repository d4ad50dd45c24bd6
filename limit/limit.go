// Package limit is the policy of the memory limit: pure functions from what was measured to what follows from it.
//
// # When to look again
//
// A limit that is held by sampling is as good as the moment of the next sample. A group whose memory is at most bound
// reaches limit + overshoot not before (limit - bound + overshoot) / rate, where rate is the fastest growth that is
// assumed of it. The sample and the stop that follows take some time themselves. So the next sample is due after
//
//	next = clamp((limit - bound + overshoot) / rate - reaction, floor, ceiling)
//	rate = 8 GiB/s x min(CPUs, 4)
//	reaction = 0.5 ms
//	floor = 0.25 ms, ceiling = 1 s
//
// Overshoot is what is asked for (dev.mlrun.memory.overshoot), by default 12 MiB for each CPU, at most 48 MiB (what the
// group can touch in 1.5 ms). It cannot be less than rate x (floor + reaction): 6 MiB for each CPU, at most 24 MiB. Bound is what it comes to.
//
// The rate is assumed, not measured: page faults of 4 KiB pages reach 1 to 3 GiB/s per CPU, transparent huge pages
// 8 GiB/s while memory bandwidth lasts. A group that grows more slowly exceeds the limit by less: by what it touches
// between two samples and while it is stopped.
//
// # What a sample says
//
// See Judge. Between samples a cheap look at the memory of the whole machine may stand for one: see Still.
//
// # Over the soft limit
//
// A group over the soft limit is stopped for a part of each period of 100 ms, see Throttle. It always has the rest of the period, so
// whoever holds a lock that others wait for gets its turn.
//
// Package limit reads no clock, no file and no process: the same input always gives the same decision.
package limit

import "time"

// Config is what is asked for. Amounts are in bytes; <= 0 is none.
type Config struct {
	Limit     int64 // of memory
	Swap      int64 // of memory and swapped memory together
	High      int64 // soft limit of memory: over it the group is slowed down
	Overshoot int64 // bound asked for on how far Limit may be exceeded; <= 0: the default
	CPUs      int   // processors of the machine
	OnBreach  Action
}

// Policy is how limits are watched.
type Policy struct {
	Config
	Ceiling  int64         // bytes: above it, a group that was already told to end is killed at once
	Bound    int64         // bytes: how far Limit may be exceeded by a group that grows by Rate
	Rate     int64         // bytes per second of growth that are assumed
	Min, Max time.Duration // shortest and longest time between samples
}

// Action is what a breach leads to.
type Action int

// The policies of dev.mlrun.memory.on-breach.
const (
	Kill        Action = iota // the group is asked to end, and killed after its grace period
	KillLargest               // the process with the most memory is killed, the others go on
	KillNewest                // the youngest process is killed, the others go on
	Freeze                    // the group stays stopped until somebody continues or ends it
	Signal                    // the payload gets a signal, once for each time the limit is crossed
)

func (a Action) String() string {
	return [...]string{"kill", "kill-largest", "kill-newest", "freeze", "signal"}[a]
}

// MaxVictims is how many processes KillLargest and KillNewest kill, each within VictimAge of the one before, until everything
// is killed: a group that makes new ones faster than that is not to be helped.
const (
	MaxVictims = 16
	VictimAge  = time.Minute
)

const (
	// GrowthPerCPU is the growth assumed of each CPU, up to maxGrowing of them, in bytes per second.
	GrowthPerCPU = 8 << 30
	maxGrowing   = 4
	// BoundPerCPU is the default overshoot for each CPU, up to maxGrowing of them, in bytes.
	BoundPerCPU = 12 << 20
	// Reaction is how long a sample and the stop after it take.
	Reaction = 500 * time.Microsecond

	floor   = 250 * time.Microsecond
	ceiling = time.Second
)

// New returns the policy for c.
func New(c Config) Policy {
	p := Policy{Config: c, Rate: GrowthPerCPU * int64(min(max(c.CPUs, 1), maxGrowing)), Min: floor, Max: ceiling}
	p.Bound = BoundPerCPU * p.Rate / GrowthPerCPU
	if c.Overshoot > 0 {
		p.Bound = max(c.Overshoot, p.grown(floor+Reaction))
	}
	if p.limited() {
		p.Ceiling = overLimit(p.either())
	}
	return p
}

// grown is how much can grow in d, in bytes.
func (p Policy) grown(d time.Duration) int64 { return int64(float64(p.Rate) * d.Seconds()) }

func (p Policy) limited() bool { return p.Limit > 0 || p.Swap > 0 }

// either is the limit of memory; without one, that of memory and swap.
func (p Policy) either() int64 {
	if p.Limit > 0 {
		return p.Limit
	}
	return p.Swap
}

// overLimit is limit + 10 %, at least limit + 64 MiB.
func overLimit(limit int64) int64 {
	extra := max(limit/10, 64<<20)
	if limit > 1<<63-1-extra {
		return 1<<63 - 1
	}
	return limit + extra
}

// unlimited is the headroom of a group without limits.
const unlimited = 1<<63 - 1

// Use is what a group uses, or may use at most, in bytes.
type Use struct {
	Memory int64 // PSS and huge pages
	Swap   int64 // proportional share of what is swapped out
}

// Headroom is how much u may grow before a limit is exceeded, in bytes; negative when one is. Without limits it is the greatest number.
func (p Policy) Headroom(u Use) int64 {
	room := int64(unlimited)
	if p.Limit > 0 {
		room = p.Limit - u.Memory
	}
	if p.Swap > 0 {
		room = min(room, p.Swap-u.Memory-u.Swap)
	}
	return room
}

// Next is how long the next sample can wait when the group uses at most u now.
func (p Policy) Next(u Use) time.Duration {
	room := p.Headroom(u)
	if p.High > u.Memory {
		room = min(room, p.High-u.Memory)
	}
	if room == unlimited {
		return p.Max
	}
	return p.within(room)
}

// within is how long it takes at least until room bytes and the overshoot are used up.
func (p Policy) within(headroom int64) time.Duration {
	room := float64(max(headroom, 0)) + float64(p.Bound)
	seconds := room/float64(p.Rate) - Reaction.Seconds()
	return time.Duration(min(max(seconds, p.Min.Seconds()), p.Max.Seconds()) * float64(time.Second))
}

// stillParts is by which part of the headroom the memory of the machine may have grown for a look to stand for a sample, and
// stillLooks how many looks may do so in a row.
const (
	stillParts = 4
	stillLooks = 16
)

// Still tells whether a look stands for a sample: since the newest sample, in which the group used at most u, all processes of the
// machine together have mapped only so much more memory (bytes), and looks before this one said so too. It is wrong only if others
// have given up as much in that time.
func (p Policy) Still(u Use, growth int64, looks int) bool {
	return looks < stillLooks && growth <= max(p.Headroom(u), 0)/stillParts
}

// Sample is what is known of the group at one moment.
type Sample struct {
	Bound  Use  // what it uses at most
	Exact  bool // Memory was read from every process for this sample
	Memory Use  // when Exact
	Frozen bool // the group was stopped while Memory was read
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

// Judge decides what a sample means for the limits.
func (p Policy) Judge(s Sample) Decision {
	switch {
	case s.Exact && p.Headroom(s.Memory) >= 0:
		return Fine
	case s.Exact && s.Frozen:
		return Breach
	case s.Exact:
		return Confirm
	case p.Headroom(s.Bound) < 0:
		return Measure
	}
	return Fine
}

// Hopeless tells whether a group that was told to end for exceeding a limit uses so much that its grace period is over.
func (p Policy) Hopeless(u Use) bool {
	if p.Limit <= 0 {
		u.Memory += u.Swap
	}
	return p.limited() && u.Memory > p.Ceiling
}

// warnings are the parts of a limit, in percent, that are worth a word.
var warnings = [...]int{80, 95}

// Warn is the highest of 80 and 95 percent of a limit that u has reached and that is above said, the one that was reported
// last; 0 if there is none.
func (p Policy) Warn(u Use, said int) int {
	reached := 0
	for _, w := range warnings {
		part := func(limit, used int64) bool { return limit > 0 && float64(used) >= float64(limit)*float64(w)/100 }
		if w > said && (part(p.Limit, u.Memory) || part(p.Swap, u.Memory+u.Swap)) {
			reached = w
		}
	}
	return reached
}

// Recovered tells whether a group is so far below its limits that exceeding one is news again.
func (p Policy) Recovered(u Use) bool { return p.Warn(u, 0) < warnings[len(warnings)-1] }

const (
	throttlePeriod = 100 * time.Millisecond
	leastStop      = 0.1 // part of the period, just over the soft limit
	mostStop       = 0.9 // at the limit, or twice the soft limit when there is none
)

// Throttle is for how long a group with so much memory, in bytes, is stopped and then runs; 0, 0 when it is not over the soft limit.
func (p Policy) Throttle(memory int64) (stop, run time.Duration) {
	if p.High <= 0 || memory <= p.High {
		return 0, 0
	}
	span := float64(p.High)
	if p.Limit > 0 {
		span = float64(p.Limit - p.High)
	}
	part := mostStop
	if over := float64(memory - p.High); over < span {
		part = leastStop + (mostStop-leastStop)*over/span
	}
	stop = time.Duration(part * float64(throttlePeriod))
	return stop, throttlePeriod - stop
}
