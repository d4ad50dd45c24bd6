// Package meter measures the memory of a set of processes fairly: shared pages once, in proportion.
//
// # What it counts
//
// On Linux, the proportional set size (PSS) of each process, from /proc/PID/smaps_rollup: private pages fully, a page
// that n processes map at 1/n; plus huge pages of hugetlbfs, which PSS leaves out. Swapped pages (SwapPss) are
// reported beside it. Zombies have no memory and count 0.
//
// # Two readings
//
// An exact reading makes the kernel walk all page tables: about 10 ms for each GiB of 4 KiB pages. So there is also an
// upper bound, about a microsecond for each process: the sum of the resident set sizes (RSS), since PSS <= RSS. While
// the bound is under the limit nothing else is needed. When shared memory makes it useless, the bound goes on from
// the last exact reading instead: what the group used then, plus for each process the larger of the growth of its RSS and
// its page faults since (a copy-on-write fault adds a page without changing RSS), plus the RSS of new processes. Processes
// outside the set can raise its share by unmapping pages, which no counter of the set shows; so that bound is trusted
// for one second.
//
// # What is not readable
//
// A set-user-ID or non-dumpable process hides smaps_rollup (ptrace(2), "Ptrace access mode checking"), but not its RSS.
// Counted for it are its private pages in any case, and the largest shared part among all such processes: how often the
// rest is shared cannot be known. Reading.Upper has all of it, and Reading.Unreadable says how many there were. The
// failure to read a process never makes a reading fail.
//
// # Details that matter
//
// Processes that share one address space (between vfork and exec, or CLONE_VM) are counted once; kcmp(2) tells. A process
// whose first thread ended is read through another thread. An open file of /proc/PID is bound to the process, not to the
// number, so a reused pid is never counted.
//
// # What it does not
//
// It finds no processes (package proc does) and decides nothing (package limit does). Memory that no process has mapped is
// not counted: page cache, tmpfs files, kernel memory, pipes and sockets.
package meter

import (
	"errors"
	"time"

	"mlrun/proc"
)

// ErrUnsupported is returned on platforms where meter has no implementation yet.
var ErrUnsupported = errors.New("measuring memory is not supported on this platform yet")

// Usage is the memory of one process.
type Usage struct {
	proc.ID
	Memory int64 `json:"memory"` // bytes: PSS and huge pages, or RSS when not Exact
	Swap   int64 `json:"swap"`   // bytes: proportional share of swapped pages
	Exact  bool  `json:"exact"`
}

// Reading is one exact measurement of the set.
type Reading struct {
	Memory     int64         // bytes that count against the limit
	Upper      int64         // bytes at most: differs from Memory when Unreadable > 0
	Swap       int64         // bytes swapped out
	Processes  int           // processes alive
	Zombies    int           // processes that ended and were not waited for
	Unreadable int           // processes of which only the RSS could be read
	Each       []Usage       // every live process
	At         time.Time     // when the reading began
	Cost       time.Duration // how long it took
}
