package limit

import (
	"fmt"
	"math"
	"testing"
	"time"
)

const ms = time.Millisecond

func TestExceeded(t *testing.T) {
	all := Budget{CPU: 2 * time.Second, Wall: time.Minute, Hang: 10 * time.Second, Tasks: 30, Huge: []Huge{{2 << 20, 4 << 20}}, CPUs: 2}
	for _, test := range []struct {
		b      Budget
		s      Spent
		want   Excess
		urgent bool
	}{
		{all, Spent{}, Within, false},
		{all, Spent{CPU: 2*time.Second - 1, Wall: time.Minute - 1, Idle: 10*time.Second - 1, Tasks: 30, Huge: []int64{4 << 20}}, Within, false},
		{all, Spent{CPU: 2 * time.Second}, OverCPU, false},
		{all, Spent{Wall: time.Minute}, OverWall, false},
		{all, Spent{Idle: 10 * time.Second}, Hung, false},
		{all, Spent{Tasks: 31}, OverTasks, false},
		{all, Spent{Tasks: 46}, OverTasks, false},
		{all, Spent{Tasks: 47}, OverTasks, true},
		{all, Spent{Huge: []int64{4<<20 + 1}}, OverHuge, false},
		{Budget{Tasks: 0}, Spent{Tasks: 1}, Within, false}, // there is always the program itself
		{Budget{Tasks: 0}, Spent{Tasks: 2}, OverTasks, false},
		{Budget{Tasks: 1000}, Spent{Tasks: 1100}, OverTasks, false},
		{Budget{Tasks: 1000}, Spent{Tasks: 1101}, OverTasks, true},
		{Budget{Tasks: -1}, Spent{CPU: time.Hour, Wall: time.Hour, Idle: time.Hour, Tasks: 1e6, Huge: []int64{1 << 40}}, Within, false},
	} {
		if got := test.b.Exceeded(test.s); got != test.want {
			t.Errorf("%+v, %+v: %v, want %v", test.b, test.s, got, test.want)
		}
		if got := test.b.Urgent(test.s); got != test.urgent {
			t.Errorf("%+v, %+v: urgent %v", test.b, test.s, got)
		}
	}
}

func TestBudgetNext(t *testing.T) {
	for _, test := range []struct {
		b    Budget
		s    Spent
		want time.Duration
	}{
		{Budget{Tasks: -1}, Spent{}, math.MaxInt64},
		{Budget{Tasks: -1, CPU: 2 * time.Second, CPUs: 2}, Spent{}, time.Second},
		{Budget{Tasks: -1, CPU: 2 * time.Second, CPUs: 2}, Spent{CPU: 1990 * ms}, 10 * ms},
		{Budget{Tasks: -1, CPU: 2 * time.Second, CPUs: 2}, Spent{CPU: 3 * time.Second}, 10 * ms},
		{Budget{Tasks: -1, Wall: time.Minute}, Spent{Wall: time.Second}, 59 * time.Second},
		{Budget{Tasks: -1, Wall: time.Minute}, Spent{Wall: time.Hour}, 0},
		{Budget{Tasks: -1, Hang: 10 * time.Second}, Spent{}, time.Second},
		{Budget{Tasks: -1, Hang: 10 * time.Second}, Spent{Idle: 9900 * ms}, 100 * ms},
		{Budget{Tasks: 30, CPUs: 2}, Spent{Tasks: 1}, 7250 * time.Microsecond},
		{Budget{Tasks: 30, CPUs: 2}, Spent{Tasks: 30}, 5 * ms},
		{Budget{Tasks: 1e6, CPUs: 2}, Spent{}, 100 * ms},
		{Budget{Tasks: 1e6, CPUs: 2, Wall: time.Second}, Spent{Wall: 999 * ms}, ms},
	} {
		if got := test.b.Next(test.s); got != test.want {
			t.Errorf("%+v, %+v: %v, want %v", test.b, test.s, got, test.want)
		}
	}
}

func TestRations(t *testing.T) {
	for _, test := range []struct {
		b    Budget
		want bool
	}{
		{Budget{}, false},
		{Budget{Quota: 50 * ms, Period: 100 * ms, CPUs: 1}, true},
		{Budget{Quota: 100 * ms, Period: 100 * ms, CPUs: 1}, false}, // more than there is
		{Budget{Quota: 100 * ms, Period: 100 * ms, CPUs: 2}, true},
	} {
		if got := test.b.Rations(); got != test.want {
			t.Errorf("%+v: %v", test.b, got)
		}
	}
}

func TestCalm(t *testing.T) {
	for _, test := range []struct{ b, want Budget }{
		{Budget{Quota: 25 * ms, Period: 100 * ms, CPUs: 1}, Budget{Quota: 50 * ms, Period: 200 * ms, CPUs: 1}},
		{Budget{Quota: 3 * ms, Period: ms, CPUs: 8}, Budget{Quota: 768 * ms, Period: 256 * ms, CPUs: 8}},
		{Budget{Quota: ms, Period: time.Second, CPUs: 1}, Budget{Quota: ms, Period: time.Second, CPUs: 1}},
		{Budget{CPUs: 1}, Budget{CPUs: 1}},
	} {
		if got := test.b.Calm(); fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%+v: %+v, want %+v", test.b, got, test.want)
		}
	}
}

// TestRationKeepsAverage runs groups of different appetite under quotas, with looks that come late and CPU time that is counted in parts.
func TestRationKeepsAverage(t *testing.T) {
	for _, cpus := range []int{1, 2, 8} {
		for _, quota := range []float64{0.05, 0.25, 0.5, 0.9, 1.5, 3} {
			for _, appetite := range []float64{0.02, 0.3, 1, 2, 8} {
				for _, late := range []time.Duration{0, 3 * ms, 10 * ms} {
					for _, tick := range []time.Duration{time.Microsecond, 10 * ms} {
						const period = 100 * ms
						b := Budget{Quota: time.Duration(quota * float64(period)), Period: period, CPUs: cpus}
						if !b.Rations() {
							continue
						}
						t.Run(fmt.Sprintf("%d CPUs, quota %g, appetite %g, late %v, tick %v", cpus, quota, appetite, late, tick), func(t *testing.T) {
							rate := min(appetite, float64(cpus))
							used, longest := ration(b, rate, late, tick, 20*time.Second)
							want := min(rate, quota)
							if used > want*1.05+0.005 || tick < ms && used < want*0.93-0.005 {
								t.Errorf("used %.3f, want %.3f", used, want)
							}
							// What it uses beyond its quota until somebody looks, it pays back.
							most := time.Duration((float64(late+period/rationLooks)*rate+float64(tick))/quota) + period
							if longest > most {
								t.Errorf("stopped for %v at once, more than %v", longest, most)
							}
						})
					}
				}
			}
		}
	}
}

// ration simulates a group that uses rate processors whenever it runs, and returns what it used of one on average.
func ration(b Budget, rate float64, late, tick, total time.Duration) (used float64, longest time.Duration) {
	r := b.Begin()
	var cpu, seen, stopped, now time.Duration
	for step := ms; now < total; {
		now += step
		cpu += time.Duration(rate * float64(step-stopped))
		count := cpu / tick * tick
		var next time.Duration
		r, stopped, next = b.Ration(r, step, stopped, count-seen)
		seen = count
		longest = max(longest, stopped)
		step = next + late
		if stopped > 0 {
			stopped = step // nobody continues it before the next look
		}
	}
	return float64(cpu) / float64(now), longest
}
