package execgate

import (
	"slices"
	"testing"
	"time"
)

// FuzzLine makes calls come, go on, be interrupted and come back: everybody is in the line once, in the order of the first arrival.
func FuzzLine(f *testing.F) {
	f.Add([]byte{0, 4, 8, 1, 0, 2, 3, 12, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var l line
		now := time.Unix(1, 0)
		first := map[int]uint64{} // order of those that wait or may come back
		waits := map[int]*call{}
		clock := uint64(0)
		for _, op := range ops {
			thread := int(op >> 2)
			c := waits[thread]
			now = now.Add(time.Second)
			switch op & 3 {
			case 0: // comes
				if c != nil {
					continue
				}
				_, before := first[thread]
				if !before {
					clock++
					first[thread] = clock
				}
				c = &call{place: place{thread: thread}}
				waits[thread] = c
				if again := l.join(c, now); again != before {
					t.Fatalf("thread %d: again %v, want %v", thread, again, before)
				}
			case 1: // is interrupted
				if c != nil {
					l.interrupt(c)
					delete(waits, thread)
				}
			case 2: // goes on
				if c = l.first(); c != nil {
					l.leave(c)
					delete(waits, c.thread)
					delete(first, c.thread)
				}
			case 3: // is gone for good
				l.forget(func(n int) bool { return n == thread })
				if c == nil {
					delete(first, thread)
				}
			}
			if len(l.calls) != len(waits) || len(l.kept) > maxKept {
				t.Fatalf("%d in the line, %d wait", len(l.calls), len(waits))
			}
			if !slices.IsSortedFunc(l.calls, func(a, b *call) int { return int(first[a.thread]) - int(first[b.thread]) }) {
				t.Fatalf("not in the order of arrival: %v", first)
			}
			for _, c := range l.calls {
				if waits[c.thread] != c || c.since.After(c.from) {
					t.Fatalf("thread %d: %+v", c.thread, c)
				}
			}
		}
	})
}
