//go:build !portable

package proc

import "time"

// ledger finds out what processes had used that nobody has waited for. What a process has used is added to its parent when that waits for it, or its reaper
// does (wait4(2), ru of RUSAGE_CHILDREN): so what those had who are gone must have come up with somebody who is there. What did not is lost with them,
// and counted as it was last seen.
//
// Counts are of whatever grows: nanoseconds, page faults. Processes that came and went between two readings come up as well, and hide losses; a
// loss is never made up.
type ledger struct {
	slack int64 // by which the part of a parent may lag, since it is counted in larger parts

	last, next map[ID]count
	came       [3]int64 // what came up with parents at the newest readings, the oldest first, as far as nobody is known whose it was
	gone       int64    // what those had who went at the newest reading: it has come up by the next one
	owed       int64    // what did not come up, as long as it may be a lag
	lost       int64
	parents    int64
}

// count is what a process has used itself, and those that it has waited for.
type count struct{ own, children int64 }

// begin begins a reading.
func (l *ledger) begin() {
	if l.next == nil {
		l.last, l.next = map[ID]count{}, map[ID]count{}
	}
	clear(l.next)
	l.parents = 1
}

// note notes one process.
func (l *ledger) note(id ID, own, children int64) {
	l.next[id] = count{own, children}
	if children > 0 {
		l.parents++
	}
}

// end ends a reading. A process that is waited for during a reading may be in that one twice, with its parent read later, or not at all, with its parent read before: so
// what came up one reading earlier or later pays for it, too.
func (l *ledger) end() (lost int64) {
	came, gone := int64(0), int64(0)
	for id, c := range l.next {
		if len(l.last) > 0 { // else nobody has been seen whose it may be
			came += max(c.children-l.last[id].children, 0)
		}
	}
	for id, c := range l.last {
		if _, there := l.next[id]; !there {
			gone += c.own + c.children
		}
	}
	l.owed = max(l.owed-l.came[0], 0)
	l.came = [3]int64{l.came[1], l.came[2], came}
	debt := l.gone
	for i := range l.came {
		paid := min(debt, l.came[i])
		debt, l.came[i] = debt-paid, l.came[i]-paid
	}
	if l.owed += debt; l.owed > l.slack*l.parents {
		l.lost, l.owed = l.lost+l.owed, 0
	}
	l.gone = gone
	l.last, l.next = l.next, l.last
	return l.lost
}

// cpuLedger is one of CPU time, in nanoseconds, that knows about how much of it was user time.
type cpuLedger struct {
	ledger
	kinds, before map[ID]cpuCount
	gone          cpuCount
}

// cpuCount is CPU time of a process and of those that it has waited for.
type cpuCount struct{ user, system time.Duration }

func (l *cpuLedger) begin() {
	l.slack = int64(2 * tick) // utime and stime
	l.ledger.begin()
	if l.kinds == nil {
		l.kinds, l.before = map[ID]cpuCount{}, map[ID]cpuCount{}
	}
	l.kinds, l.before = l.before, l.kinds
	clear(l.kinds)
}

func (l *cpuLedger) note(id ID, own, children int64, c cpuCount) {
	l.ledger.note(id, own, children)
	l.kinds[id] = c
}

func (l *cpuLedger) end() (user, system time.Duration) {
	for id, c := range l.before {
		if _, there := l.kinds[id]; !there {
			l.gone.user, l.gone.system = l.gone.user+c.user, l.gone.system+c.system
		}
	}
	l.ledger.end()
	return l.split()
}

// split divides what was lost as that of all who went was divided.
func (l *cpuLedger) split() (user, system time.Duration) {
	lost := time.Duration(l.lost)
	if all := l.gone.user + l.gone.system; all > 0 {
		user = time.Duration(float64(lost) * float64(l.gone.user) / float64(all))
	}
	return user, lost - user
}
