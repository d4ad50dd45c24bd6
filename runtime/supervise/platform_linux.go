package supervise

import (
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	getTermios = unix.TCGETS
	rssShift   = 10 // ru_maxrss of getrusage(2) is in KiB
)

// withoutTTOU calls f while SIGTTOU is blocked: who changes the foreground process group from the background gets it (tcsetpgrp(3)).
func withoutTTOU(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var block, old unix.Sigset_t
	block.Val[0] = 1 << (unix.SIGTTOU - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &old); err != nil {
		return err
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	return f()
}

// hasRealtime tells whether a process has a real-time policy.
func hasRealtime(pid int) bool {
	const resetOnFork = 0x40000000 // SCHED_RESET_ON_FORK of linux/sched.h
	policy, _, _ := unix.Syscall(unix.SYS_SCHED_GETSCHEDULER, uintptr(pid), 0, 0)
	policy &^= resetOnFork
	return policy == unix.SCHED_FIFO || policy == unix.SCHED_RR
}
