//go:build linux || darwin

package proc

import "golang.org/x/sys/unix"

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

// signalNumber sends a signal to the number of the process, right after a look whether that is still its own.
func (h *Handle) signalNumber(sig unix.Signal) error {
	if !h.fs.Alive(h.ID) {
		return ErrGone
	}
	if err := unix.Kill(h.PID, sig); err != unix.ESRCH {
		return err
	}
	return ErrGone
}
