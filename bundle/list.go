package bundle

import (
	"fmt"
	"strconv"
	"strings"
)

// The largest numbers that a list can have: the greatest that Linux can be
// configured for (CONFIG_NR_CPUS, CONFIG_NODES_SHIFT).
const (
	MaxCPU  = 8191 // of processors
	MaxNode = 1023 // of NUMA nodes
)

// ParseList reads a list of processors or NUMA nodes in the form of
// cpuset(7), "List format": "0-3,7". It returns each number up to most once
// or more often, in the order of the text.
func ParseList(s string, most int) ([]int, error) {
	var list []int
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.ParseUint(from, 10, 31)
		b, errB := strconv.ParseUint(to, 10, 31)
		if errA != nil || errB != nil || a > b || b > uint64(most) {
			return nil, fmt.Errorf("%q: want numbers and ranges from 0 to %d with commas between, such as 0-3,7", part, most)
		}
		for n := a; n <= b; n++ {
			list = append(list, int(n))
		}
		if len(list) > most+1 {
			return nil, fmt.Errorf("%q: want each number once", s)
		}
	}
	return list, nil
}
