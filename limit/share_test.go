package limit

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestNextShared(t *testing.T) {
	p := New(Config{CPUs: 2})
	for _, test := range []struct {
		u    Use
		s    Shared
		want time.Duration
	}{
		{Use{}, Alone(), p.Max},
		{Use{}, Shared{Memory: 1 << 40, Tasks: math.MaxInt64}, p.Max / 2},
		{Use{}, Shared{Memory: 0, Tasks: math.MaxInt64}, p.Within(0) / 2},
		{Use{}, Shared{Memory: -1 << 40, Tasks: math.MaxInt64}, p.Within(0) / 2},
		{Use{}, Shared{Memory: math.MaxInt64, Tasks: 0}, 5 * time.Millisecond},
		{Use{}, Shared{Memory: math.MaxInt64, Tasks: -7}, 5 * time.Millisecond},
		{Use{}, Shared{Memory: math.MaxInt64, Tasks: 1e6}, 100 * time.Millisecond},
	} {
		if got := p.NextShared(test.u, test.s); got != test.want {
			t.Errorf("%+v: %v, want %v", test.s, got, test.want)
		}
	}
	own := New(Config{CPUs: 2, Limit: 1 << 20})
	if got := own.NextShared(Use{Memory: 1 << 20}, Shared{Memory: 1 << 40, Tasks: math.MaxInt64}); got != own.Next(Use{Memory: 1 << 20}) {
		t.Errorf("the run's own limit is nearer: %v", got)
	}
}

// TestGroupBound lets runs grow as fast as the machine permits, one after the other or at once, looks at each as NextShared and Within say, and expects
// that their sum is never over the limit by more than the bound when the look that finds it has been.
func TestGroupBound(t *testing.T) {
	p := New(Config{CPUs: 2})
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		n := 1 + r.IntN(20)
		limit := int64(1+r.IntN(2000)) << 20
		used, seen := make([]int64, n), make([]int64, n)
		at, until := make([]time.Duration, n), make([]time.Duration, n)
		sum := func(list []int64) (s int64) {
			for _, v := range list {
				s += v
			}
			return s
		}
		now, grows := time.Duration(0), 0
		for steps := 0; ; steps++ {
			i := 0 // who is looked at next
			for k := range until {
				if until[k] < until[i] {
					i = k
				}
			}
			// Until then one of them grows by all that the machine can.
			used[grows] += p.grown(until[i] - now)
			if r.IntN(3) == 0 {
				grows = r.IntN(n)
			}
			now = until[i]
			if over := sum(used) - limit; over > p.Bound {
				t.Fatalf("seed %d: %d runs with a limit of %d MiB: over it by %d MiB, bound %d MiB, after %d looks", seed, n, limit>>20, over>>20, p.Bound>>20, steps)
			}
			seen[i], at[i] = used[i], now
			room := limit - sum(seen)
			if room < 0 {
				break // found
			}
			until[i] = now + p.NextShared(Use{Memory: used[i]}, Shared{room, unlimited})
			for k := range until {
				until[k] = max(min(until[k], at[k]+p.Within(room)), now) // woken
			}
		}
	}
}
