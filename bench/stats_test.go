package main

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{-2, -8, 100}, -2},
	} {
		before := slices.Clone(c.values)
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("median changed its argument from %v to %v", before, c.values)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values          []float64
		least, greatest float64
	}{
		{nil, 0, 0},
		{[]float64{3}, 3, 3},
		{[]float64{9, -1, 5}, -1, 9},
	} {
		least, greatest := spread(c.values)
		if least != c.least || greatest != c.greatest {
			t.Errorf("spread(%v) = %v, %v, want %v, %v", c.values, least, greatest, c.least, c.greatest)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.00", 0.0049: "0.00", -0.001: "0.00", 1.234: "1.23", -1.236: "-1.24", 9.994: "9.99", 9.996: "10.0",
		12.34: "12.3", 99.96: "100", 123.4: "123", 98765.4: "98765",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestRatio(t *testing.T) {
	for _, c := range []struct {
		a, b float64
		want string
	}{{3, 2, "1.50 x"}, {250, 2, "125 x"}, {1, 0, "-"}, {-1, 2, "-"}, {0, 0, "-"}} {
		if got := ratio(c.a, c.b); got != c.want {
			t.Errorf("ratio(%v, %v) = %q, want %q", c.a, c.b, got, c.want)
		}
	}
}

func TestSeriesUnits(t *testing.T) {
	var s series
	s.addTime(1500 * time.Microsecond)
	s.addBytes(3 << 19)
	for i, v := range s.values {
		if math.Abs(v-1.5) > 1e-9 {
			t.Errorf("value %d = %v, want 1.5", i, v)
		}
	}
}
