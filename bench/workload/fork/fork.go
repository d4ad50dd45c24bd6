//go:build linux

// Package fork makes processes by fork alone, thousands a second. What a child does is a Job: after the fork only one thread of the Go
// runtime is left, so a child runs code that needs no stack check, no allocation and no lock (nosplit, raw system calls), and
// never returns.
package fork

import (
	"runtime/debug"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"mlrun/bench/workload/note"
)

// Job is what a child does, in this order. The zero Job exits at once.
type Job struct {
	Session bool       // becomes the leader of a new session, and of a new process group
	Touch   []byte     // writes one byte to each page
	Note    *note.Note // then counts itself there, and the bytes that it touched
	Chain   int        // then forks a child that does the same with the next len(Touch) bytes, so many times
	Hold    int64      // then sleeps, in nanoseconds, and exits
}

// Forever is a Hold that is longer than any run.
const Forever = 1 << 62

// Prepare makes the program fit to fork: no garbage collection, which could stop a child on its way, and no signal handler of the Go
// runtime for SIGTERM, which needs the other threads.
func Prepare() error {
	debug.SetGCPercent(-1)
	var action [4]uint64 // struct sigaction of the kernel: SIG_DFL, no flags, no mask
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGTERM), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Start forks a process that does the job.
func (j *Job) Start() (pid int, err error) {
	p, errno := start(j)
	if errno != 0 {
		return 0, errno
	}
	return int(p), nil
}

//go:noinline
//go:norace
func start(j *Job) (pid uintptr, errno syscall.Errno) {
	pid, errno = clone()
	if pid == 0 && errno == 0 {
		j.run()
	}
	return pid, errno
}

//go:nosplit
//go:norace
func clone() (uintptr, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	return pid, errno
}

// run is the child. It does not return.
//
//go:nosplit
//go:norace
func (j *Job) run() {
	at, size := unsafe.Pointer(unsafe.SliceData(j.Touch)), len(j.Touch)
	for left := j.Chain; ; left-- {
		if j.Session {
			syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
		}
		for i := 0; i < size; i += note.Small {
			*(*byte)(unsafe.Add(at, i)) = 1
		}
		if j.Note != nil {
			j.Note.Bytes.Add(int64(size))
			j.Note.Last.Store(now())
			j.Note.Count.Add(1)
		}
		if left <= 0 {
			break
		}
		if pid, errno := clone(); pid != 0 || errno != 0 {
			break
		}
		at = unsafe.Add(at, size)
	}
	sleep(j.Hold)
	exit(0)
}

// now is the time of note.Now, which needs a stack that can grow.
//
//go:nosplit
//go:norace
func now() int64 {
	var ts [2]int64 // struct timespec of a 64-bit kernel
	syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&ts)), 0)
	return ts[0]*1e9 + ts[1]
}

//go:nosplit
//go:norace
func sleep(d int64) {
	ts := [2]int64{d / 1e9, d % 1e9}
	p := uintptr(unsafe.Pointer(&ts)) // also where the rest goes when a signal interrupts it
	for errno := syscall.Errno(unix.EINTR); d > 0 && errno == unix.EINTR; {
		_, _, errno = syscall.RawSyscall(unix.SYS_NANOSLEEP, p, p, 0)
	}
}

//go:nosplit
//go:norace
func exit(code uintptr) {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, code, 0, 0)
	}
}
