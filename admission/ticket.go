package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultSettle is after which time a reservation is void when Criteria say nothing.
const DefaultSettle = 30 * time.Second

// Errors. Test for them with errors.Is.
var (
	ErrImpossible = errors.New("never satisfiable") // criteria that can never be met on this machine
	ErrClosed     = errors.New("admission: the line was closed")
)

// Criteria are what has to be true before something starts.
type Criteria struct {
	Available Amount        // at least so much memory is available, beyond what the start reserves
	Pressure  float64       // Host.Pressure is below it, in percent; <= 0: whatever it is
	Reserve   int64         // bytes that the start is expected to use; 0: unknown, and nothing is reserved
	Settle    time.Duration // the reservation is void this long after the admission; 0: DefaultSettle
	Observe   func(Event)   // is told what happens, in the goroutine that calls Wait or TryNow; nil: nobody
}

// EventKind is the kind of an Event.
type EventKind uint8

// The events of a ticket, in their order.
const (
	Looked   EventKind = iota // once, at the first look at the memory
	Held                      // once, when the start has to wait
	Admitted                  // once, when it may start
)

// Event is what a ticket came to, as of a look at the memory. Amounts are in bytes.
type Event struct {
	Kind        EventKind
	Required    int64         // of Criteria.Available
	Reserve     int64         // of Criteria.Reserve
	Available   int64         // on the machine
	Total       int64         // on the machine
	Outstanding int64         // reservations of others that are not used yet
	Pressure    float64       // percent; 0 when nobody asked for it
	Waited      time.Duration // so far
	Ahead       int           // how many others come first; of Ticket.Status only
}

// Queue is the line of all who wait for memory, and those who have been admitted with a reservation. It is safe for concurrent use.
type Queue struct {
	host  Host
	line  *line
	gauge gauge
	peaks peaks

	mu    sync.Mutex
	total int64 // bytes of memory of the machine; 0: not known yet
	stall bool  // pressure can be read
	once  sync.Once
}

// Open opens the line of the directory dir, which all who share the memory of this machine are to use. The directory is made, if it is not there, for its
// owner only; that its parent is nobody else's is the caller's business.
func Open(dir string, h Host) (*Queue, error) {
	l, err := openLine(dir)
	if err != nil {
		return nil, err
	}
	return &Queue{host: h, line: l, gauge: gauge{host: h, fd: -1}, peaks: peaks{dir: l.t.dir, fd: -1}}, nil
}

// Close gives back what the line has of the operating system. When it is the last of the process for its directory, all tickets are void.
func (q *Queue) Close() error {
	q.once.Do(func() {
		q.line.close()
		q.gauge.close()
		q.peaks.close()
	})
	return nil
}

// Bequeath leaves the reservations of this process to the program that it executes next (execve(2)): they hold until they are void, or that ends. It
// inherits one descriptor more, which it may close. Locks of fcntl(2) stay with the process; one with several threads keeps them since Linux 5.11
// (fs/exec.c, begin_new_exec).
func (q *Queue) Bequeath() error {
	q.line.mu.Lock()
	defer q.line.mu.Unlock()
	if q.line.closed {
		return ErrClosed
	}
	_, err := unix.FcntlInt(uintptr(q.line.t.fd), unix.F_SETFD, 0)
	return q.line.t.wrap("fcntl", err)
}

// memory reads the memory of the machine. It is called with the line locked.
func (q *Queue) memory() (Memory, error) { return q.gauge.read() }

// Ticket is one start: it waits, then holds its reservation. It is good for one admission. Its methods are safe for concurrent use.
type Ticket struct {
	q *Queue
	c Criteria
	// With the lock of the line
	rec     record        // what its record is, or is to be
	slot    int           // of the record in the table; -1: none
	ready   chan struct{} // while it waits: closed at the end of that
	err     error         // and how that came
	seen    Event
	looked  bool  // Observe was told of Looked
	began   int64 // first TryNow or Wait
	written int64 // what the record says of used
	owes    bool  // it is to say more
	done    bool  // it was released

	left atomic.Int64 // Outstanding, as it was last
}

// Join checks criteria and returns a ticket; its place in the line is that of its Wait. The error is ErrImpossible when they can never be met: more
// memory than there is, or all of it; or says why the pressure cannot be known.
func (q *Queue) Join(c Criteria) (*Ticket, error) {
	total, err := q.check(c.Pressure > 0)
	if err != nil {
		return nil, err
	}
	return q.join(c, total)
}

// Check tells, without a line, what Join would refuse.
func (h Host) Check(c Criteria) error {
	_, err := (&Queue{host: h}).Join(c)
	return err
}

func (q *Queue) join(c Criteria, total int64) (*Ticket, error) {
	if c.Reserve < 0 || c.Settle < 0 {
		return nil, fmt.Errorf("admission: a reservation of %d bytes for %v: want no negative one", c.Reserve, c.Settle)
	}
	if c.Settle == 0 {
		c.Settle = DefaultSettle
	}
	t := &Ticket{q: q, c: c, slot: -1}
	t.rec.claim = claim{required: c.Available.Of(total), reserve: c.Reserve, pressure: c.Pressure}
	t.rec.settle = int64(c.Settle)
	t.left.Store(c.Reserve)
	if err := possible(t.rec.claim, total); err != nil {
		return nil, err
	}
	return t, nil
}

// possible tells why c can never be met with total bytes of memory.
func possible(c claim, total int64) error {
	switch {
	case c.required >= total:
		return fmt.Errorf("%w: %s of memory are required, and there are %s in all, which are never available together", ErrImpossible, mib(c.required), mib(total))
	case c.reserve > total:
		return fmt.Errorf("%w: %s of memory are to be reserved, and there are %s in all", ErrImpossible, mib(c.reserve), mib(total))
	case c.needs() >= total:
		return fmt.Errorf("%w: %s of memory are required and %s are to be reserved, and there are %s in all", ErrImpossible, mib(c.required), mib(c.reserve), mib(total))
	}
	return nil
}

// mib is an amount for people.
func mib(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// check returns how much memory there is in all, and an error when pressure is asked for and cannot be read. Both are looked at once.
func (q *Queue) check(pressure bool) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.total == 0 {
		m, err := q.host.Memory()
		if err != nil {
			return 0, err
		}
		q.total = m.Total
	}
	if pressure && !q.stall {
		if _, err := q.host.Pressure(); err != nil {
			return 0, err
		}
		q.stall = true
	}
	return q.total, nil
}

// TryNow admits the ticket at once, if there is enough and nobody waits. False has no effect: Wait may follow.
func (t *Ticket) TryNow() bool {
	if ok, err := t.try(); !ok || err != nil {
		return false
	}
	t.tell(Looked)
	t.tell(Admitted)
	return true
}

// errUsed is for who waits twice for the same.
var errUsed = errors.New("admission: the ticket waits, was admitted or was released already")

// try is TryNow without telling anybody.
func (t *Ticket) try() (ok bool, err error) {
	l := t.q.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.rec.state != free || t.done {
		return false, errUsed
	}
	if t.began == 0 {
		t.began = l.now()
	}
	err = l.change(func(now int64) error {
		if i, err := l.front(); err != nil || i >= 0 {
			return err
		}
		ok, err = l.admitNow(t, now)
		return err
	})
	return ok, err
}

// Wait takes a place at the end of the line and returns when the ticket is admitted: then its reservation holds. When the context ends before, the
// place is given up, and the error is the context's cause; Wait may be called again.
func (t *Ticket) Wait(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ok, err := t.try()
	if err != nil && !errors.Is(err, errBusy) && !errors.Is(err, errFull) {
		return err
	}
	t.tell(Looked)
	if ok {
		t.tell(Admitted)
		return nil
	}
	t.tell(Held)
	ready, err := t.join()
	if err != nil {
		return err
	}
	select {
	case <-ready:
	case <-ctx.Done():
		if t.leave(context.Cause(ctx)) {
			return context.Cause(ctx)
		}
	}
	if t.err != nil {
		return t.err
	}
	t.tell(Admitted)
	return nil
}

// join takes a place in the line.
func (t *Ticket) join() (ready chan struct{}, err error) {
	l := t.q.line
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, ErrClosed
	case t.rec.state != free || t.done:
		return nil, errUsed
	}
	t.rec.state, t.rec.absent, t.slot = waiting, false, -1
	t.err, t.ready = nil, make(chan struct{})
	l.number(t)
	l.wants[t] = true
	l.dirty = append(l.dirty, t)
	if !l.watching {
		l.watching = true
		go l.watch()
	} else {
		l.bell.ringSelf()
	}
	return t.ready, nil
}

// leave gives the place in the line up, for the reason err. There is false when the ticket does not wait any more.
func (t *Ticket) leave(err error) bool {
	l := t.q.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.wants[t] {
		return false
	}
	l.fail(t, err)
	_ = l.change(l.next) // else with the next change
	return true
}

// finish ends the wait; with the lock of the line.
func (t *Ticket) finish(err error) {
	t.err = err
	close(t.ready)
}

// note remembers a look at the memory; with the lock of the line.
func (t *Ticket) note(s scene, m Memory, now int64) {
	t.seen = Event{
		Required: t.rec.required, Reserve: t.rec.reserve, Available: m.Available, Total: m.Total, Outstanding: s.outstanding, Pressure: s.pressure,
		Waited: time.Duration(now - t.began),
	}
}

// tell tells the observer what happened.
func (t *Ticket) tell(k EventKind) {
	if t.c.Observe == nil || k == Looked && t.looked {
		return
	}
	t.looked = true
	l := t.q.line
	l.mu.Lock()
	if t.seen.Total == 0 { // others wait: nobody has looked for this one
		if m, err := t.q.memory(); err == nil {
			t.note(scene{}, m, l.now())
		}
	}
	e := t.seen
	l.mu.Unlock()
	e.Kind = k
	t.c.Observe(e)
}

// Admission is what was true when the ticket was admitted; while it waits, what is true now.
func (t *Ticket) Admission() Event {
	l := t.q.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wants[t] {
		_ = l.change(func(now int64) error {
			s, m, err := l.scene(t.q, now, 0, []claim{t.rec.claim})
			if err != nil {
				return err
			}
			t.note(s, m, now)
			t.seen.Kind = Held
			for i := range l.t.list {
				if r := &l.t.list[i]; r.state == waiting && r.ticket < t.rec.ticket {
					t.seen.Ahead++
				}
			}
			return nil
		})
	}
	return t.seen
}

// Used tells how many bytes the start uses now. The most that it has used is subtracted from its reservation. It costs next to nothing when that has
// not grown by much, and it does not wait: what others see may be what an earlier call told, until the next call.
func (t *Ticket) Used(bytes int64) {
	l := t.q.line
	if !l.mu.TryLock() {
		return
	}
	defer l.mu.Unlock()
	if t.rec.state != holding {
		return
	}
	if bytes > t.rec.used {
		t.rec.used = bytes
		t.owes = t.owes || t.rec.reserve > 0 && t.written < t.rec.reserve &&
			(bytes >= t.rec.reserve || bytes-t.written >= max(t.rec.reserve/usedPart, usedLeast))
	}
	t.left.Store(t.rec.left(l.now()))
	if !t.owes {
		return
	}
	if !slices.Contains(l.dirty, t) {
		l.dirty = append(l.dirty, t)
	}
	if l.changeWithin(0, nil) == nil {
		t.written, t.owes = t.rec.used, false
	}
}

// What is used is written when it has grown by this part of the reservation, and at least by so much.
const (
	usedPart  = 64
	usedLeast = 1 << 20
)

// Outstanding is how much of the reservation is neither used nor void, in bytes: once it is 0 it stays so, and Used need not be called any more. It does
// not wait either.
func (t *Ticket) Outstanding() int64 {
	l := t.q.line
	if !l.mu.TryLock() {
		return t.left.Load()
	}
	defer l.mu.Unlock()
	n := t.rec.left(l.now())
	if t.owes && n == 0 && l.now() < t.rec.until {
		n = 1 // the others do not know yet that it was used
	}
	t.left.Store(n)
	return n
}

// Release gives the reservation back, or the place in the line. It may be called more than once, and by who was not admitted.
func (t *Ticket) Release() {
	if t.leave(errUsed) {
		return
	}
	l := t.q.line
	l.mu.Lock()
	defer l.mu.Unlock()
	t.done = true
	if t.rec.state != holding {
		return
	}
	t.rec.state = free
	if t.rec.reserve > 0 {
		l.forget(t)
		_ = l.change(l.next) // else with the next change
	}
}
