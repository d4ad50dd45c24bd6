package execgate

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// process is the process of a thread: the one that has its number after it has executed a program.
func process(thread int) int {
	if unix.Tgkill(thread, thread, 0) != unix.ESRCH {
		return thread
	}
	var buf [1024]byte
	b, err := proc.Root.ReadFile(thread, "status", buf[:])
	if err != nil {
		return thread
	}
	_, b, _ = bytes.Cut(b, []byte("\nTgid:\t"))
	b, _, _ = bytes.Cut(b, []byte("\n"))
	if pid, err := strconv.Atoi(string(b)); err == nil {
		return pid
	}
	return thread
}

// ended tells whether a thread does nothing any more.
func ended(thread int) bool {
	s, err := proc.Root.Stat(thread)
	return err != nil || s.Ended()
}

// resident is the memory that a process has resident, in bytes; false: it has ended.
func resident(pid int) (int64, bool) {
	var buf [128]byte
	b, err := proc.Root.ReadFile(pid, "statm", buf[:])
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 || string(fields[0]) == "0" {
		return 0, false // it is a zombie
	}
	n, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return n * int64(os.Getpagesize()), err == nil
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
	g.open = g.ledger.sweep(resident)
	g.swept = time.Now()
	g.cost = g.swept.Sub(now)
}
