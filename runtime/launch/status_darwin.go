package launch

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// statusOf tells what a child does: Exited, Stopped, or 0 for anything else, with the status as wait(2) has it. It waits for nobody: a zombie stays
// one. The status of both is p_xstat of sysctl(3) kern.proc.pid ("exit status for wait; also stop signal", bsd/sys/proc.h), as wait4(2) makes its status of
// it (xnu-11417.101.15, bsd/kern/kern_sysctl.c, fill_user64_externproc; bsd/kern/kern_exit.c).
func statusOf(pid int) (EventKind, syscall.WaitStatus) {
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(k.Proc.P_pid) != pid {
		return 0, 0
	}
	const stop, zombie = 4, 5 // SSTOP, SZOMB
	switch k.Proc.P_stat {
	case zombie:
		return Exited, syscall.WaitStatus(k.Proc.P_xstat)
	case stop:
		return Stopped, syscall.WaitStatus(uint32(k.Proc.P_xstat)<<8 | 0x7f) // W_STOPCODE of sys/wait.h
	}
	return 0, 0
}

// stopOf takes a stop of a child that nobody has taken: Stopped, and its status; else 0. The kernel hands out each stop once (P_LWAITED, bsd/kern/kern_exit.c,
// wait4_nocancel). It may have been killed since it was seen to be stopped: then it is waited for, Exited.
func stopOf(pid int, used *syscall.Rusage) (EventKind, syscall.WaitStatus) {
	var status syscall.WaitStatus
	for {
		n, err := syscall.Wait4(pid, &status, syscall.WNOHANG|syscall.WUNTRACED, used)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil || n != pid:
			return 0, 0
		case status&0x7f == 0x7f: // WaitStatus.Stopped leaves SIGSTOP out
			return Stopped, status
		}
		return Exited, status
	}
}
