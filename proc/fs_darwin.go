package proc

import (
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/libproc"
)

// FS is the root of a proc file system. macOS has none: whatever the root is, its methods ask the kernel.
type FS string

// Root is where Linux systems have it.
const Root FS = "/proc"

// Stat asks for a process, also for a zombie. The error is ErrGone when there is no such process.
func (FS) Stat(pid int) (Stat, error) {
	if i, ok := libproc.BSDInfoOf(pid); ok {
		return statOf(i), nil
	}
	// Those with another effective user (set-user-ID) libproc does not tell of; everybody may ask sysctl(3).
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err == unix.EIO || err == unix.ESRCH || err == nil && int(k.Proc.P_pid) != pid {
		return Stat{}, ErrGone // nothing was returned
	}
	if err != nil {
		return Stat{}, os.NewSyscallError("sysctl kern.proc.pid", err)
	}
	comm, _, _ := strings.Cut(string(k.Proc.P_comm[:]), "\x00")
	return Stat{
		PID: pid, PPID: int(k.Eproc.Ppid), PGRP: int(k.Eproc.Pgid), TTYPgrp: int(k.Eproc.Tpgid), Comm: comm,
		State: stateOf(uint32(k.Proc.P_stat)), Threads: 1,
		Start: uint64(k.Proc.P_starttime.Sec)*second + uint64(k.Proc.P_starttime.Usec),
	}, nil
}

// Alive tells whether id is a process that has not ended (a zombie has).
func (fs FS) Alive(id ID) bool {
	if id.PID <= 0 {
		return false
	}
	s, err := fs.Stat(id.PID)
	return err == nil && s.Start == id.Start && !s.Ended()
}

// Command returns the command line of a process, its arguments separated by spaces, or its name in brackets when that cannot be had. It
// is cut after about 200 bytes.
func (fs FS) Command(pid int) string {
	_, args, _, err := arguments(pid)
	if err != nil || len(args) == 0 {
		return fs.Name(pid)
	}
	line := strings.Join(args, " ")
	return strings.ToValidUTF8(line[:min(len(line), 200)], "\uFFFD")
}

// Name returns the name of a process in brackets, "" when there is none.
func (fs FS) Name(pid int) string {
	s, err := fs.Stat(pid)
	if err != nil {
		return ""
	}
	return "[" + strings.ToValidUTF8(s.Comm, "\uFFFD") + "]"
}

// PIDs lists all processes.
func (FS) PIDs() ([]int, error) { return libproc.All() }

func arguments(pid int) (path string, args, env []string, err error) {
	b, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil {
		return "", nil, nil, os.NewSyscallError("sysctl kern.procargs2", err)
	}
	return libproc.ParseArgs(b)
}

// Marked lists the living processes, but the calling one, whose environment names the run of supervisor, as far as the caller may read it: its
// own, and all for root, but for programs that the system protects.
func (fs FS) Marked(supervisor ID) ([]ID, error) {
	pids, err := fs.PIDs()
	if err != nil {
		return nil, err
	}
	var ids []ID
	for _, pid := range pids {
		if pid == os.Getpid() {
			continue
		}
		before, err := fs.Stat(pid)
		if err != nil || before.Ended() || !fs.marked(pid, Marker(supervisor)) {
			continue
		}
		if after, err := fs.Stat(pid); err == nil && after.ID() == before.ID() {
			ids = append(ids, after.ID())
		}
	}
	return ids, nil
}

func (FS) marked(pid int, marker string) bool {
	_, _, env, err := arguments(pid)
	return err == nil && isMarked([]byte(strings.Join(env, "\x00")), marker)
}

// KillMarked sends SIGKILL once to each process that Marked lists, and tells how many there were.
func (fs FS) KillMarked(supervisor ID) (int, error) {
	ids, err := fs.Marked(supervisor)
	for _, id := range ids {
		if !fs.Alive(id) {
			continue
		}
		if e := unix.Kill(id.PID, unix.SIGKILL); e != nil && e != syscall.ESRCH && err == nil {
			err = e
		}
	}
	return len(ids), err
}

// Self is the identity of the calling process.
func Self() ID {
	s, err := Root.Stat(os.Getpid())
	if err != nil {
		return ID{PID: os.Getpid()}
	}
	return s.ID()
}

// Now is the time in the unit of start times.
func Now() uint64 { return uint64(time.Now().UnixMicro()) }

// LimitedCPU is not known: the time of a zombie that RLIMIT_CPU is compared with (p_rlim_cpu) is told to nobody.
func (fs FS) LimitedCPU(int) (cpu time.Duration, ok bool) { return 0, false }
