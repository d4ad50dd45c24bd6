package proc

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FS is the root of a proc file system.
type FS string

// Root is where Linux systems have it.
const Root FS = "/proc"

// path avoids fmt: it is on the sampling path.
func (fs FS) path(pid int, name string) string {
	return string(fs) + "/" + strconv.Itoa(pid) + "/" + name
}

// ReadFile reads a small file of a process into buf, with one open and one read, and returns the part that was filled.
func (fs FS) ReadFile(pid int, name string, buf []byte) ([]byte, error) {
	return readInto(fs.path(pid, name), buf)
}

func readInto(path string, buf []byte) ([]byte, error) {
	fd, err := open(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n := 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	return buf[:n], nil
}

func open(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// Stat reads /proc/PID/stat. The error is ErrGone when there is no such process.
func (fs FS) Stat(pid int) (Stat, error) {
	var buf [1024]byte
	b, err := fs.ReadFile(pid, "stat", buf[:])
	if err == unix.ENOENT || err == unix.ESRCH || err == nil && len(b) == 0 {
		return Stat{}, ErrGone
	}
	if err != nil {
		return Stat{}, &os.PathError{Op: "read", Path: fs.path(pid, "stat"), Err: err}
	}
	return ParseStat(b)
}

// Alive tells whether id is a process that has not ended (a zombie has).
func (fs FS) Alive(id ID) bool {
	if id.PID <= 0 {
		return false
	}
	s, err := fs.Stat(id.PID)
	return err == nil && s.Start == id.Start && !s.Ended()
}

// Command returns the command line of a process, its arguments separated by spaces, or its name in brackets when it
// has none. It is cut after about 200 bytes.
func (fs FS) Command(pid int) string {
	var buf [256]byte
	b, err := fs.ReadFile(pid, "cmdline", buf[:])
	b = bytes.TrimRight(b, "\x00")
	if err == nil && len(b) > 0 {
		return strings.ToValidUTF8(string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})), "\uFFFD")
	}
	if s, err := fs.Stat(pid); err == nil {
		return "[" + strings.ToValidUTF8(s.Comm, "\uFFFD") + "]"
	}
	return ""
}

// PIDs lists all processes, in the order of the directory.
func (fs FS) PIDs() ([]int, error) {
	d, err := os.Open(string(fs))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// threadRuns tells whether a process has a thread that is neither stopped nor ended.
func (fs FS) threadRuns(pid int) bool {
	d, err := os.Open(fs.path(pid, "task"))
	if err != nil {
		return false
	}
	defer d.Close()
	tids, _ := d.Readdirnames(-1)
	var buf [1024]byte
	for _, tid := range tids {
		b, err := fs.ReadFile(pid, "task/"+tid+"/stat", buf[:])
		if err != nil {
			continue
		}
		if s, err := ParseStat(b); err == nil && !s.Stopped() && s.State != 'Z' && s.State != 'X' {
			return true
		}
	}
	return false
}

// Self is the identity of the calling process.
func Self() ID {
	s, err := Root.Stat(os.Getpid())
	if err != nil {
		return ID{PID: os.Getpid()}
	}
	return s.ID()
}

// lastPID reads the pid that was allocated last in this pid namespace. Both files are cheap; the first one needs
// CONFIG_CHECKPOINT_RESTORE. ok is false when neither is readable.
func (fs FS) lastPID() (pid int, ok bool) {
	var buf [128]byte
	if b, err := readInto(string(fs)+"/sys/kernel/ns_last_pid", buf[:]); err == nil && len(b) > 0 {
		return atoi(b), true
	}
	b, err := readInto(string(fs)+"/loadavg", buf[:])
	if err != nil {
		return 0, false
	}
	b = bytes.TrimSpace(b)
	i := bytes.LastIndexByte(b, ' ')
	if i < 0 {
		return 0, false
	}
	return atoi(b[i+1:]), true
}
