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
