package group

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// candidate is a run that may be ended for a group.
type candidate struct {
	place  int
	amount int64 // of what there is too much
	number int64 // of the order in which they have joined
}

// choose returns the places of those that are to end.
func choose(v Victim, list []candidate) (places []int) {
	if len(list) == 0 {
		return nil
	}
	switch v {
	case KillGroup:
		for _, c := range list {
			places = append(places, c.place)
		}
		return places
	case KillNewest:
		c := slices.MaxFunc(list, func(a, b candidate) int { return cmp.Compare(a.number, b.number) })
		return []int{c.place}
	}
	c := slices.MaxFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.amount, b.amount), cmp.Compare(a.number, b.number))
	})
	return []int{c.place}
}

const (
	fresh   = int64(20 * time.Millisecond)  // what is no older can be judged by
	patient = int64(100 * time.Millisecond) // how long somebody is waited for who has been woken,
	hasty   = int64(20 * time.Millisecond)  // and when the group is over its limit by what was sure of that one before
	loose   = 1 << 20                       // bytes between what a run uses at most and what is sure that are worth an exact reading
)

// Settle looks whether a group above the seat is over a limit, and if so decides who is to end for that. It does so under the lock of the tree, so that of
// all who have seen the same only one does, and counts nothing of who has ended or is to end already. Runs whose memory is not known well enough are woken to read it: then a
// later call decides. It does not wait long for the lock: with an error nothing was decided.
func (s *Seat) Settle() error {
	if s.i < 0 || s.gone.Load() {
		return nil
	}
	t := s.t
	var rung []int
	err := t.changeWithin(lockSoon, func() error {
		s.known = false
		s.survey()
		for _, l := range s.levels {
			t.sweep(l.at)
		}
		s.survey() // again, if somebody was swept
		now := s.now()
		for _, l := range s.levels {
			g := t.group(l.at)
			if most := g[gProcesses]; most != None {
				rung = append(rung, t.end(l, Processes, cProcs, most)...)
			}
			most := g[gMemory]
			if most == None || t.sum(cBound, l.seats) <= most {
				continue
			}
			if wake := t.unsure(l, s.i, now, most); len(wake) > 0 {
				rung = append(rung, wake...)
				continue
			}
			rung = append(rung, t.end(l, Memory, cSure, most)...)
		}
		return nil
	})
	for _, k := range rung {
		if k != s.i {
			ring(t.dir, k)
		}
	}
	return err
}

// remaining are the seats that are not told to end.
func (t *tree) remaining(seats []int) (list []int) {
	for _, k := range seats {
		if t.load(cDoom, k) == 0 {
			list = append(list, k)
		}
	}
	return list
}

// unsure returns who is to be woken before it can be known whether a group is over its limit of memory.
func (t *tree) unsure(l level, self int, now, most int64) (wake []int) {
	rest := t.remaining(l.seats)
	if t.sum(cBound, rest) <= most {
		return nil
	}
	sure := t.sum(cSure, rest)
	enough, wait := sure > most, patient
	if enough {
		wait = hasty
	}
	for _, k := range rest {
		until := t.load(cUntil, k)
		switch {
		case k == self:
			continue
		case !enough && t.load(cBound, k)-t.load(cSure, k) > loose && t.load(cWant, k) <= t.load(cRead, k):
			t.store(cWant, k, now)
		case until != asleep && t.load(cAt, k) < now-fresh && now < until+wait:
			sure -= t.load(cSure, k)
		default:
			continue
		}
		if until == asleep || until > now {
			t.store(cUntil, k, now) // from now on it is waited for
		}
		wake = append(wake, k)
	}
	if sure > most { // without those who are waited for
		return nil
	}
	return wake
}

// end tells those to end whom the policy of a group chooses, if it is over a limit.
func (t *tree) end(l level, what Resource, column int, most int64) (ended []int) {
	rest := t.remaining(l.seats)
	total := t.sum(column, rest)
	if total <= most {
		return nil
	}
	var list []candidate
	for _, k := range rest {
		if r := t.seat(k); Kind(r[sKind]) != Handle {
			list = append(list, candidate{k, t.load(column, k), r[sNumber]})
		}
	}
	g := t.group(l.at)
	ended = choose(Victim(g[gVictim]), list)
	for _, k := range ended {
		t.store(cDoomWhat, k, int64(what))
		t.store(cDoomSeen, k, total)
		t.store(cDoomLimit, k, most)
		t.store(cDoom, k, g[gID])
	}
	return ended
}

// End tells every run of a group and below it to end, as Settle does for a limit. It returns how many were told now.
func (t *Tree) End(id ID) (told int, err error) {
	var rung []int
	err = t.change(func() error {
		if id == System {
			return ErrSystem
		}
		at, err := t.find(id)
		if err != nil {
			return err
		}
		t.sweep(at)
		for _, k := range t.under(at) {
			if t.load(cDoom, k) == 0 && Kind(t.seat(k)[sKind]) != Handle {
				t.store(cDoomWhat, k, int64(Asked))
				t.store(cDoom, k, int64(id))
				rung = append(rung, k)
			}
		}
		return nil
	})
	for _, k := range rung {
		ring(t.dir, k)
	}
	return len(rung), err
}

// Beyond tells how far the group that ends the run is over its limit, those that are to end included: bytes, or processes. It is 0 when it is not.
func (s *Seat) Beyond() int64 {
	d := s.Doomed()
	if d == nil || d.What == Asked {
		return 0
	}
	c := cBound
	if d.What == Processes {
		c = cProcs
	}
	s.survey()
	for _, l := range s.levels {
		if s.t.id(l.at) == d.Group {
			return max(0, s.t.sum(c, l.seats)-d.Limit)
		}
	}
	return 0
}

// Those who watch a limit look sweepEvery for seats whose process has ended, in sweepParts turns: a tree with a thousand runs takes half a millisecond in all.
const (
	sweepEvery = 250 * time.Millisecond
	sweepParts = 4
	sweepLeast = 64 // seats at once
)

// Sweep frees the seats of those who have ended, if nobody has looked for them in the last quarter of a second: all of a small tree, and of a large one a quarter.
func (s *Seat) Sweep() {
	if s.i < 0 || s.gone.Load() {
		return
	}
	t, now := s.t, s.now()
	h := t.head
	if at := atomic.LoadInt64(&h[hSwept]); now-at < int64(sweepEvery) && at <= now || !atomic.CompareAndSwapInt64(&h[hSwept], at, now) {
		return
	}
	_ = t.changeWithin(0, func() error { // else the next one does
		n := t.count(hSeats)
		from := int(min(max(h[hSweepAt], 0), maxItems))
		if from >= n {
			from = 0
		}
		to, found := min(n, from+max(sweepLeast, (n+sweepParts-1)/sweepParts)), false
		for k := from; k < to; k++ {
			if t.load(cGroup, k) != 0 && !t.lives(k) {
				found = true
			}
		}
		h[hSweepAt] = int64(to)
		if found {
			t.clean()
		}
		return nil
	})
}
