package rlimit

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Read returns all limits of a process, from /proc/PID/limits below root
// ("/proc"). Every user may read it, unless /proc is mounted with hidepid. The
// error wraps [os.ErrNotExist] when there is no such process.
func Read(root string, pid int) ([]Limit, error) {
	path := root + "/" + strconv.Itoa(pid) + "/limits"
	b, err := os.ReadFile(path)
	if errors.Is(err, unix.ESRCH) || err == nil && len(b) == 0 {
		err = &os.PathError{Op: "read", Path: path, Err: os.ErrNotExist} // it ended meanwhile
	}
	if err != nil {
		return nil, err
	}
	list, err := ParseProc(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

// Of returns the limit of type t of process pid; 0 is the calling one. Unlike
// [Read] it takes the credentials that [Set] takes, so it tells whether that
// may be called.
func Of(pid int, t Type) (soft, hard uint64, err error) {
	var r unix.Rlimit
	if err := unix.Prlimit(pid, t.Resource, nil, &r); err != nil {
		return 0, 0, fmt.Errorf("%s of process %d: %w", t.Name, pid, err)
	}
	return min(r.Cur, Infinity), min(r.Max, Infinity), nil
}

// Set sets a limit of process pid (prlimit(2), Linux 2.6.36). It takes the same
// real, effective and saved user and group as the process has, or
// CAP_SYS_RESOURCE, which raising the hard limit takes in any case. The error
// wraps the errno: ESRCH when there is no such process, EPERM. Whoever calls it
// sees to it that pid is still the process that is meant.
func Set(pid int, l Limit) error {
	if err := unix.Prlimit(pid, l.Resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil); err != nil {
		return fmt.Errorf("%s of process %d: %w", l.Name, pid, err)
	}
	return nil
}

// Ceiling is what the kernel lets nobody go beyond, the superuser included:
// the sysctl fs.nr_open for RLIMIT_NOFILE (kernel/sys.c, do_prlimit), below
// root ("/proc"), else Infinity.
func Ceiling(root string, t Type) uint64 {
	if t.Name != "RLIMIT_NOFILE" {
		return Infinity
	}
	b, err := os.ReadFile(root + "/sys/fs/nr_open")
	if err != nil {
		return Infinity
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return Infinity
	}
	return n
}

// MayRaise tells whether this process may raise hard limits: CAP_SYS_RESOURCE
// in the initial user namespace (kernel/sys.c, do_prlimit), whose inode is a
// constant (PROC_USER_INIT_INO, Linux 3.8).
func MayRaise() bool {
	const initial = 0xEFFFFFFD
	if !effective(unix.CAP_SYS_RESOURCE) {
		return false
	}
	var st unix.Stat_t
	return unix.Stat("/proc/self/ns/user", &st) != nil || st.Ino == initial // a kernel without user namespaces has no such file
}

// MayNice tells whether this process may lower the nice value of process pid to
// nice; 0 is the calling one. It takes CAP_SYS_NICE, or RLIMIT_NICE of that
// process (kernel/sched/syscalls.c, is_nice_reduction).
func MayNice(pid, nice int) bool {
	if effective(unix.CAP_SYS_NICE) {
		return true
	}
	t, _ := Lookup("RLIMIT_NICE")
	soft, _, err := Of(pid, t)
	return err == nil && int64(min(soft, 40)) >= int64(20-nice)
}

// effective tells whether this process has a capability in effect.
func effective(capability uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[capability/32].Effective&(1<<(capability%32)) != 0
}
