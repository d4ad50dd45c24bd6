package batch

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestNext(t *testing.T) {
	e := func(seq int, reserved int64) Entry { return Entry{seq, reserved} }
	for _, c := range []struct {
		name             string
		jobs             int
		running, waiting []Entry
		want             int
	}{
		{"nobody waits", 4, []Entry{e(1, 50)}, nil, -1},
		{"the first", 4, nil, []Entry{e(1, 100), e(2, 1)}, 0},
		{"no place", 1, []Entry{e(1, 1)}, []Entry{e(2, 1)}, -1},
		{"no memory", 4, []Entry{e(1, 60)}, []Entry{e(2, 50)}, -1},
		{"what fits beside who waits", 4, []Entry{e(1, 60)}, []Entry{e(2, 70), e(3, 30)}, 1},
		{"what does not fit beside who waits", 4, []Entry{e(1, 60)}, []Entry{e(2, 70), e(3, 31), e(4, 30)}, 2},
		{"together with who has passed before", 4, []Entry{e(1, 60), e(3, 20)}, []Entry{e(2, 70), e(4, 20), e(5, 10)}, 2},
		{"one that is tried again, with more", 4, []Entry{e(3, 40), e(4, 20)}, []Entry{e(2, 70), e(5, 10)}, -1},
		{"beside all who wait", 9, []Entry{e(1, 60)}, []Entry{e(2, 70), e(3, 80), e(4, 30), e(5, 20)}, 3},
		{"who waits for those behind it is first", 4, []Entry{e(3, 30)}, []Entry{e(2, 70), e(4, 10)}, 0},
	} {
		if got := Next(100, c.jobs, c.running, c.waiting); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// FuzzQueue plays batches: jobs of any size come, end in any order, and are tried again. What is reserved is never more than the budget; each job
// has one final end; and who waits is not held up by more than those who came before it.
func FuzzQueue(f *testing.F) {
	f.Add(uint64(1), int64(100), 4, 50)
	f.Add(uint64(2), int64(1), 1, 3)
	f.Add(uint64(3), int64(1<<40), 64, 500)
	f.Fuzz(func(t *testing.T, seed uint64, budget int64, jobs, count int) {
		budget, jobs, count = 1+(budget&(1<<50-1)), 1+(jobs&63), count&511
		rng := rand.New(rand.NewPCG(seed, 0))
		p := Policy{Budget: budget, Jobs: jobs, Grow: 1 + rng.Float64()*3, Max: 1 + rng.Int64N(budget)}
		q := queue{policy: p}
		finals := map[int]int{}
		read, starts := 0, 0
		elders := map[*job]map[*job]bool{} // of those who wait: who ran when they could have started first
		for len(finals) < count {
			if starts++; starts > 100*count+1000 {
				t.Fatalf("%d of %d jobs ended", len(finals), count)
			}
			for n := rng.IntN(4); n > 0 && read < count; n-- {
				read++
				claim := p.Claim(rng.Int64N(2)*(1+rng.Int64N(budget)), 0, rng.Int64N(2)*rng.Int64N(2*budget))
				q.add(&job{line: read, claim: claim, attempt: 1, most: budget})
			}
			for j := q.next(); j != nil; j = q.next() {
				delete(elders, j)
				for _, w := range q.waiting {
					if w.line > j.line || elders[w] != nil {
						continue
					}
					elders[w] = map[*job]bool{} // j passes it
					for _, r := range q.running {
						if r.line < w.line {
							elders[w][r] = true
						}
					}
				}
				check(t, &q)
			}
			if len(q.running) == 0 {
				if read == count && len(q.waiting) > 0 {
					t.Fatalf("%d jobs wait for nobody", len(q.waiting))
				}
				continue
			}
			j := q.running[rng.IntN(len(q.running))]
			q.end(j)
			check(t, &q)
			if c, ok := p.Grown(j.claim, j.most); ok && rng.IntN(2) == 0 && j.attempt < 5 {
				if c.Limit <= j.claim.Limit || c.Limit > min(p.Max, budget) {
					t.Fatalf("%+v grows to %+v", j.claim, c)
				}
				j.claim, j.attempt = c, j.attempt+1
				q.add(j)
				continue
			}
			finals[j.line]++
			if finals[j.line] > 1 {
				t.Fatalf("job %d ended %d times", j.line, finals[j.line])
			}
			overtaken(t, &q, elders, j)
		}
	})
}

// overtaken checks that who was passed can start when all are gone that ran before it, and nobody older waits.
func overtaken(t *testing.T, q *queue, elders map[*job]map[*job]bool, ended *job) {
	for w, e := range elders {
		delete(e, ended)
		i := slices.Index(q.waiting, w)
		if i != 0 || slices.ContainsFunc(q.running, func(r *job) bool { return r.line < w.line }) {
			continue
		}
		if Next(q.policy.Budget, q.policy.Jobs, q.r, q.w) != 0 {
			t.Fatalf("job %d (%d bytes) is held up by later ones: %v run", w.line, w.claim.Reserved, q.r)
		}
	}
}

func check(t *testing.T, q *queue) {
	var sum int64
	for _, j := range q.running {
		if j.claim.Limit > j.claim.Reserved || j.claim.Reserved <= 0 {
			t.Fatalf("claim %+v", j.claim)
		}
		sum += j.claim.Reserved
	}
	if sum != q.reserved || sum > q.policy.Budget || len(q.running) > q.policy.Jobs {
		t.Fatalf("%d jobs of %d, %d bytes (%d) of %d", len(q.running), q.policy.Jobs, sum, q.reserved, q.policy.Budget)
	}
	sorted := func(list []Entry) bool {
		return slices.IsSortedFunc(list, func(a, b Entry) int { return a.Seq - b.Seq })
	}
	if !sorted(q.r) || !sorted(q.w) || len(q.r) != len(q.running) || len(q.w) != len(q.waiting) {
		t.Fatalf("%v run, %v wait", q.r, q.w)
	}
}

func TestClaim(t *testing.T) {
	p := Policy{Budget: 1000, Jobs: 4, Grow: 2, Max: 900}
	for _, c := range []struct {
		name                      string
		memory, reservation, peak int64
		want                      Claim
	}{
		{"a limit", 100, 0, 500, Claim{100, 100, 100, ByMemory}},
		{"and a larger reservation", 100, 300, 0, Claim{100, 300, 300, ByMemory}},
		{"a reservation alone is the limit", 0, 300, 10, Claim{300, 300, 300, ByReservation}},
		{"nothing", 0, 0, 0, Claim{250, 250, 250, ByShare}},
		{"a program that used little", 0, 0, 40, Claim{250, 250, 50, ByShare}},
		{"a program that used much", 0, 0, 400, Claim{500, 500, 500, ByHistory}},
		{"a program that used more than there is", 0, 0, 4000, Claim{1000, 1000, 1000, ByHistory}},
	} {
		if got := p.Claim(c.memory, c.reservation, c.peak); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	c := Claim{100, 300, 300, ByMemory}
	for _, want := range []Claim{{200, 300, 300, ByMemory}, {400, 400, 400, ByMemory}, {800, 800, 800, ByMemory}, {900, 900, 900, ByMemory}} {
		var ok bool
		if c, ok = p.Grown(c, p.Budget); !ok || c != want {
			t.Errorf("grown to %+v, %v; want %+v", c, ok, want)
		}
	}
	if c, ok := p.Grown(c, p.Budget); ok {
		t.Errorf("grown beyond its maximum: %+v", c)
	}
	if c, ok := p.Grown(Claim{100, 100, 100, ByMemory}, 150); !ok || c.Limit != 150 {
		t.Errorf("a limit of the job's own: %+v, %v", c, ok)
	}
	if c, ok := (Policy{Budget: 1 << 62, Grow: 1000, Max: 1 << 62, Jobs: 1}).Grown(Claim{Limit: 1 << 61}, 1<<62); !ok || c.Limit != 1<<62 {
		t.Errorf("a large one: %+v, %v", c, ok)
	}
}
