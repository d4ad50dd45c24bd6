package runtime

import (
	"math"

	"mlrun/rlimit"
)

// niceFor is the nice value for a weight of the CPU greater than 0: each step makes a factor of 1.25 (sched(7), kernel/sched/core.c,
// sched_prio_to_weight).
func niceFor(weight float64) int {
	n := int(math.Round(-math.Log(weight/100) / math.Log(1.25)))
	return min(max(n, -20), 19)
}

// ioLevel is the level of a class of I/O priorities for a weight of the disks from 10 to 1000: the lowest to the highest.
func ioLevel(weight int) int {
	const lowest = 7
	return lowest - int(math.Round(float64(weight-10)/990*lowest))
}

// niceOf is the nice value for a weight of the CPU. ok is false when it is not to be changed: there is no weight, or the caller may not have more of
// the CPU than it has.
func niceOf(weight float64) (nice int, ok bool) {
	if weight <= 0 {
		return 0, false
	}
	n := niceFor(weight)
	now, err := ownNice()
	return n, err != nil || n >= now || rlimit.MayNice(0, n)
}
