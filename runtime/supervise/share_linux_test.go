package supervise

import (
	"math"
	"os"
	"os/exec"
	"testing"
	"time"

	"mlrun/group"
	"mlrun/limit"
	"mlrun/meter"
	"mlrun/proc"
)

// shareSite is a sampler of a process that sleeps, in a group of which another run has memory.
type shareSite struct {
	*sampler
	tree  *group.Tree
	id    group.ID
	other *group.Seat
	told  []group.Doom
}

func newShareSite(t *testing.T, c group.Change, others group.Use) *shareSite {
	t.Helper()
	p := exec.Command("sleep", "1000")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	tree, err := group.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	s := &shareSite{tree: tree}
	if s.id, err = tree.Create(group.System, group.Change{}, 0, true); err != nil {
		t.Fatal(err)
	}
	join := func(name string) *group.Seat {
		seat, err := tree.Join(s.id, group.Member{Name: name, Process: proc.Self(), Processes: 1})
		if err != nil {
			t.Fatal(err)
		}
		return seat
	}
	s.other = join("other")
	seat := join("this")
	if err := tree.Set(s.id, c); err != nil {
		t.Fatal(err)
	}
	s.other.Publish(others)
	s.other.Next(time.Hour, true, func(int64) time.Duration { return time.Hour })
	g, err := proc.NewGroup(proc.Root, os.Getpid(), p.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	s.sampler = newSampler(proc.Root, g, limit.New(limit.Config{CPUs: 2}), meter.Poll, callbacks{})
	t.Cleanup(s.meter.Close)
	s.share.seat, s.share.report = seat, func(d group.Doom, _ bool, _ []Victim) { s.told = append(s.told, d) }
	return s
}

func number(n int64) *int64 { return &n }

// TestShareEnds shows that a run is ended once for a group that is over its limit, and is counted with what it uses all the while.
func TestShareEnds(t *testing.T) {
	s := newShareSite(t, group.Change{Memory: number(1)}, group.Use{Processes: 1})
	for range 3 {
		if wait := s.sample(time.Now()); wait > doomEvery {
			t.Errorf("the next look is after %v", wait)
		}
		info, err := s.tree.Status(s.id)
		if err != nil || info.Counts.Memory < 1<<12 || info.Counts.Memory > 1<<30 || info.Counts.Processes != 2 {
			t.Errorf("the group counts %+v, %v", info.Counts, err)
		}
	}
	if len(s.told) != 1 || s.told[0].Group != s.id || s.told[0].What != group.Memory || s.told[0].Limit != 1 || s.told[0].Observed < 1<<12 {
		t.Errorf("told %+v", s.told)
	}
}

// TestShareSpares shows that the run goes on when another one is the larger, and when there is room; the next sample is due the sooner the less that is.
func TestShareSpares(t *testing.T) {
	s := newShareSite(t, group.Change{Memory: number(100 << 20)}, group.Use{Bound: 200 << 20, Sure: 200 << 20, Processes: 1, Exact: true})
	s.sample(time.Now())
	if d := s.other.Doomed(); len(s.told) > 0 || d == nil || d.Group != s.id {
		t.Errorf("told %+v; the larger one %+v", s.told, d)
	}
	near := newShareSite(t, group.Change{Memory: number(300 << 20)}, group.Use{Bound: 200 << 20, Sure: 200 << 20, Processes: 1, Exact: true})
	far := newShareSite(t, group.Change{Memory: number(4 << 30)}, group.Use{Bound: 200 << 20, Sure: 200 << 20, Processes: 1, Exact: true})
	if a, b := near.sample(time.Now()), far.sample(time.Now()); a >= b || b > time.Second || a > 10*time.Millisecond {
		t.Errorf("near the limit a look after %v, far from it after %v", a, b)
	}
	if len(near.told)+len(far.told) > 0 || near.other.Doomed() != nil {
		t.Error("somebody is to end within the limit")
	}
	free := newShareSite(t, group.Change{}, group.Use{Bound: math.MaxInt64 / 2, Processes: 1})
	if wait := free.sample(time.Now()); wait != free.policy.Max || free.share.limited() {
		t.Errorf("without a limit a look after %v", wait)
	}
}

// TestShareProcesses shows that processes are counted, and often enough.
func TestShareProcesses(t *testing.T) {
	s := newShareSite(t, group.Change{Processes: number(5)}, group.Use{Processes: 3})
	if wait := s.sample(time.Now()); wait > 100*time.Millisecond || len(s.told) > 0 {
		t.Errorf("within the limit: a look after %v, told %+v", wait, s.told)
	}
	s.other.Publish(group.Use{Processes: 5})
	s.sample(time.Now())
	if d := s.other.Doomed(); d == nil || d.What != group.Processes || d.Observed != 6 || len(s.told) > 0 {
		t.Errorf("told %+v; the larger one %+v", s.told, d)
	}
}

// TestCertain shows what is known for sure after an exact reading.
func TestCertain(t *testing.T) {
	var h share
	h.note(meter.Reading{Memory: 100, Upper: 120})
	for _, test := range []struct{ bound, least, want int64 }{
		{120, 0, 100}, {500, 0, 100}, {500, 400, 400}, {110, 0, 90}, {10, 0, 0}, {10, 5, 5},
	} {
		if got := h.certain(test.bound, test.least); got != test.want {
			t.Errorf("a bound of %d and at least %d: %d, want %d", test.bound, test.least, got, test.want)
		}
	}
}

// TestShareKnown shows that a run whose memory is known well enough is not read, and counts in full.
func TestShareKnown(t *testing.T) {
	s := newShareSite(t, group.Change{Memory: number(1)}, group.Use{Processes: 1})
	s.bound(time.Now())
	s.share.sure = s.use.Memory
	s.sample(time.Now())
	if n := s.totals().memory.ExactReads; len(s.told) != 1 || n > 0 {
		t.Errorf("told %+v after %d exact readings", s.told, n)
	}
}
