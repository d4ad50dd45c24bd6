package limit

import (
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	p := New(512<<20, 2)
	for _, c := range []struct {
		bound int64
		want  time.Duration
	}{
		{0, 512 * time.Second / (8 << 10)},
		{511 << 20, time.Millisecond},
		{600 << 20, time.Millisecond},
		{1 << 62, time.Millisecond},
	} {
		if got := p.Next(c.bound); got != c.want {
			t.Errorf("Next(%d) = %v, want %v", c.bound, got, c.want)
		}
	}
	if got := New(-1, 2).Next(1 << 40); got != 250*time.Millisecond {
		t.Errorf("without a limit: %v", got)
	}
	if got := New(1<<40, 64).Next(0); got != 250*time.Millisecond {
		t.Errorf("far from the limit: %v", got)
	}
}

func TestJudge(t *testing.T) {
	p := New(100<<20, 2)
	for _, c := range []struct {
		s    Sample
		want Decision
	}{
		{Sample{Bound: 10 << 20}, Fine},
		{Sample{Bound: 100 << 20}, Fine},
		{Sample{Bound: 100<<20 + 1}, Measure},
		{Sample{Bound: 900 << 20, Exact: true, Memory: 100 << 20}, Fine},
		{Sample{Bound: 900 << 20, Exact: true, Memory: 100<<20 + 1}, Confirm},
		{Sample{Bound: 900 << 20, Exact: true, Memory: 100<<20 + 1, Frozen: true}, Breach},
		{Sample{Bound: 900 << 20, Exact: true, Memory: 1, Frozen: true}, Fine},
	} {
		if got := p.Judge(c.s); got != c.want {
			t.Errorf("Judge(%+v) = %v, want %v", c.s, got, c.want)
		}
	}
	if d := New(-1, 2).Judge(Sample{Bound: 1 << 60, Exact: true, Memory: 1 << 60, Frozen: true}); d != Fine {
		t.Errorf("without a limit: %v", d)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(int64(1), 1, int64(0), int64(0), true, true)
	f.Add(int64(1<<63-1), 128, int64(1<<62), int64(5), true, false)
	f.Fuzz(func(t *testing.T, lim int64, cpus int, bound, memory int64, exact, frozen bool) {
		if lim <= 0 || cpus < 1 || cpus > 4096 || bound < 0 || bound > 1<<61 || memory < 0 {
			t.Skip()
		}
		p := New(lim, cpus)
		if p.Ceiling < lim {
			t.Fatalf("policy %+v", p)
		}
		if d := p.Next(bound); d < p.Min || d > p.Max {
			t.Errorf("next %v", d)
		}
		if p.Next(bound) < p.Next(bound+1) {
			t.Error("more memory, later sample")
		}
		d := p.Judge(Sample{Bound: bound, Exact: exact, Memory: memory, Frozen: frozen})
		if d == Breach && (memory <= lim || !frozen || !exact) {
			t.Error("breach without an exact measurement of a frozen group")
		}
		if exact && frozen && memory > lim && d != Breach {
			t.Error("a confirmed excess is no breach")
		}
		if p.Hopeless(memory) && memory <= lim {
			t.Error("hopeless under the limit")
		}
	})
}
