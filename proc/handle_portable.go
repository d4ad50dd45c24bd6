//go:build linux && portable

package proc

import "golang.org/x/sys/unix"

// Handle is a process that is signalled only while its start time is right, as on macOS.
type Handle struct {
	ID
	fs FS
}

// OpenHandle takes hold of the process that has pid now. The error is ErrGone when there is none.
func OpenHandle(fs FS, pid int) (*Handle, error) {
	s, err := fs.Stat(pid)
	if err != nil {
		return nil, err
	}
	return &Handle{ID: s.ID(), fs: fs}, nil
}

// OpenID takes hold of the process id, and only of that one.
func OpenID(fs FS, id ID) (*Handle, error) {
	h, err := OpenHandle(fs, id.PID)
	if err == nil && h.Start != id.Start {
		return nil, ErrGone
	}
	return h, err
}

// Signal sends sig; 0 only checks. The error is ErrGone when the process is not there any more, and the errno (EPERM) otherwise.
func (h *Handle) Signal(sig unix.Signal) error {
	if !h.fs.Alive(h.ID) {
		return ErrGone
	}
	if err := unix.Kill(h.PID, sig); err != unix.ESRCH {
		return err
	}
	return ErrGone
}

// FreeMemory does nothing.
func (h *Handle) FreeMemory() {}

// FD is -1: nothing tells of the end of the process.
func (h *Handle) FD() int { return -1 }

// Close does nothing.
func (h *Handle) Close() {}
