// Package rendezvous is how processes that know nothing of each other but a directory meet there: by locks on bytes of a file, which tell that somebody lives, and
// by pipes with a name, by which one wakes another.
//
// # What it does
//
// The locks are those of fcntl(2): the kernel gives them back when the process ends, however it does, and tells others who has one; a fork does not have them, a
// program that is executed does. Closing any descriptor for the file takes all of them along, so a process must have one only. A pipe that is waited for costs no thread: the Go
// runtime polls.
//
// # What it does not
//
// It does not know what the files are for, nor who may use them: that the directory is nobody else's is the caller's business.
package rendezvous

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Retry makes a system call until no signal interrupts it (EINTR).
func Retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// Monotonic is the monotonic clock (clock_gettime(2)), which is the same for all processes, in nanoseconds.
func Monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano()
}

func lockOf(kind int16, from, n int64) *unix.Flock_t {
	return &unix.Flock_t{Type: kind, Whence: 0, Start: from, Len: n}
}

func set(fd int, kind int16, at int64) error {
	_, err := Retry(func() (int, error) { return 0, unix.FcntlFlock(uintptr(fd), unix.F_SETLK, lockOf(kind, at, 1)) })
	return err
}

// Lock takes the lock of a byte; false when another process has it.
func Lock(fd int, at int64) (bool, error) {
	err := set(fd, unix.F_WRLCK, at)
	if err == unix.EAGAIN || err == unix.EACCES {
		return false, nil
	}
	return err == nil, err
}

// Pauses are between two tries to get a lock that is held for microseconds, mostly. Who has waited for long is one of many, whose tries would take the processors from who has
// the lock: that one's pauses are a tenth of the time so far.
const (
	firstPause   = 20 * time.Microsecond
	longestPause = 2 * time.Millisecond
	crowdShare   = 10
)

// LockWithin is Lock that waits until the lock was given back, up to patience.
func LockWithin(fd int, at int64, patience time.Duration) (bool, error) {
	var begin time.Time
	for pause := firstPause; ; pause *= 2 {
		if ok, err := Lock(fd, at); ok || err != nil {
			return ok, err
		}
		if begin.IsZero() {
			begin = time.Now()
		}
		waited := time.Since(begin)
		if waited >= patience {
			return false, nil
		}
		pause = min(pause, max(longestPause, waited/crowdShare))
		time.Sleep(min(pause, patience-waited))
	}
}

// Unlock gives the lock of a byte back.
func Unlock(fd int, at int64) { _ = set(fd, unix.F_UNLCK, at) }

// Holder tells whether another process has the lock of one of n bytes, and which; 0: one of another pid namespace. With an error nothing is known.
func Holder(fd int, from, n int64) (held bool, pid int, err error) {
	l := lockOf(unix.F_WRLCK, from, n)
	_, err = Retry(func() (int, error) { return 0, unix.FcntlFlock(uintptr(fd), unix.F_GETLK, l) })
	return err == nil && l.Type != unix.F_UNLCK, max(int(l.Pid), 0), err
}

// errNoPipe is what another file is in the place of a pipe, or on a file system whose pipes cannot be waited for.
var errNoPipe = errors.New("no pipe that can be waited for")

// Pipe opens the pipe of that name, which is made if it is not there. Reads end when Ring was called, or when it is closed.
func Pipe(path string) (*os.File, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, &fs.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	// For writing, too: else its end would be seen whenever nobody else has it open (fifo(7)).
	p, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if info, err := p.Stat(); err != nil || info.Mode().Type() != fs.ModeNamedPipe || p.SetReadDeadline(time.Time{}) != nil {
		p.Close()
		return nil, fmt.Errorf("%s: %w", path, errNoPipe)
	}
	return p, nil
}

// Ring wakes who reads from the pipe of that name. It does not matter if nobody does.
func Ring(path string) {
	fd, err := Retry(func() (int, error) {
		return unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	})
	if err != nil {
		return
	}
	_, _ = unix.Write(fd, []byte{0})
	unix.Close(fd)
}
