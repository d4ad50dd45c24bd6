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
// has none. It is cut after about 200 bytes. It waits for a process that changes its address space; Name does not.
func (fs FS) Command(pid int) string {
	var buf [256]byte
	b, err := fs.ReadFile(pid, "cmdline", buf[:])
	b = bytes.TrimRight(b, "\x00")
	if err == nil && len(b) > 0 {
		return strings.ToValidUTF8(string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})), "\uFFFD")
	}
	return fs.Name(pid)
}

// Name returns the name of a process in brackets, "" when there is none.
func (fs FS) Name(pid int) string {
	s, err := fs.Stat(pid)
	if err != nil {
		return ""
	}
	return "[" + strings.ToValidUTF8(s.Comm, "\uFFFD") + "]"
}

// PIDs lists all processes, in the order of the directory.
func (fs FS) PIDs() ([]int, error) {
	return numbers(string(fs))
}

// Threads lists the threads of a process; none when it is gone.
func (fs FS) Threads(pid int) []int {
	tids, _ := numbers(fs.path(pid, "task"))
	return tids
}

// numbers lists the entries of a directory that are numbers.
func numbers(dir string) ([]int, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	var list []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n > 0 {
			list = append(list, n)
		}
	}
	return list, err
}

// threadRuns tells whether a process has a thread that is neither stopped nor ended.
func (fs FS) threadRuns(pid int) bool {
	var buf [1024]byte
	for _, tid := range fs.Threads(pid) {
		b, err := fs.ReadFile(pid, "task/"+strconv.Itoa(tid)+"/stat", buf[:])
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

// Now is the time since boot in the unit of start times: 1/100 s, whatever CONFIG_HZ is (USER_HZ).
func Now() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 1<<64 - 1
	}
	return uint64(t.Sec)*100 + uint64(t.Nsec)/1e7
}

// LastPID is the pid that was allocated last in this pid namespace, read from a file that stays open: a quarter of the cost of opening it
// each time. It is not safe for concurrent use. Close it.
type LastPID struct {
	fs   FS
	fd   int
	load bool // it is /proc/loadavg: ns_last_pid needs CONFIG_CHECKPOINT_RESTORE
	open bool
}

// LastPID returns what Read reads.
func (fs FS) LastPID() *LastPID { return &LastPID{fs: fs} }

// Read reads it. ok is false when it cannot be known.
func (l *LastPID) Read() (pid int, ok bool) {
	if !l.open {
		var err error
		if l.fd, err = open(string(l.fs) + "/sys/kernel/ns_last_pid"); err != nil {
			l.load = true
			if l.fd, err = open(string(l.fs) + "/loadavg"); err != nil {
				return 0, false
			}
		}
		l.open = true
	}
	var buf [128]byte
	n, err := unix.Pread(l.fd, buf[:], 0)
	for err == unix.EINTR {
		n, err = unix.Pread(l.fd, buf[:], 0)
	}
	if err != nil || n <= 0 {
		return 0, false
	}
	b := buf[:n]
	if l.load {
		b = bytes.TrimSpace(b)
		i := bytes.LastIndexByte(b, ' ')
		if i < 0 {
			return 0, false
		}
		b = b[i+1:]
	}
	return atoi(b), true
}

// Close gives the descriptor back.
func (l *LastPID) Close() {
	if l.open {
		unix.Close(l.fd)
		l.open = false
	}
}

// ProcessOf is the process that a thread is one of (proc_pid_status(5)).
func (fs FS) ProcessOf(thread int) (pid int, err error) {
	var buf [1024]byte
	b, err := fs.ReadFile(thread, "status", buf[:])
	if err != nil {
		return 0, err
	}
	if n := lineOf(b, "\nTgid:"); n > 0 {
		return int(n), nil
	}
	return thread, nil
}

// Resident is the memory that a process has resident, in bytes (proc_pid_statm(5)); false: it has ended.
func (fs FS) Resident(pid int) (int64, bool) {
	var buf [128]byte
	b, err := fs.ReadFile(pid, "statm", buf[:])
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 || atoi(fields[0]) == 0 {
		return 0, false // it is a zombie
	}
	return int64(atoi(fields[1])) * int64(os.Getpagesize()), true
}

// lineOf is the number behind a name at the beginning of a line, 0 without one.
func lineOf(b []byte, name string) int64 {
	_, rest, _ := bytes.Cut(b, []byte(name))
	return int64(atoi(bytes.TrimLeft(rest, " \t")))
}
