//go:build darwin || portable

package proc

import "golang.org/x/sys/unix"

// Group is the set of processes of one run. Its methods may be called from several goroutines.
type Group = lineage

// Frozen is a set of processes that Freeze stopped.
type Frozen = halted

// Halted is a set of processes that Halt told to stop.
type Halted = halted

// Handle is a process that is signalled only while its start time is right. Between that look and the signal its number could become somebody
// else's only if all others were given out meanwhile: macOS has no pidfd.
type Handle struct {
	ID
	fs FS
	kq int // kqueue(2) that tells of its end; -1: there is none
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
