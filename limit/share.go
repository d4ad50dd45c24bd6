package limit

import "time"

// sharedParts is in how many parts the time is cut in which a group of runs can use up the room that it has: so its room may fall by half before anybody in it has to be
// woken to look sooner.
const sharedParts = 2

// Shared is what the groups that a run is in leave to it.
type Shared struct {
	Memory int64 // bytes until one of them is over its limit, by upper bounds of all runs in it; negative: one is
	Tasks  int64 // the same of processes
}

// Alone is what no group limits.
func Alone() Shared { return Shared{unlimited, unlimited} }

// Within is how soon every run of a group with so much room has to be looked at once more, in bytes: what all of them together can have grown by until then is no more
// than the room and the overshoot.
//
// The machine grows by Rate at most, whoever grows. If each run was looked at within this time of its last look, what is not accounted for is at most what the machine can have grown by
// since the oldest of these looks. So their sum is over the limit by no more than Bound.
func (p Policy) Within(room int64) time.Duration { return p.within(room) }

// NextShared is Next for a run that has no more room than s in its groups. Nobody has to be woken as long as the room does not fall by more than half.
func (p Policy) NextShared(u Use, s Shared) time.Duration {
	next := p.Next(u)
	if s.Memory != unlimited {
		next = min(next, max(p.within(s.Memory)/sharedParts, p.Min))
	}
	if s.Tasks != unlimited {
		next = min(next, Budget{Tasks: max(s.Tasks, 0), CPUs: p.CPUs}.Next(Spent{}))
	}
	return next
}

// GroupCeiling is where those end at once who were told to end for a group with the limit: as for a run, the limit + 10 %, at least + 64 MiB.
func GroupCeiling(limit int64) int64 { return overLimit(limit) }
