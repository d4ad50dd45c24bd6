package meter

import (
	"errors"
	"math"
	"syscall"
	"time"

	"mlrun/libproc"
	"mlrun/proc"
)

// footprint measures a set of processes where the kernel keeps an account of each itself: the physical footprint of macOS. A reading is one call for each
// process, about a microsecond, so the bound and the exact reading are the same.
//
// It is portable: what the platform has to tell is source, which tests replace.
type footprint struct {
	source source
	set    map[int]*account
	list   []*account
	at     time.Time // of the newest look
	peak   int64     // of those that are no longer in the set
}

// source is what a platform tells of one process.
type source interface {
	rusage(pid int) (libproc.Rusage, error) // zombies, too; ESRCH
	resident(pid int) (bytes int64, ok bool)
	stat(pid int) (proc.Stat, error) // zombies, too; proc.ErrGone
	machine() (memory, page int64)   // bytes
}

// account is what is known of one process of the set.
type account struct {
	proc.ID
	known bool   // it was compared with ID, and since then
	start uint64 // tells it from others with its number

	now, upper int64 // bytes, as of the newest look
	peak       int64 // the largest footprint that it ever had
	exact      bool
	dead, gone bool // a zombie stays one
}

func newFootprint(s source) footprint { return footprint{source: s, set: map[int]*account{}} }

// Close gives everything back.
func (m *footprint) Close() { m.Set(nil) }

// Set makes ids the processes that are measured. One that seemed to be gone is looked at again: who lists it knows better.
func (m *footprint) Set(ids []proc.ID) {
	set := make(map[int]*account, len(ids))
	m.list = m.list[:0]
	for _, id := range ids {
		t := m.set[id.PID]
		if t == nil || t.ID != id || t.gone {
			t = &account{ID: id}
		}
		set[id.PID] = t
		m.list = append(m.list, t)
	}
	for pid, t := range m.set {
		if set[pid] != t {
			m.peak = max(m.peak, t.peak)
		}
	}
	m.set = set
}

// look measures one process.
func (m *footprint) look(t *account) {
	if t.dead || t.gone {
		return
	}
	r, err := m.source.rusage(t.PID)
	if err != nil {
		m.estimate(t, err)
		return
	}
	if !t.known {
		// It is the one that is meant if it still is after it was measured: it was listed before.
		if s, err := m.source.stat(t.PID); err != nil || s.ID() != t.ID {
			t.end(false)
			return
		}
		t.known, t.start = true, r.Start
	}
	if r.Start != t.start {
		t.end(false)
		return
	}
	t.peak = max(t.peak, size(r.MaxFootprint), size(r.Footprint))
	if r.Exit != 0 {
		t.end(true)
		return
	}
	t.now, t.upper, t.exact = size(r.Footprint), size(r.Footprint), true
}

// estimate counts a process whose footprint cannot be read. Of one of another user (set-user-ID) nothing can be known: it has a page at least, and what
// the machine has at most. It never counts 0 as long as it lives.
func (m *footprint) estimate(t *account, err error) {
	s, e := m.source.stat(t.PID)
	switch {
	case e != nil && !errors.Is(err, syscall.ESRCH) && !errors.Is(e, proc.ErrGone):
		// Neither is known to be gone: count it.
	case e != nil || s.ID() != t.ID:
		t.end(false)
		return
	case s.Ended():
		t.end(true)
		return
	}
	t.exact = false
	if n, ok := m.source.resident(t.PID); ok && n > 0 {
		t.now, t.upper = n, n
		return
	}
	t.upper, t.now = m.source.machine()
}

// end tells that a process has no memory any more: it is a zombie, or gone.
func (t *account) end(zombie bool) {
	t.now, t.upper, t.exact = 0, 0, false
	t.dead, t.gone = zombie, !zombie
}

// size is a number of bytes that the kernel gave; a negative balance, as accounts may have for a moment, is none.
func size(n uint64) int64 {
	if n > math.MaxInt64 {
		return 0
	}
	return int64(n)
}

// Bound returns an upper bound of the memory of the set, in bytes: here that is an exact reading, with Reading.Upper of what cannot be read. gone tells that a
// process has ended since Set.
func (m *footprint) Bound(now time.Time, _ int64) (bound int64, gone bool) {
	m.at = now
	for _, t := range m.list {
		m.look(t)
		bound += min(t.upper, math.MaxInt64-bound)
		gone = gone || t.gone
	}
	return bound, gone
}

// Based tells whether there was a reading.
func (m *footprint) Based(time.Time) bool { return !m.at.IsZero() }

// lookCost is about what one call takes.
const lookCost = 2 * time.Microsecond

// Estimate is about what a reading would take.
func (m *footprint) Estimate() time.Duration { return time.Duration(len(m.list)) * lookCost }

// Least is what the set has at least, in bytes, as of the newest Bound: the largest footprint of one process. Pages that several have are in each
// one's.
func (m *footprint) Least() (n int64) {
	for _, t := range m.list {
		if t.exact {
			n = max(n, t.now)
		}
	}
	return n
}

// Own is the sum of all, in bytes, as of the newest Bound.
func (m *footprint) Own() (n int64) {
	for _, t := range m.list {
		n += min(t.upper, math.MaxInt64-n)
	}
	return n
}

// Certain is what the set has at least, as of the newest Bound.
func (m *footprint) Certain() Reading {
	r := m.reading(time.Now())
	r.Memory = m.Least()
	return r
}

// Exact measures the set. Without live processes it is all zero.
func (m *footprint) Exact() Reading {
	at := time.Now()
	m.Bound(at, 0)
	r := m.reading(at)
	r.Cost = time.Since(at)
	return r
}

// ExactUntil is Exact: it takes no time that could be saved.
func (m *footprint) ExactUntil(int64) Reading { return m.Exact() }

// ExactStopped is Exact for a set that was stopped.
func (m *footprint) ExactStopped(int64) Reading { return m.Exact() }

// reading sums up the newest look.
func (m *footprint) reading(at time.Time) Reading {
	r := Reading{At: at}
	for _, t := range m.list {
		switch {
		case t.gone:
			continue
		case t.dead:
			r.Zombies++
			continue
		case !t.exact:
			r.Unreadable++
		}
		r.Processes++
		r.Memory += min(t.now, math.MaxInt64-r.Memory)
		r.Upper += min(t.upper, math.MaxInt64-r.Upper)
		r.Each = append(r.Each, Usage{ID: t.ID, Memory: t.now, Exact: t.exact})
	}
	return r
}

// Lifetime is the largest footprint that one process of the set ever had, in bytes, as of the newest Bound and as the kernel keeps it: a spike that
// no reading saw is in it. 0 where the kernel does not tell (before macOS 10.13).
func (m *footprint) Lifetime() int64 {
	peak := m.peak
	for _, t := range m.list {
		peak = max(peak, t.peak)
	}
	return peak
}
