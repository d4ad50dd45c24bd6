package proc

import "time"

// Usage is what getrusage(2) would say of all members and of those that have ended, as far as the platform shows it: /proc of Linux; of macOS nothing but User and System
// is read.
type Usage struct {
	User, System     time.Duration
	Unwaited         time.Duration // of both: of processes that nobody has waited for, as they were last seen
	MaxRSS           int64         // bytes: the largest resident set that a process was seen to have had (VmHWM)
	MinFlt, MajFlt   int64         // page faults without and with I/O
	InBlock, OuBlock int64         // blocks of 512 bytes read and written, without members in Unread
	NVCSw, NIvCSw    int64         // voluntary and involuntary context switches of threads that live, and of others as they were last seen
	Unread           int           // members whose block I/O may not be read: they have other credentials (proc_pid_io(5))
	Top              []Peak        // living members, the one with the largest peak first, at most topMost
}

// Peak is the most memory that a process had.
type Peak struct {
	ID
	Comm   string // as in Stat
	MaxRSS int64  // bytes of resident set, ever (VmHWM)
}
