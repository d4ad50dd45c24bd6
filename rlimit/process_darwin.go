package rlimit

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// own refuses other processes: macOS has neither prlimit(2) nor a call of
// libproc(3) for limits, so a process only knows its own, and changes no
// others. The error wraps [errors.ErrUnsupported].
func own(pid int) error {
	if pid == 0 || pid == os.Getpid() {
		return nil
	}
	return fmt.Errorf("limits of process %d: macOS tells and changes them only for the process itself: %w", pid, errors.ErrUnsupported)
}

// Read returns all limits of the calling process; root is not used. Of another
// process the error wraps [errors.ErrUnsupported].
func Read(_ string, pid int) ([]Limit, error) {
	if err := own(pid); err != nil {
		return nil, err
	}
	list := make([]Limit, 0, len(types))
	for _, t := range types {
		soft, hard, err := Get(t)
		if err != nil {
			return nil, err
		}
		list = append(list, Limit{Type: t, Soft: soft, Hard: hard})
	}
	return list, nil
}

// Of returns the limit of type t of process pid, which is the calling one; 0
// is that, too. Of another one the error wraps [errors.ErrUnsupported].
func Of(pid int, t Type) (soft, hard uint64, err error) {
	if err := own(pid); err != nil {
		return 0, 0, err
	}
	return Get(t)
}

// Set sets a limit of process pid, which is the calling one (setrlimit(2)); 0
// is that, too. Of another one the error wraps [errors.ErrUnsupported], else
// the errno: EPERM, and EINVAL for less address space or data than it has.
func Set(pid int, l Limit) error {
	if err := own(pid); err != nil {
		return err
	}
	if err := unix.Setrlimit(l.Resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
		return fmt.Errorf("%s: setrlimit %d: %w", l.Name, l.Resource, err)
	}
	return nil
}

// Ceiling is the most that the kernel gives: of RLIMIT_NPROC the sysctl
// kern.maxprocperuid, or kern.maxproc to root; a larger value is set to that
// without an error (xnu-11417.101.15, bsd/kern/kern_resource.c, dosetrlimit).
// Else it is Infinity. root is not used.
func Ceiling(_ string, t Type) uint64 {
	if t.Resource != unix.RLIMIT_NPROC {
		return Infinity
	}
	name := "kern.maxprocperuid"
	if os.Geteuid() == 0 {
		name = "kern.maxproc"
	}
	n, err := unix.SysctlUint32(name)
	if err != nil {
		return Infinity
	}
	return uint64(n)
}

// MayRaise tells whether this process may raise hard limits: only root may
// (dosetrlimit, suser).
func MayRaise() bool { return os.Geteuid() == 0 }

// MayNice tells whether this process may lower the nice value of process pid to
// nice: only root may (getpriority(2)).
func MayNice(_, _ int) bool { return os.Geteuid() == 0 }
