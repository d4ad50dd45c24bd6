package proc

import "time"

// Tally is the CPU time of all members and of those that have ended, and the number of tasks. Whoever waited for a member that has ended has its CPU
// time, and the reapers have waited for the others.
type Tally struct {
	User, System time.Duration // Linux: as /proc counts them, in parts of 10 ms
	CPU          time.Duration // both, to the nanosecond for processes that live
	Unwaited     time.Duration // of CPU: what processes had used when they were last seen that nobody has waited for. Linux only
	Tasks        int64         // processes and threads that are; zombies count 1, as the kernel counts them
}
