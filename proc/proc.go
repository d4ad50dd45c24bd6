// Package proc knows processes: their identity, the tree of one run, and how to signal them without ever hitting
// somebody else's.
//
// # What it does
//
// A process is identified by its pid and its start time; a pid alone is reused. Signals go through a pidfd where the
// kernel has them (Linux 5.3), which is bound to the process and not to the number. A Group is the set of processes
// of one run: the process group of the payload, and all descendants whatever group or session they moved to, found
// through the reaper, which is the subreaper that orphans are reparented to.
//
// Finding out that nothing was forked costs one read: the kernel's last allocated pid (/proc/sys/kernel/ns_last_pid)
// has not moved. When it has, only the pids between the two values are looked at, since pids are allocated in order;
// a complete scan of /proc runs when the numbers wrapped, and once a second while anything forks, as long as it takes no more than a
// tenth of the time.
//
// # What it does not
//
// It does not wait for or reap processes, and measures no memory. It never signals by process name.
//
// Everything reads below a root ("/proc"), so that tests can use a tree of files.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Errors of this package.
var (
	ErrGone        = errors.New("no such process") // the process ended, or the pid belongs to another one now
	ErrUnsupported = errors.New("not supported on this platform yet")
)

// ID identifies a process for as long as the machine runs.
type ID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot (proc_pid_stat(5), field 22)
}

// Stat is the part of /proc/PID/stat that mlrun uses (proc_pid_stat(5)).
type Stat struct {
	PID     int
	Comm    string // at most 15 bytes, may contain anything but NUL
	State   byte   // R S D Z T t X I
	PPID    int
	PGRP    int
	Session int
	TTYPgrp int
	MinFlt  uint64 // page faults without I/O,
	MajFlt  uint64 // and with it
	Threads int
	Start   uint64 // clock ticks since boot

	UTime, STime           uint64 // CPU time in clock ticks (1/100 s),
	ChildUTime, ChildSTime uint64 // and of the processes that it has waited for, with what these waited for

	ChildMinFlt, ChildMajFlt uint64 // page faults of these
}

// ID returns the identity.
func (s Stat) ID() ID { return ID{s.PID, s.Start} }

// Stopped tells whether the process is stopped by a signal or a tracer.
func (s Stat) Stopped() bool { return s.State == 'T' || s.State == 't' }

// Ended tells whether the process is a zombie without live threads, or gone.
func (s Stat) Ended() bool { return s.State == 'X' || s.State == 'Z' && s.Threads <= 1 }

// ParseStat parses the content of /proc/PID/stat. The command name is between the first "(" and the last ")".
func ParseStat(b []byte) (Stat, error) {
	var s Stat
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return s, fmt.Errorf("stat: no command name in %.40q", b)
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b[:open])))
	if err != nil {
		return s, fmt.Errorf("stat: no pid in %.40q", b)
	}
	s.PID, s.Comm = pid, string(b[open+1:end])
	rest := b[end+1:]
	for n := 3; n <= 22; n++ {
		rest = bytes.TrimLeft(rest, " ")
		i := bytes.IndexAny(rest, " \n")
		if i < 0 {
			i = len(rest)
		}
		f := rest[:i]
		rest = rest[i:]
		if len(f) == 0 {
			return s, fmt.Errorf("stat: only %d fields", n-1)
		}
		switch n {
		case 3:
			s.State = f[0]
		case 4:
			s.PPID = atoi(f)
		case 5:
			s.PGRP = atoi(f)
		case 6:
			s.Session = atoi(f)
		case 8:
			s.TTYPgrp = atoi(f)
		case 10:
			s.MinFlt = uint64(atoi(f))
		case 11:
			s.ChildMinFlt = uint64(atoi(f))
		case 12:
			s.MajFlt = uint64(atoi(f))
		case 13:
			s.ChildMajFlt = uint64(atoi(f))
		case 14:
			s.UTime = uint64(atoi(f))
		case 15:
			s.STime = uint64(atoi(f))
		case 16:
			s.ChildUTime = uint64(atoi(f))
		case 17:
			s.ChildSTime = uint64(atoi(f))
		case 20:
			s.Threads = atoi(f)
		case 22:
			s.Start = uint64(atoi(f))
		}
	}
	return s, nil
}

// atoi parses a decimal number that the kernel wrote, without allocating.
func atoi(b []byte) int {
	n, neg := 0, false
	for i, c := range b {
		if i == 0 && c == '-' {
			neg = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	if neg {
		return -n
	}
	return n
}
