package admission

import "time"

// claim is one who waits, as far as decisions depend on it. Amounts are in bytes.
type claim struct {
	required int64
	reserve  int64
	pressure float64 // percent; <= 0: whatever it is
}

// needs is how much must be there, outstanding reservations aside.
func (c claim) needs() int64 { return c.required + c.reserve }

// scene is everything that a decision depends on. Amounts are in bytes.
type scene struct {
	available   int64
	outstanding int64   // of all reservations
	least       int64   // of one of them, the least that is more than 0, but for those in passed; 0: there is none
	passed      int64   // reservations of those who have passed the first and have not ended, used or not
	pressure    float64 // percent
	waiting     []claim // in their order
}

// usable is what is available to who comes next.
func (s scene) usable() int64 { return s.available - s.outstanding }

// fits tells whether there is enough for c.
func (s scene) fits(c claim) bool { return s.usable() >= c.needs() && s.calm(c) }

// calm tells whether the pressure is low enough for c.
func (s scene) calm(c claim) bool { return c.pressure <= 0 || s.pressure < c.pressure }

// nobody is no index of who waits.
const nobody = -1

// choose returns who of those that wait is to be admitted now: the first, or who may pass it, or nobody. The package comment has the rules.
func choose(s scene) int {
	if len(s.waiting) == 0 {
		return nobody
	}
	first := s.waiting[0]
	if s.fits(first) {
		return 0
	}
	if s.usable() < first.needs() && s.usable()+s.passed >= first.needs() {
		return nobody // those who have passed it are what it waits for
	}
	for i, c := range s.waiting[1:] {
		if c.reserve > 0 && s.fits(c) && s.spares(first, c) {
			return i + 1
		}
	}
	return nobody
}

// spares tells whether the first, which does not fit now, is not delayed by c.
func (s scene) spares(first, c claim) bool {
	left := s.usable() - c.reserve
	if s.usable() >= first.needs() {
		return left >= first.needs() // it waits for the pressure
	}
	return s.least > 0 && left+s.least >= first.needs()
}

const (
	lookSoon = 100 * time.Millisecond // between looks at the memory when little is missing,
	lookLate = 500 * time.Millisecond // and when a lot is: this part of all memory, or more
	lotPart  = 10
	paceTime = 100 * time.Millisecond // how long the line waits after a start that has reserved nothing: what it uses has to show first
)

// nextLook is after how long the memory is to be looked at again when missing bytes of total are missing. Who has a reservation tells when that changes:
// this is about what comes back from elsewhere.
func nextLook(missing, total int64) time.Duration {
	lot := total / lotPart
	if missing >= lot || lot <= 0 {
		return lookLate
	}
	return lookSoon + time.Duration(float64(lookLate-lookSoon)*float64(max(missing, 0))/float64(lot))
}
