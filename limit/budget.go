package limit

import "time"

// Budget are the limits of a group besides memory.
//
// CPU time is what the kernel has counted of all processes, in parts of 10 ms. A group can use up what is left of it
// not before left / CPUs, so that is when the next look is due, and not before 10 ms. It is thus exceeded by at most 10 ms x CPUs, and what a look takes.
//
// Tasks are counted when somebody may have made one: after headroom / 2000 per second and CPU, from 5 to 100 ms.
type Budget struct {
	CPU   time.Duration // CPU time of all processes together; 0: no limit
	Wall  time.Duration // time since the start; 0: no limit
	Hang  time.Duration // time in which no CPU time is used; 0: no limit
	Tasks int64         // processes and threads at once; < 0: no limit
	Huge  []Huge        // huge pages, by size

	// Quota is the CPU time that may be used in each Period; 0: no limit. See Ration.
	Quota, Period time.Duration

	CPUs int // processors of the machine
}

// Huge is a limit of huge pages of one size.
type Huge struct{ Size, Limit int64 } // bytes

// Spent is what a group has used.
type Spent struct {
	CPU   time.Duration // of all processes that are and were
	Wall  time.Duration // since the start
	Idle  time.Duration // since CPU time was last seen to grow, or the group was stopped on purpose
	Tasks int64         // as of now
	Huge  []int64       // bytes, by the sizes of the budget
}

// Excess is the limit of a Budget that is exceeded.
type Excess int

// In the order in which they are looked at.
const (
	Within Excess = iota // none
	OverTasks
	OverHuge
	OverCPU
	OverWall
	Hung
)

const (
	forksPerCPU   = 2000 // tasks that are made in a second, assumed of each processor
	soonest       = 10 * time.Millisecond
	soonestTasks  = 5 * time.Millisecond
	latestTasks   = 100 * time.Millisecond
	hugeEvery     = 100 * time.Millisecond
	hangLooks     = 10 // looks in the time that a group may hang
	hopelessTasks = 16 // above the limit, or a tenth of it
)

// Unlimited tells whether nothing of b is limited.
func (b Budget) Unlimited() bool {
	return b.CPU <= 0 && b.Wall <= 0 && b.Hang <= 0 && b.Tasks < 0 && len(b.Huge) == 0 && !b.Rations()
}

// Exceeded tells which limit s exceeds.
func (b Budget) Exceeded(s Spent) Excess {
	switch {
	case b.Tasks >= 0 && s.Tasks > max(b.Tasks, 1):
		return OverTasks
	case b.overHuge(s):
		return OverHuge
	case b.CPU > 0 && s.CPU >= b.CPU:
		return OverCPU
	case b.Wall > 0 && s.Wall >= b.Wall:
		return OverWall
	case b.Hang > 0 && s.Idle >= b.Hang:
		return Hung
	}
	return Within
}

func (b Budget) overHuge(s Spent) bool {
	for i, h := range b.Huge {
		if i < len(s.Huge) && s.Huge[i] > h.Limit {
			return true
		}
	}
	return false
}

// Urgent tells whether a group makes so many tasks that it is not to have a grace period.
func (b Budget) Urgent(s Spent) bool {
	return b.Tasks >= 0 && s.Tasks > b.Tasks+max(b.Tasks/10, hopelessTasks)
}

// Next is how long the next look can wait when s is used now, for all limits but the quota.
func (b Budget) Next(s Spent) time.Duration {
	next := time.Duration(unlimited)
	if b.CPU > 0 {
		next = max((b.CPU-s.CPU)/b.cpus(), soonest)
	}
	if b.Wall > 0 {
		next = min(next, max(b.Wall-s.Wall, 0))
	}
	if b.Hang > 0 {
		next = min(next, max(b.Hang/hangLooks, soonest), max(b.Hang-s.Idle, time.Millisecond))
	}
	if b.Tasks >= 0 {
		left := time.Duration(max(b.Tasks-s.Tasks, 0)) * time.Second / (forksPerCPU * b.cpus())
		next = min(next, max(soonestTasks, min(left, latestTasks)))
	}
	if len(b.Huge) > 0 {
		next = min(next, hugeEvery)
	}
	return next
}

func (b Budget) cpus() time.Duration { return time.Duration(max(b.CPUs, 1)) }

// leastPeriod is the shortest period of a quota. To stop and continue everything takes mlrun half a millisecond of CPU time, most of it for being woken up.
const leastPeriod = 200 * time.Millisecond

// Calm returns b with a quota for a period of 200 ms at least, which is the same on average.
func (b Budget) Calm() Budget {
	for b.Rations() && b.Period < leastPeriod {
		b.Quota, b.Period = 2*b.Quota, 2*b.Period
	}
	return b
}

// Rations tells whether there is a quota that the group can exceed.
func (b Budget) Rations() bool {
	return b.Quota > 0 && b.Period > 0 && b.Quota < b.Period*b.cpus()
}

// Ration is how the quota is held: as a balance of CPU time, to which Quota is added in each Period, at most one Quota, and from
// which is taken what the group uses. When next to nothing is left the group is stopped until there is as much as makes it run again for its part of a
// Period. What it has used too much is paid back by stopping longer, so the average is kept, however late the looks come.
type Ration struct {
	Left time.Duration // the balance; below 0 the group has used too much
	Rate float64       // CPU time that it uses in each second that it runs
}

// Begin is the balance of a group that begins to run: half a Quota, so that what is short is not stopped.
func (b Budget) Begin() Ration { return Ration{Left: b.Quota / 2, Rate: 1} }

const (
	rationSoonest = time.Millisecond // shortest time between two looks
	rationLooks   = 8                // least looks in a period
)

// part is the balance with which the group runs for its part of a period when it uses rate processors: it then takes period x q / rate until
// it is used up, and what is added meanwhile.
func (b Budget) part(rate float64) time.Duration {
	q := float64(b.Quota) / float64(b.Period)
	if rate <= q {
		return b.Quota
	}
	return time.Duration(float64(b.Quota) * (1 - q/rate))
}

// Ration accounts for used CPU time in the time passed, of which the group was stopped for the part stopped. stop is for how long to stop it now, 0
// for not at all; next is when to look again.
func (b Budget) Ration(r Ration, passed, stopped, used time.Duration) (now Ration, stop, next time.Duration) {
	if ran := passed - stopped; ran >= rationSoonest {
		rate := float64(used) / float64(ran)
		r.Rate = min((r.Rate+rate)/2, float64(b.cpus()))
	}
	q := float64(b.Quota) / float64(b.Period)
	r.Left = min(r.Left-used+time.Duration(q*float64(passed)), b.Quota)
	part := b.part(max(r.Rate, 1))
	if float64(r.Left) <= min(r.Rate*float64(rationSoonest), float64(part)/rationLooks) { // no look is worth what little there is
		stop = time.Duration(float64(part-r.Left) / q)
		return r, stop, stop
	}
	// It cannot be used up before that, whoever begins to run.
	next = max(b.Period/rationLooks, time.Duration(float64(r.Left)/(float64(b.cpus())-q)))
	if r.Rate > q {
		next = min(next, time.Duration(float64(r.Left)/(r.Rate-q)))
	}
	return r, 0, max(next, rationSoonest)
}
