package userns

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Open opens the namespaces that process pid is in, as many as there are levels, and notes in these by which descriptors. The process must
// be one that the caller may trace (ptrace(2), PTRACE_MODE_READ), and wait, or be dead and not waited for. Close closes all of them.
func Open(pid int, levels []Level) (close func(), err error) {
	var files []*os.File
	close = func() {
		for _, f := range files {
			f.Close()
		}
	}
	if len(levels) == 0 {
		return close, nil
	}
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
	if err != nil {
		return nil, fmt.Errorf("user namespace: %w", err)
	}
	for i := len(levels) - 1; ; i-- {
		files = append(files, f)
		var st unix.Stat_t
		if err = unix.Fstat(int(f.Fd()), &st); err != nil {
			break
		}
		levels[i].FD, levels[i].Inode = int(f.Fd()), st.Ino
		if i == 0 {
			return close, nil
		}
		var parent int
		if parent, err = unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_PARENT); err != nil { // Linux 4.9, ioctl_nsfs(2)
			break
		}
		f = os.NewFile(uintptr(parent), "user namespace")
		unix.CloseOnExec(parent)
	}
	close()
	return nil, fmt.Errorf("user namespace around that of process %d: %w", pid, err)
}

// borrow opens the namespace that another process has a descriptor of.
func borrow(pid int, l Level) (*os.File, error) {
	// Opening the link opens what the descriptor is of (proc(5)), which need not be what it was.
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/fd/"+strconv.Itoa(l.FD), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE) // Linux 4.11
	if err == nil && kind != unix.CLONE_NEWUSER {
		err = unix.EINVAL
	}
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err == nil && st.Ino != l.Inode {
		err = unix.ESTALE
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "user namespace"), nil
}

// alive tells whether there is a process, or a zombie, that has a pid.
func alive(pid int) bool { return unix.Kill(pid, 0) != unix.ESRCH }
