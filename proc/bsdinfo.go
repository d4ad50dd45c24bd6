package proc

import (
	"syscall"

	"mlrun/libproc"
)

// second is in the unit of start times on macOS, microseconds since 1970.
const second = 1_000_000

// statOf is what macOS tells of a process. Session, MinFlt and CPU times are not in it; Threads is 1.
func statOf(i libproc.BSDInfo) Stat {
	return Stat{
		PID: int(i.PID), PPID: int(i.PPID), PGRP: int(i.PGID), TTYPgrp: int(i.TTYPgrp), Comm: i.Command(),
		State: stateOf(i.Status), Threads: 1, Start: i.StartSeconds*second + i.StartMicroseconds,
	}
}

// stateOf is the letter of proc_pid_stat(5) for a status of bsd/sys/proc.h.
func stateOf(status uint32) byte {
	switch status {
	case libproc.Sleep:
		return 'S'
	case libproc.Stop:
		return 'T'
	case libproc.Zombie:
		return 'Z'
	}
	return 'R'
}

// afterGroupSignal is what kill(2) of a process group came to on macOS: EPERM also says that there are only zombies in it
// (bsd/kern/kern_sig.c, killpg1). alive tells whether one of its processes has not ended.
func afterGroupSignal(err error, alive func() bool) error {
	if err == syscall.ESRCH || err == syscall.EPERM && !alive() {
		return ErrGone
	}
	return err
}
