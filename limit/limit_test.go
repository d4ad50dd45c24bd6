package limit

import (
	"testing"
	"time"
)

const mib = 1 << 20

func TestNext(t *testing.T) {
	p := New(Config{Limit: 512 * mib, CPUs: 2}) // 16 GiB/s, 24 MiB
	at := func(room int64) time.Duration {
		return time.Duration(float64(room+24*mib)/float64(16<<30)*float64(time.Second)) - Reaction
	}
	for _, c := range []struct {
		name string
		p    Policy
		use  Use
		want time.Duration
	}{
		{"nothing used", p, Use{}, at(512 * mib)},
		{"swap is another limit", p, Use{Swap: 1 << 40}, at(512 * mib)},
		{"near", p, Use{Memory: 511 * mib}, at(mib)},
		{"over", p, Use{Memory: 600 * mib}, at(0)},
		{"far over", p, Use{Memory: 1 << 62}, at(0)},
		{"no limit", New(Config{CPUs: 2}), Use{Memory: 1 << 40}, p.Max},
		{"far from the limit", New(Config{Limit: 1 << 40, CPUs: 64}), Use{}, p.Max},
		{"memory and swap", New(Config{Swap: 512 * mib, CPUs: 2}), Use{Memory: 200 * mib, Swap: 300 * mib}, at(12 * mib)},
		{"the nearer limit", New(Config{Limit: 256 * mib, Swap: 512 * mib, CPUs: 2}), Use{Memory: 200 * mib, Swap: 300 * mib}, at(12 * mib)},
		{"a small overshoot has a floor", New(Config{Limit: 512 * mib, Overshoot: 1, CPUs: 2}), Use{Memory: 512 * mib}, floor},
		{"a large one", New(Config{Limit: 512 * mib, Overshoot: 512 * mib, CPUs: 2}), Use{Memory: 512 * mib}, at(488 * mib)},
	} {
		if got := c.p.Next(c.use); max(got-c.want, c.want-got) > time.Microsecond {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestBound shows that a group which grows by the assumed rate is caught within the bound that is promised.
func TestBound(t *testing.T) {
	for _, cpus := range []int{1, 2, 4, 128} {
		for _, asked := range []int64{0, mib, 64 * mib, 1 << 30} {
			p := New(Config{Limit: 1 << 30, Overshoot: asked, CPUs: cpus})
			if asked > 0 && p.Bound < asked {
				t.Errorf("%d CPUs: bound %d, asked for %d", cpus, p.Bound, asked)
			}
			used := int64(0)
			for used <= p.Limit {
				used += p.grown(p.Next(Use{Memory: used}))
			}
			if over := used + p.grown(Reaction) - p.Limit; over > p.Bound+1 {
				t.Errorf("%d CPUs, asked for %d: caught %d over the limit, bound %d", cpus, asked, over, p.Bound)
			}
		}
	}
}

func TestJudge(t *testing.T) {
	mem := func(n int64) Use { return Use{Memory: n} }
	p := New(Config{Limit: 100 * mib, CPUs: 2})
	both := New(Config{Limit: 100 * mib, Swap: 150 * mib, CPUs: 2})
	for _, c := range []struct {
		p    Policy
		s    Sample
		want Decision
	}{
		{p, Sample{Bound: mem(10 * mib)}, Fine},
		{p, Sample{Bound: mem(100 * mib)}, Fine},
		{p, Sample{Bound: mem(100*mib + 1)}, Measure},
		{p, Sample{Bound: mem(900 * mib), Exact: true, Memory: mem(100 * mib)}, Fine},
		{p, Sample{Bound: mem(900 * mib), Exact: true, Memory: mem(100*mib + 1)}, Confirm},
		{p, Sample{Bound: mem(900 * mib), Exact: true, Memory: mem(100*mib + 1), Frozen: true}, Breach},
		{p, Sample{Bound: mem(900 * mib), Exact: true, Memory: mem(1), Frozen: true}, Fine},
		{p, Sample{Exact: true, Memory: Use{1, 1 << 40}, Frozen: true}, Fine},
		{both, Sample{Bound: Use{90 * mib, 60*mib + 1}}, Measure},
		{both, Sample{Exact: true, Memory: Use{90 * mib, 60 * mib}, Frozen: true}, Fine},
		{both, Sample{Exact: true, Memory: Use{90 * mib, 60*mib + 1}, Frozen: true}, Breach},
		{New(Config{CPUs: 2}), Sample{Bound: mem(1 << 60), Exact: true, Memory: mem(1 << 60), Frozen: true}, Fine},
	} {
		if got := c.p.Judge(c.s); got != c.want {
			t.Errorf("Judge(%+v) = %v, want %v", c.s, got, c.want)
		}
	}
}

func TestStill(t *testing.T) {
	p := New(Config{Limit: 100 * mib, CPUs: 2})
	for _, c := range []struct {
		used, growth int64
		looks        int
		want         bool
	}{
		{60 * mib, 0, 0, true},
		{60 * mib, -50 * mib, 0, true},
		{60 * mib, 10 * mib, 0, true},
		{60 * mib, 10*mib + 1, 0, false},
		{60 * mib, 0, stillLooks - 1, true},
		{60 * mib, 0, stillLooks, false},
		{100 * mib, 1, 0, false},
		{200 * mib, 1, 0, false},
	} {
		if got := p.Still(Use{Memory: c.used}, c.growth, c.looks); got != c.want {
			t.Errorf("Still(%d MiB, %d, %d) = %v", c.used/mib, c.growth, c.looks, got)
		}
	}
}

func TestWarn(t *testing.T) {
	p := New(Config{Limit: 100, Swap: 200, CPUs: 1})
	for _, c := range []struct {
		use  Use
		said int
		want int
	}{
		{Use{79, 0}, 0, 0}, {Use{80, 0}, 0, 80}, {Use{80, 0}, 80, 0}, {Use{95, 0}, 80, 95}, {Use{99, 0}, 0, 95}, {Use{99, 0}, 95, 0},
		{Use{70, 90}, 0, 80}, {Use{70, 120}, 80, 95},
	} {
		if got := p.Warn(c.use, c.said); got != c.want {
			t.Errorf("Warn(%v, %d) = %d, want %d", c.use, c.said, got, c.want)
		}
	}
	if New(Config{CPUs: 1}).Warn(Use{1 << 60, 0}, 0) != 0 {
		t.Error("a warning without a limit")
	}
}

func TestThrottle(t *testing.T) {
	p := New(Config{Limit: 200 * mib, High: 100 * mib, CPUs: 1})
	last := time.Duration(0)
	for m := int64(0); m <= 300*mib; m += mib / 4 {
		stop, run := p.Throttle(m)
		switch {
		case m <= p.High && (stop != 0 || run != 0):
			t.Fatalf("%d MiB: throttled under the soft limit", m/mib)
		case m > p.High && (stop+run != throttlePeriod || run < throttlePeriod/20 || stop < throttlePeriod/20):
			t.Fatalf("%d MiB: stopped %v, runs %v", m/mib, stop, run)
		case stop < last:
			t.Fatalf("%d MiB: stopped for %v, and with less memory for %v", m/mib, stop, last)
		}
		last = stop
	}
	if stop, _ := New(Config{High: 100, CPUs: 1}).Throttle(150); stop <= 10*time.Millisecond || stop >= 90*time.Millisecond {
		t.Errorf("without a limit, half over the soft limit: stopped %v", stop)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(int64(1), int64(0), int64(0), 1, int64(0), int64(0), int64(0), true, true)
	f.Add(int64(1<<63-1), int64(-1), int64(1<<40), 128, int64(1<<62), int64(5), int64(7), true, false)
	f.Fuzz(func(t *testing.T, lim, swap, overshoot int64, cpus int, bound, memory, swapped int64, exact, frozen bool) {
		if lim <= 0 && swap <= 0 || cpus < 1 || cpus > 4096 || bound < 0 || bound > 1<<61 || memory < 0 || memory > 1<<61 || swapped < 0 || swapped > 1<<61 {
			t.Skip()
		}
		p := New(Config{Limit: lim, Swap: swap, Overshoot: overshoot, CPUs: cpus})
		if p.Ceiling < p.either() || p.Bound <= 0 {
			t.Fatalf("policy %+v", p)
		}
		u, m := Use{Memory: bound}, Use{memory, swapped}
		if d := p.Next(u); d < p.Min || d > p.Max {
			t.Errorf("next %v", d)
		}
		if p.Next(u) < p.Next(Use{Memory: bound + 1}) {
			t.Error("more memory, later sample")
		}
		over := lim > 0 && memory > lim || swap > 0 && memory+swapped > swap
		d := p.Judge(Sample{Bound: u, Exact: exact, Memory: m, Frozen: frozen})
		if d == Breach && (!over || !frozen || !exact) {
			t.Error("breach without an exact measurement of a frozen group")
		}
		if exact && frozen && over && d != Breach {
			t.Error("a confirmed excess is no breach")
		}
		if p.Hopeless(m) && !over {
			t.Error("hopeless under the limit")
		}
		if p.Warn(m, 0) == 0 && over {
			t.Error("over a limit without a warning")
		}
	})
}
