// Package admission decides when something may start: it waits until there is enough memory for it.
package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// DefaultSettle is after which time a reservation is void when Criteria say nothing.
const DefaultSettle = 30 * time.Second

// ErrImpossible is what every error of Join is for criteria that can never be met on this machine.
var ErrImpossible = errors.New("never satisfiable")

// Criteria are what has to be true before something starts.
type Criteria struct {
	Available Amount        // at least so much memory is available, beyond what the start reserves
	Pressure  float64       // Host.Pressure is below it, in percent; <= 0: whatever it is
	Reserve   int64         // bytes that the start is expected to use; 0: unknown
	Settle    time.Duration // the reservation is void this long after the admission; 0: DefaultSettle
	Observe   func(Event)   // is told what happens, in any goroutine, and must not block; nil: nobody
}

// EventKind is the kind of an Event.
type EventKind uint8

// The events of a ticket, in their order.
const (
	Looked   EventKind = iota // once, at the first look at the memory
	Held                      // once, when the start has to wait
	Admitted                  // once, when it may start
)

// Event is what a ticket came to. Amounts are in bytes.
type Event struct {
	Kind        EventKind
	Required    int64         // of Criteria.Available
	Reserve     int64         // of Criteria.Reserve
	Available   int64         // on the machine
	Total       int64         // on the machine
	Outstanding int64         // reservations of others that are not used yet
	Pressure    float64       // percent; 0 when nobody asked for it
	Waited      time.Duration // so far
	Ahead       int           // how many others are first
}

// Queue is the line of all who wait for memory, and those who have been admitted with a reservation. It is safe for concurrent use.
type Queue struct {
	host Host
	mu   sync.Mutex
	line []*Ticket
	held map[*Ticket]bool
	peak map[string]int64
}

// Open opens the line of the directory dir, which all who share the memory of this machine are to use. It is created with the first ticket that has to
// be seen by others.
func Open(dir string, h Host) (*Queue, error) {
	return &Queue{host: h, held: map[*Ticket]bool{}, peak: map[string]int64{}}, nil
}

// Close gives back what the line has of the operating system. Tickets are void.
func (q *Queue) Close() error { return nil }

// Ticket is one start: it waits, then holds its reservation. Its methods are safe for concurrent use.
type Ticket struct {
	q     *Queue
	c     Criteria
	used  int64
	until time.Time
	began time.Time
	last  Event
}

// Join checks criteria and returns a ticket. It has no place in the line before Wait. The error is ErrImpossible when they can never be met: more than there
// is, or everything.
func (q *Queue) Join(c Criteria) (*Ticket, error) {
	m, err := q.host.Memory()
	if err != nil {
		return nil, err
	}
	if need := c.Available.Of(m.Total); need >= m.Total || need+c.Reserve > m.Total {
		return nil, fmt.Errorf("%s available and %d bytes reserved: %w: there are %d bytes", c.Available, c.Reserve, ErrImpossible, m.Total)
	}
	if c.Pressure > 0 {
		if _, err := q.host.Pressure(); err != nil {
			return nil, err
		}
	}
	if c.Settle == 0 {
		c.Settle = DefaultSettle
	}
	return &Ticket{q: q, c: c, began: time.Now()}, nil
}

// try admits t if it may start; needs mu.
func (t *Ticket) try() (bool, error) {
	m, err := t.q.host.Memory()
	if err != nil {
		return false, err
	}
	var out int64
	for h := range t.q.held {
		if time.Now().Before(h.until) {
			out += max(0, h.c.Reserve-h.used)
		}
	}
	t.last = Event{Required: t.c.Available.Of(m.Total), Reserve: t.c.Reserve, Available: m.Available, Total: m.Total, Outstanding: out, Waited: time.Since(t.began)}
	if m.Available-out-t.c.Reserve < t.last.Required {
		return false, nil
	}
	if t.c.Pressure > 0 {
		if p, err := t.q.host.Pressure(); err != nil || p >= t.c.Pressure {
			return false, err
		}
	}
	t.until = time.Now().Add(t.c.Settle)
	t.q.held[t] = true
	return true, nil
}

// TryNow admits the ticket at once, if there is enough and nobody waits. False has no effect: Wait is to follow, or nothing.
func (t *Ticket) TryNow() bool {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	if len(t.q.line) > 0 {
		return false
	}
	ok, _ := t.try()
	return ok
}

// Wait takes a place at the end of the line and returns when the ticket is admitted: then its reservation holds. When the context ends first, its
// place is given up and the error is the context's.
func (t *Ticket) Wait(ctx context.Context) error {
	q := t.q
	q.mu.Lock()
	q.line = append(q.line, t)
	q.mu.Unlock()
	leave := func() {
		for i := range q.line {
			if q.line[i] == t {
				q.line = append(q.line[:i], q.line[i+1:]...)
				return
			}
		}
	}
	for first := true; ; first = false {
		q.mu.Lock()
		ok, err := false, error(nil)
		if q.line[0] == t {
			ok, err = t.try()
		}
		if ok || err != nil || ctx.Err() != nil {
			leave()
		}
		e := t.last
		q.mu.Unlock()
		t.tell(e, first, ok)
		switch {
		case err != nil:
			return err
		case ok:
			return nil
		}
		select {
		case <-ctx.Done():
			q.mu.Lock()
			leave()
			q.mu.Unlock()
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (t *Ticket) tell(e Event, first, ok bool) {
	if t.c.Observe == nil {
		return
	}
	say := func(k EventKind) { e.Kind = k; t.c.Observe(e) }
	if first {
		say(Looked)
		if !ok {
			say(Held)
		}
	}
	if ok {
		say(Admitted)
	}
}

// Admission is the event of the admission, or the newest look before it.
func (t *Ticket) Admission() Event {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return t.last
}

// Used tells how many bytes the start uses now. Its peak is subtracted from the reservation.
func (t *Ticket) Used(bytes int64) {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	t.used = max(t.used, bytes)
}

// Outstanding is how much of the reservation is neither used nor void, in bytes: while it is 0, Used need not be called.
func (t *Ticket) Outstanding() int64 {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	if !t.q.held[t] || time.Now().After(t.until) {
		return 0
	}
	return max(0, t.c.Reserve-t.used)
}

// Release gives the reservation back. It may be called more than once, and by who was not admitted.
func (t *Ticket) Release() {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	delete(t.q.held, t)
}

// Expect is the memory that starts of the same kind have peaked at, in bytes; false when there is none on record.
func (q *Queue) Expect(key string) (int64, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, ok := q.peak[key]
	return n, ok
}

// Record notes the peak of a start that has ended, in bytes.
func (q *Queue) Record(key string, peak int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.peak[key] = peak
}
