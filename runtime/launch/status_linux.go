//go:build portable

package launch

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// statusOf tells what a child does: Exited, Stopped, or 0 for anything else, with the status as wait(2) has it. It waits for nobody: a zombie stays
// one (waitid(2), WNOWAIT).
func statusOf(pid int) (EventKind, syscall.WaitStatus) {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT|unix.WNOHANG, nil)
	if err != nil || info.Code == 0 {
		return 0, 0
	}
	status := childStatus(&info)
	const exited, killed, dumped, stopped = 1, 2, 3, 5 // CLD_* of asm-generic/siginfo.h
	switch info.Code {
	case exited:
		return Exited, syscall.WaitStatus(status << 8)
	case killed:
		return Exited, syscall.WaitStatus(status)
	case dumped:
		return Exited, syscall.WaitStatus(status | 0x80)
	case stopped:
		return Stopped, syscall.WaitStatus(status<<8 | 0x7f)
	}
	return 0, 0
}

// stopOf takes a stop of a child that nobody has taken: Stopped, and its status; else 0.
func stopOf(pid int, _ *syscall.Rusage) (EventKind, syscall.WaitStatus) {
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WNOHANG, nil); err != nil || info.Code == 0 {
		return 0, 0
	}
	return Stopped, syscall.WaitStatus(childStatus(&info)<<8 | 0x7f)
}

// childStatus is si_status of a siginfo_t for SIGCHLD, which follows si_pid and si_uid (asm-generic/siginfo.h, 64 bits).
func childStatus(info *unix.Siginfo) uint32 {
	return *(*uint32)(unsafe.Add(unsafe.Pointer(info), unsafe.Offsetof(info.Code)+4+4+8))
}
