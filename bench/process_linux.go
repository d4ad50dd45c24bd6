package main

import (
	"errors"
	"fmt"
	"os"
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

// killMember kills a process, and no other one that has got its pid since.
func killMember(m member) error {
	fd, err := unix.PidfdOpen(m.pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if now, ok := identity(m.pid); !ok || now.start != m.start {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
}

// sharesMemory tells whether two processes have one address space (kcmp(2)).
func sharesMemory(a, b int) bool {
	const vm = 1 // KCMP_VM
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), vm, 0, 0, 0)
	return errno == 0 && r == 0
}

// limiterTime is the CPU time of a limiter: of the process itself, and of those of its children that run the same program, as the
// reaper of mlrun does.
func limiterTime(pid int) (time.Duration, error) {
	sum, err := cpuTime(pid)
	if err != nil {
		return 0, err
	}
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return 0, err
	}
	for _, c := range children(pid) {
		if p, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c)); err != nil || p != program {
			continue
		}
		t, err := cpuTime(c)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

// cpuTime is the CPU time that any process has used: clock_getcpuclockid(3) makes the number of such a clock from the pid.
func cpuTime(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED, include/linux/posix-timers.h: counted in nanoseconds, not in ticks
	var ts unix.Timespec
	err := unix.ClockGettime(int32(^pid)<<3|sched, &ts)
	return time.Duration(ts.Nano()), err
}
