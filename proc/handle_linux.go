//go:build !portable

package proc

import (
	"golang.org/x/sys/unix"
)

// Handle is a process that can be signalled without the danger of hitting another one that got its pid.
type Handle struct {
	ID
	fs FS
	fd int // pidfd; -1 where there is none (Linux before 5.3, or out of descriptors)
}

// OpenHandle takes hold of the process that has pid now. The error is ErrGone when there is none, or when pid is a
// thread and not a process.
func OpenHandle(fs FS, pid int) (*Handle, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH || err == unix.EINVAL || err == unix.ENOENT {
		return nil, ErrGone
	}
	if err != nil {
		fd = -1
	}
	// The pidfd was opened first: if it and the start time were of different processes, the pid would have been
	// freed in between, and then the process of the pidfd is gone, and signals to it too.
	s, err := fs.Stat(pid)
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, err
	}
	return &Handle{ID: s.ID(), fs: fs, fd: fd}, nil
}

// Signal sends sig; 0 only checks. The error is ErrGone when the process is not there any more, and the errno (EPERM)
// otherwise.
func (h *Handle) Signal(sig unix.Signal) error {
	if h.fd < 0 {
		return h.signalNumber(sig)
	}
	if err := unix.PidfdSendSignal(h.fd, sig, nil, 0); err != unix.ESRCH {
		return err
	}
	return ErrGone
}

// FreeMemory gives the memory of a process back that was sent SIGKILL, and refuses it more, without waiting for the process to get
// there: a system call such as read(2) or madvise(2) goes on with what it does until it ends, SIGKILL or not. Best effort:
// process_mrelease(2), Linux 5.15.
func (h *Handle) FreeMemory() {
	if h.fd >= 0 {
		_, _, _ = unix.Syscall(unix.SYS_PROCESS_MRELEASE, uintptr(h.fd), 0, 0)
	}
}

// FD is the pidfd, -1 if there is none. It becomes readable when the process ends.
func (h *Handle) FD() int { return h.fd }

// Close gives the descriptor back.
func (h *Handle) Close() {
	if h.fd >= 0 {
		unix.Close(h.fd)
		h.fd = -1
	}
}
