package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// series are the values that one thing was measured at, all in one unit.
type series struct {
	label  string
	values []float64
}

func (s *series) add(v float64) { s.values = append(s.values, v) }

// addTime adds a duration in milliseconds.
func (s *series) addTime(d time.Duration) { s.add(float64(d) / float64(time.Millisecond)) }

// addBytes adds bytes in MiB.
func (s *series) addBytes(n int64) { s.add(float64(n) / (1 << 20)) }

// median is the middle value, or the mean of the two in the middle; 0 when there are no values.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// spread is the least and the greatest value; 0 and 0 when there are none.
func spread(values []float64) (least, greatest float64) {
	if len(values) == 0 {
		return 0, 0
	}
	return slices.Min(values), slices.Max(values)
}

// number writes v with three significant digits, but no fewer than all of those before the point.
func number(v float64) string {
	digits := 2
	switch abs := max(v, -v); {
	case abs >= 99.95:
		digits = 0
	case abs >= 9.995:
		digits = 1
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if s == "-0.00" {
		return "0.00"
	}
	return s
}

// ratio writes a/b as a multiple; a dash when it means nothing.
func ratio(a, b float64) string {
	if a <= 0 || b <= 0 {
		return "-"
	}
	return fmt.Sprintf("%s x", number(a/b))
}

// plural writes a count and what is counted.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
