package execgate

import (
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// process is the process of a thread: the one that has its number after it has executed a program.
func process(thread int) int {
	if unix.Tgkill(thread, thread, 0) != unix.ESRCH {
		return thread
	}
	if pid, err := proc.Root.ProcessOf(thread); err == nil {
		return pid
	}
	return thread
}

// ended tells whether a thread does nothing any more.
func ended(thread int) bool {
	s, err := proc.Root.Stat(thread)
	return err != nil || s.Ended()
}

// sweepDue is when the programs that were let in are to be looked at; negative: there is none.
func (g *Gate) sweepDue(now time.Time) time.Duration {
	if len(g.ledger.pledges) == 0 {
		return -1
	}
	wait := max(sweepEvery, sweepShare*g.cost)
	if !g.open {
		wait = max(wait, now.Sub(g.newest)/sweepAge)
	}
	return max(g.swept.Add(wait).Sub(now), 0)
}

// sweep looks at the programs that were let in.
func (g *Gate) sweep(now time.Time) {
	g.open = g.ledger.sweep(proc.Root.Resident)
	g.swept = time.Now()
	g.cost = g.swept.Sub(now)
}
