package proc

import (
	"golang.org/x/sys/unix"
)

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
