package execgate

import (
	"cmp"
	"slices"
	"time"
)

// place says who waits in which call: who is restarted by the kernel comes back with the same.
type place struct {
	thread int
	call   int32     // number of the system call
	arch   uint32    // AUDIT_ARCH_*
	at     uint64    // instruction
	args   [3]uint64 // of the call
}

// call is an exec that waits.
type call struct {
	place
	listener int
	id       uint64
	attempt  attempt
	program  string
	need     int64
	order    uint64    // of arrival
	since    time.Time // when it came first,
	from     time.Time // and for this wait
}

// attempt is a call whose failure is followed by the same one with another path: by execvp(3) and its like, which try the directories of a search path
// one after the other. They have room from the first one on. The image that a successful call leads to makes its calls elsewhere.
type attempt struct {
	call    int32
	arch    uint32
	at, arg uint64 // instruction; the last argument that is a pointer to strings
}

// maxKept is how many places are kept for those who were interrupted.
const maxKept = 1024

// line is who waits, in the order of arrival. It is a value without clock or process.
type line struct {
	calls []*call
	kept  map[place]*call // those that were interrupted
	next  uint64
}

// join puts a call in its place; again tells that it had one before.
func (l *line) join(c *call, now time.Time) (again bool) {
	c.from = now
	before := l.kept[c.place]
	if before != nil {
		delete(l.kept, c.place)
		c.order, c.since = before.order, before.since
	} else {
		l.next++
		c.order, c.since = l.next, now
	}
	i, _ := slices.BinarySearchFunc(l.calls, c, func(a, b *call) int { return cmp.Compare(a.order, b.order) })
	l.calls = slices.Insert(l.calls, i, c)
	return before != nil
}

// first is the oldest; nil when nobody waits.
func (l *line) first() *call {
	if len(l.calls) == 0 {
		return nil
	}
	return l.calls[0]
}

// leave takes out a call that goes on.
func (l *line) leave(c *call) {
	l.calls = slices.DeleteFunc(l.calls, func(o *call) bool { return o == c })
}

// interrupt takes out a call that does not wait any more, and keeps its place for a while.
func (l *line) interrupt(c *call) {
	l.leave(c)
	if l.kept == nil {
		l.kept = map[place]*call{}
	}
	if len(l.kept) < maxKept {
		l.kept[c.place] = c
	}
}

// forget drops the places of those whose thread is gone, and lists them.
func (l *line) forget(gone func(thread int) bool) (list []*call) {
	for p, c := range l.kept {
		if gone(p.thread) {
			delete(l.kept, p)
			list = append(list, c)
		}
	}
	return list
}
