package batch

import (
	"fmt"
	"math"
	"strconv"
)

// Policy is what jobs may use, and what becomes of those that want more.
type Policy struct {
	Budget int64   // bytes that the limits of all jobs that run come to at most
	Jobs   int     // how many run at once at most
	Grow   float64 // what the limit of a repeated job is multiplied by; more than 1
	Max    int64   // bytes: what a limit is grown to at most, at most Budget
}

// Share is the reservation of a job of which nothing is known, in bytes: with it as many run as may.
func (p Policy) Share() int64 { return min(max(p.Budget/int64(max(p.Jobs, 1)), 1), p.Budget) }

// Basis is where the limit of a job comes from.
type Basis string

// The bases of a limit.
const (
	ByMemory      Basis = "memory"      // the job says so, or its bundle
	ByReservation Basis = "reservation" // the job says what is reserved for it, and that is its limit
	ByHistory     Basis = "history"     // its program has used as much before
	ByShare       Basis = "share"       // nothing is known of it
)

// Claim is what a job gets. Limit <= Reserved: what is reserved is what it cannot use more of, so the sum of what is used stays
// within the sum of what is reserved.
type Claim struct {
	Limit    int64 // bytes
	Reserved int64 // bytes, of the budget
	Expected int64 // bytes that it will most likely use, <= Reserved: what other runs on the machine are to leave alone
	Basis    Basis
}

// atLeast is the claim with a limit of at least n bytes.
func (c Claim) atLeast(n int64) Claim {
	if n > c.Limit {
		c.Limit = n
		c.Reserved = max(c.Reserved, n)
		c.Expected = c.Reserved
	}
	return c
}

// historyMargin is what a program may use beyond the most that it has used before: a fourth of it.
const historyMargin = 4

// Claim is what a job gets that has a limit of memory bytes and a reservation, each 0 for none, and whose program has used peak bytes
// before, 0 for unknown. That history makes it more than a share and never less: a guess is no reason to end a job that would have had
// room.
func (p Policy) Claim(memory, reservation, peak int64) Claim {
	switch {
	case memory > 0:
		n := max(memory, reservation)
		return Claim{memory, n, n, ByMemory}
	case reservation > 0:
		return Claim{reservation, reservation, reservation, ByReservation}
	}
	share := p.Share()
	expected := share
	if peak > 0 {
		expected = min(peak+peak/historyMargin, p.Budget)
	}
	if expected > share {
		return Claim{expected, expected, expected, ByHistory}
	}
	return Claim{share, share, expected, ByShare}
}

// Grown is the claim of a job that has exceeded its limit, for another attempt, of which the limit is at most most bytes. It is
// false when that would not be more.
func (p Policy) Grown(c Claim, most int64) (Claim, bool) {
	most = min(most, p.Max, p.Budget)
	n := int64(math.MaxInt64)
	if f := math.Ceil(float64(c.Limit) * p.Grow); f < math.MaxInt64 {
		n = int64(f)
	}
	if n = min(n, most); n <= c.Limit {
		return c, false
	}
	return c.atLeast(n), true
}

// fits is what is wrong with a job's own words about memory: bytes, 0 for none. limit is where memory comes from.
func (p Policy) fits(memory, reservation int64, limit string) (wrong []string) {
	for _, n := range []struct {
		key   string
		bytes int64
	}{{limit, memory}, {"reservation", reservation}} {
		if n.bytes > p.Budget {
			wrong = append(wrong, fmt.Sprintf("%s: %s, want at most %s: more than the budget (--memory) would never start", n.key, Size(n.bytes), Size(p.Budget)))
		}
	}
	if reservation > 0 && memory > reservation {
		wrong = append(wrong, fmt.Sprintf("reservation: %s, want at least the %s of %s: the jobs could use more than the budget", Size(reservation), Size(memory), limit))
	}
	return wrong
}

// Size writes bytes as they are given in a list of jobs: with the largest unit that needs no fraction.
func Size(n int64) string {
	for _, u := range []struct {
		name  string
		shift int
	}{{"G", 30}, {"M", 20}, {"K", 10}} {
		if n >= 1<<u.shift && n%(1<<u.shift) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
