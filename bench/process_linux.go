package main

import (
	"errors"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// awaitDeath waits for the end of any process: a pidfd is readable when the process is a zombie (pidfd_open(2)).
func awaitDeath(pid int) deathReport {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return deathReport{err: err}
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience/time.Millisecond))
		if !errors.Is(err, unix.EINTR) {
			return deathReport{time.Now(), err}
		}
	}
}

// cpuTime is the CPU time that any process has used: clock_getcpuclockid(3) makes the number of such a clock from the pid.
func cpuTime(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED, include/linux/posix-timers.h: counted in nanoseconds, not in ticks
	var ts unix.Timespec
	err := unix.ClockGettime(int32(^pid)<<3|sched, &ts)
	return time.Duration(ts.Nano()), err
}
