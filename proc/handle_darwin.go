package proc

import (
	"golang.org/x/sys/unix"
)

// Handle is a process that is signalled only while its start time is right. Between that look and the signal its number could become somebody
// else's only if all others were given out meanwhile: macOS has no pidfd.
type Handle struct {
	ID
	fs FS
	kq int // kqueue(2) that tells of its end; -1: out of descriptors
}

// OpenHandle takes hold of the process that has pid now. The error is ErrGone when there is none.
func OpenHandle(fs FS, pid int) (*Handle, error) {
	s, err := fs.Stat(pid)
	if err != nil {
		return nil, err
	}
	h := &Handle{ID: s.ID(), fs: fs, kq: -1}
	if kq, err := newQueue(); err == nil {
		h.kq = kq
		// It may have ended before, or end before this: then the queue is made readable in another way.
		if addEvent(kq, pid, unix.EVFILT_PROC, unix.NOTE_EXIT) != nil || !fs.Alive(h.ID) {
			_ = addEvent(kq, 0, unix.EVFILT_USER, unix.NOTE_TRIGGER)
		}
	}
	return h, nil
}

// OpenID takes hold of the process id, and only of that one.
func OpenID(fs FS, id ID) (*Handle, error) {
	h, err := OpenHandle(fs, id.PID)
	if err != nil {
		return nil, err
	}
	if h.Start != id.Start {
		h.Close()
		return nil, ErrGone
	}
	return h, nil
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

// FreeMemory does nothing: macOS has no call for it.
func (h *Handle) FreeMemory() {}

// FD is a descriptor that becomes readable when the process ends, -1 if there is none.
func (h *Handle) FD() int { return h.kq }

// Close gives the descriptor back.
func (h *Handle) Close() {
	if h.kq >= 0 {
		unix.Close(h.kq)
		h.kq = -1
	}
}

// newQueue is kqueue(2), closed on exec.
func newQueue() (int, error) {
	kq, err := unix.Kqueue()
	if err == nil {
		unix.CloseOnExec(kq)
	}
	return kq, err
}

// addEvent makes a queue tell of an event.
func addEvent(kq, ident, filter int, notes uint32) error {
	var e unix.Kevent_t
	unix.SetKevent(&e, ident, filter, unix.EV_ADD|unix.EV_CLEAR)
	e.Fflags = notes
	_, err := unix.Kevent(kq, []unix.Kevent_t{e}, nil, nil)
	return err
}
