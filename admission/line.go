package admission

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"mlrun/rendezvous"
)

const (
	netTime    = time.Second            // between looks of the second: whether the first is there;
	netMost    = 60                     // those behind it take up to so many times that
	absentTime = 2 * time.Second        // a first one that does not look for so long loses its turn until it does
	sweepTime  = 250 * time.Millisecond // between looks for processes that have died, at least
	turnMost   = 16                     // admissions in one turn: others want the table, too
)

// line is the line of a directory as this process sees it. All queues of the process for it share one: a second descriptor for the table would, when it is
// closed, take the locks of the first one along (fcntl(2)).
type line struct {
	mu       sync.Mutex
	t        *table
	bell     bell
	vigil    vigil              // of who is first
	own      map[uint64]*Ticket // tickets that have or are to have a record, by number
	wants    map[*Ticket]bool   // those that wait
	dirty    []*Ticket          // those whose record is to be changed
	watching bool               // there is a goroutine that runs watch
	looking  bool               // the newest turn has looked at the memory, in vain
	rings    []uint32           // processes to be woken when the table is unlocked
	base     time.Time
	mono     int64 // monotonic clock at base, in nanoseconds
	refs     int
	closed   bool
}

var lines = struct {
	sync.Mutex
	byDir map[string]*line
}{byDir: map[string]*line{}}

// openLine returns the line of a directory.
func openLine(dir string) (*line, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	lines.Lock()
	defer lines.Unlock()
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	l := lines.byDir[dir]
	if l == nil {
		t, err := openTable(dir)
		if err != nil {
			return nil, err
		}
		l = &line{t: t, bell: newBell(dir), own: map[uint64]*Ticket{}, wants: map[*Ticket]bool{}, base: time.Now(), mono: rendezvous.Monotonic()}
		lines.byDir[dir] = l
	}
	l.refs++
	return l, nil
}

// close gives the line back when nobody of this process uses it any more.
func (l *line) close() {
	lines.Lock()
	defer lines.Unlock()
	if l.refs--; l.refs > 0 {
		return
	}
	delete(lines.byDir, l.t.dir)
	l.mu.Lock()
	defer l.mu.Unlock()
	for t := range l.wants {
		l.fail(t, ErrClosed)
	}
	l.closed = true
	l.attend(nil)
	l.bell.close()
	l.t.close()
}

// now is the monotonic clock, which is the same for all processes, in nanoseconds.
func (l *line) now() int64 { return l.mono + int64(time.Since(l.base)) }

// change locks the table, brings the records of this process up to date, calls f, which may be nil, and wakes who is to be woken. It needs mu, as does
// everything below unless it says otherwise.
func (l *line) change(f func(now int64) error) error { return l.changeWithin(lockTime, f) }

// changeWithin is change that waits for the table for so long.
func (l *line) changeWithin(patience time.Duration, f func(now int64) error) error {
	if l.closed {
		return ErrClosed
	}
	if err := l.t.lock(patience); err != nil {
		return err
	}
	err := l.update()
	if err == nil && f != nil {
		err = f(l.now())
	}
	l.t.unlock()
	for _, proc := range l.rings {
		l.bell.ring(int(proc), int(proc) == l.t.proc)
	}
	l.rings = l.rings[:0]
	return err
}

// update writes the records of tickets that have changed; all of them when the table was made anew.
func (l *line) update() error {
	if l.t.renewed() {
		l.dirty = l.dirty[:0]
		for _, t := range l.own {
			t.slot = -1
			l.dirty = append(l.dirty, t)
		}
	}
	if len(l.dirty) == 0 {
		return nil
	}
	if err := l.t.enter(); err != nil {
		return err
	}
	for len(l.dirty) > 0 {
		t := l.dirty[len(l.dirty)-1]
		err := l.store(t)
		if err != nil && !errors.Is(err, errFull) {
			return err
		}
		l.dirty = l.dirty[:len(l.dirty)-1]
		if err != nil && l.wants[t] {
			l.fail(t, err)
		}
	}
	return nil
}

// store makes the record of a ticket what it is to be.
func (l *line) store(t *Ticket) error {
	r := l.record(t)
	switch {
	case t.rec.state == free:
		delete(l.own, t.rec.ticket)
		if r == nil {
			return nil
		}
		return l.t.drop(t.slot)
	case r == nil:
		before := t.rec.ticket
		t.rec.proc = uint32(l.t.proc)
		i, err := l.t.put(&t.rec)
		if err != nil {
			return err
		}
		delete(l.own, before)
		t.slot, l.own[t.rec.ticket] = i, t
		return nil
	case t.rec.state == waiting && r.state == holding:
		return nil // it was admitted meanwhile: see collect
	}
	*r = t.rec
	return l.t.write(t.slot)
}

// record is the record of a ticket, nil when it has none.
func (l *line) record(t *Ticket) *record {
	if t.slot < 0 || t.slot >= len(l.t.list) {
		return nil
	}
	if r := &l.t.list[t.slot]; r.state != free && r.ticket == t.rec.ticket && int(r.proc) == l.t.proc {
		return r
	}
	return nil
}

// collect finds out which tickets were admitted by others, and says that the rest is there.
func (l *line) collect() error {
	for t := range l.wants {
		r := l.record(t)
		switch {
		case r == nil:
			t.slot = -1 // somebody took it for dead: it is put back
			l.dirty = append(l.dirty, t)
		case r.state == holding:
			if err := l.admitted(t, *r); err != nil {
				return err
			}
		case r.absent:
			r.absent = false
			if err := l.t.write(t.slot); err != nil {
				return err
			}
		}
	}
	return l.update()
}

// admitted ends the wait of a ticket of this process. A reservation of nothing needs no record.
func (l *line) admitted(t *Ticket, r record) error {
	delete(l.wants, t)
	t.rec = r
	t.note(scene{outstanding: r.outstanding, pressure: r.stall}, Memory{Total: r.total, Available: r.available}, l.now())
	t.finish(nil)
	if r.reserve > 0 {
		return nil
	}
	slot := t.slot
	delete(l.own, r.ticket)
	t.slot = -1
	return l.t.drop(slot)
}

// front finds the first in the line that lives and is not absent; -1: nobody waits.
func (l *line) front() (int, error) {
	for {
		first := -1
		for i := range l.t.list {
			if r := &l.t.list[i]; r.state == waiting && !r.absent && (first < 0 || r.ticket < l.t.list[first].ticket) {
				first = i
			}
		}
		if first < 0 || l.t.alive(l.t.list[first].proc) {
			return first, nil
		}
		if err := l.t.drop(first); err != nil {
			return -1, err
		}
	}
}

// call tells who is first, in record i, that it is, and waits for it to look. There is false when it does not, and has lost its turn.
func (l *line) call(i int, now int64) (there bool, err error) {
	r, h := &l.t.list[i], &l.t.head
	if h.first != r.ticket {
		h.first, h.beat = r.ticket, now
		l.rings = append(l.rings, r.proc)
		l.ringSecond()
		return true, l.t.writeHead()
	}
	if now-h.beat <= int64(absentTime) {
		return true, nil
	}
	for i := range l.t.list {
		if other := &l.t.list[i]; other.state == waiting && other.proc == r.proc {
			other.absent = true
			if err := l.t.write(i); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// turn does what is to be done for the tickets of this process that wait, and returns when to do so again; more is false when none is left.
func (l *line) turn() (next time.Duration, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wants) == 0 {
		l.attend(nil)
		l.watching = false
		return 0, false
	}
	next, l.looking = netTime, false
	err := l.change(func(now int64) (err error) {
		l.bell.hang(l.t.proc)
		if err = l.collect(); err == nil && len(l.wants) > 0 {
			next, err = l.serve(now)
		}
		return err
	})
	if err != nil && !errors.Is(err, errBusy) {
		for t := range l.wants {
			l.fail(t, err)
		}
	}
	if !l.looking {
		l.attend(nil) // that is for who is first
	}
	l.watching = len(l.wants) > 0
	return next, l.watching
}

// behind is when to look next whether the first is there, for a process that is not first: the second in the line does so each netTime, those behind it more
// rarely, since one is enough. Who becomes the second is told (ringSecond).
func (l *line) behind() time.Duration {
	mine := uint64(0)
	for t := range l.wants {
		if mine == 0 || t.rec.ticket < mine {
			mine = t.rec.ticket
		}
	}
	ahead := 0
	for i := range l.t.list {
		if r := &l.t.list[i]; r.state == waiting && !r.absent && r.ticket < mine {
			ahead++
		}
	}
	return time.Duration(min(max(ahead, 1), netMost)) * netTime
}

// ringSecond wakes the second in the line: it is the one that watches over the first.
func (l *line) ringSecond() {
	if order := l.order(); len(order) > 1 {
		if r := &l.t.list[order[1]]; int(r.proc) != l.t.proc {
			l.rings = append(l.rings, r.proc)
		}
	}
}

// fail ends the wait of a ticket with an error.
func (l *line) fail(t *Ticket, err error) {
	delete(l.wants, t)
	t.rec.state = free
	l.forget(t)
	t.finish(err)
}

// forget has the record of a ticket dropped with the next change.
func (l *line) forget(t *Ticket) {
	gone := &Ticket{q: t.q, slot: t.slot, rec: record{ticket: t.rec.ticket}}
	l.own[t.rec.ticket] = gone
	l.dirty = append(l.dirty, gone)
	t.slot = -1
}

// number gives a ticket its number, which is its place in the line.
func (l *line) number(t *Ticket) {
	n := uint64(l.now())
	for l.own[n] != nil {
		n++
	}
	t.rec.ticket = n
	l.own[n] = t
}

// admitNow admits a ticket at once if it fits: nobody waits.
func (l *line) admitNow(t *Ticket, now int64) (bool, error) {
	for swept := false; ; swept = true {
		s, m, err := l.scene(t.q, now, 0, []claim{t.rec.claim})
		if err != nil {
			return false, err
		}
		t.note(s, m, now)
		if s.fits(t.rec.claim) {
			t.rec.begin(s, m, now)
			break
		}
		if swept || s.outstanding == 0 {
			return false, nil
		}
		if err := l.t.sweep(); err != nil {
			return false, err
		}
	}
	if t.rec.reserve == 0 {
		return true, nil
	}
	l.number(t)
	err := l.t.enter()
	if err == nil {
		err = l.store(t)
	}
	if err != nil {
		delete(l.own, t.rec.ticket)
		t.rec.state = free
	}
	return err == nil, err
}

// serve looks at the memory for the line, if a ticket of this process is first, and admits those whose turn it is.
func (l *line) serve(now int64) (next time.Duration, err error) {
	for range turnMost {
		i, err := l.front()
		if err != nil || i < 0 {
			return netTime, err
		}
		r := &l.t.list[i]
		if int(r.proc) != l.t.proc {
			if there, err := l.call(i, now); there || err != nil {
				return l.behind(), err
			}
			continue
		}
		next, err := l.look(i, now)
		if err != nil || next > 0 {
			return next, err
		}
	}
	return 0, nil
}

// look looks at the memory for the line, whose first is in record i and a ticket of this process. With a next of 0 somebody was admitted.
func (l *line) look(i int, now int64) (next time.Duration, err error) {
	h, first := &l.t.head, &l.t.list[i]
	t := l.own[first.ticket]
	if !l.wants[t] {
		return 0, l.t.drop(i) // it was given up when the table could not be written
	}
	if l.vigil.died || now-h.checked >= int64(sweepTime) {
		l.vigil.died, h.checked = false, now
		if err := l.t.sweep(); err != nil {
			return 0, err
		}
	}
	order := l.order()
	claims := make([]claim, len(order))
	for k, i := range order {
		claims[k] = l.t.list[i].claim
	}
	s, m, err := l.scene(t.q, now, first.ticket, claims)
	if err != nil {
		l.fail(t, err)
		return 0, l.update()
	}
	t.note(s, m, now)
	if h.first != first.ticket {
		l.ringSecond()
	}
	h.first, h.beat = first.ticket, now
	if now < h.pace {
		return time.Duration(h.pace - now), l.t.writeHead()
	}
	k := choose(s)
	if k == nobody {
		l.looking = true
		if l.attendHolders(now); l.vigil.died {
			return 0, l.t.writeHead()
		}
		return nextLook(first.needs()-s.usable(), m.Total), l.t.writeHead()
	}
	return 0, l.admit(order[k], first.ticket, s, m, now)
}

// attendHolders watches those whose reservation would make room by their end.
func (l *line) attendHolders(now int64) {
	var pids []int
	known := map[uint32]bool{}
	for i := range l.t.list {
		r := &l.t.list[i]
		if r.left(now) == 0 || known[r.proc] {
			continue
		}
		known[r.proc] = true
		lives, pid := l.t.holder(r.proc)
		if !lives {
			l.vigil.died = true
			return
		}
		if pid > 0 {
			pids = append(pids, pid)
		}
	}
	l.attend(pids)
}

// order lists the records of those who wait and are there, in the order in which they came.
func (l *line) order() (list []int) {
	for i := range l.t.list {
		if r := &l.t.list[i]; r.state == waiting && !r.absent {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b int) int { return cmp.Compare(l.t.list[a].ticket, l.t.list[b].ticket) })
	return list
}

// scene is what is true now, for those who wait. first is the number of the first of them, 0 when nobody is in the line.
func (l *line) scene(q *Queue, now int64, first uint64, waiting []claim) (s scene, m Memory, err error) {
	s.waiting = waiting
	for i := range l.t.list {
		r := &l.t.list[i]
		left := r.left(now)
		s.outstanding += left
		switch {
		case r.state == holding && r.passed == first && first != 0:
			s.passed += r.reserve
		case left > 0 && (s.least == 0 || left < s.least):
			s.least = left
		}
	}
	if m, err = q.memory(); err != nil {
		return s, m, err
	}
	s.available = m.Available
	if slices.ContainsFunc(waiting, func(c claim) bool { return c.pressure > 0 }) {
		if s.pressure, err = q.host.Pressure(); err != nil && waiting[0].pressure <= 0 {
			s.pressure, err = 100, nil // who asks for it will see for himself
		}
	}
	return s, m, err
}

// admit admits the one in record i, unless it has died. first is the ticket that is first.
func (l *line) admit(i int, first uint64, s scene, m Memory, now int64) error {
	r := &l.t.list[i]
	if !l.t.alive(r.proc) {
		return l.t.drop(i)
	}
	r.begin(s, m, now)
	if r.ticket != first {
		r.passed = first
	}
	if r.reserve == 0 {
		l.t.head.pace = now + int64(paceTime)
		if err := l.t.writeHead(); err != nil {
			return err
		}
	}
	if err := l.t.write(i); err != nil {
		return err
	}
	if int(r.proc) == l.t.proc {
		return l.admitted(l.own[r.ticket], *r)
	}
	l.rings = append(l.rings, r.proc)
	return nil
}

// begin makes a record that of a holder.
func (r *record) begin(s scene, m Memory, now int64) {
	r.state, r.absent = holding, false
	if r.until = now + r.settle; r.until < now {
		r.until = 1<<63 - 1
	}
	r.available, r.outstanding, r.total, r.stall = m.Available, s.outstanding, m.Total, s.pressure
}

// next wakes who is first, if anybody waits: something has changed for it.
func (l *line) next(now int64) error {
	i, err := l.front()
	if err != nil || i < 0 {
		return err
	}
	rings := len(l.rings)
	if _, err := l.call(i, now); err != nil {
		return err
	}
	if len(l.rings) == rings {
		l.rings = append(l.rings, l.t.list[i].proc)
	}
	return nil
}

// watch serves the tickets of this process that wait, until none does.
func (l *line) watch() {
	for {
		next, more := l.turn()
		if !more {
			return
		}
		l.bell.sleep(next)
	}
}
