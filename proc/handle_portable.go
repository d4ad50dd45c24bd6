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

// Signal sends sig; 0 only checks. The error is ErrGone when the process is not there any more, and the errno (EPERM) otherwise.
func (h *Handle) Signal(sig unix.Signal) error { return h.signalNumber(sig) }

// FreeMemory does nothing: macOS has no call for it.
func (h *Handle) FreeMemory() {}
