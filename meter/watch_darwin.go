package meter

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Watch makes a goroutine wait for a time or for a word of another one. macOS tells an ordinary user of no event that memory grows or that a process
// was given a CPU: samples are taken at deadlines.
type Watch struct{ kq int }

// Counters are the events of a process tree: none.
type Counters struct{}

var errNoEvents = errors.New("perf events: macOS has none that a user may ask for")

// ProbeEvents tells why there are no events on this machine for the calling user.
func ProbeEvents() error { return errNoEvents }

// NewWatch prepares a watch. Close it.
func NewWatch() (*Watch, error) {
	kq, err := unix.Kqueue()
	if err != nil {
		return nil, fmt.Errorf("kqueue: %w", err)
	}
	unix.CloseOnExec(kq)
	w := &Watch{kq}
	if err := w.user(unix.EV_ADD|unix.EV_CLEAR, 0); err != nil {
		unix.Close(kq)
		return nil, fmt.Errorf("kevent: %w", err)
	}
	return w, nil
}

// user changes the event that Poke makes.
func (w *Watch) user(flags int, notes uint32) error {
	var e unix.Kevent_t
	unix.SetKevent(&e, 0, unix.EVFILT_USER, flags)
	e.Fflags = notes
	_, err := unix.Kevent(w.kq, []unix.Kevent_t{e}, nil, nil)
	return err
}

// Close gives everything back.
func (w *Watch) Close() { unix.Close(w.kq) }

// Poke ends a Wait, or the next one. It may be called from every goroutine, until Close.
func (w *Watch) Poke() { _ = w.user(0, unix.NOTE_TRIGGER) }

// Wait blocks for at most d, or until it is poked, and says so. It may also end early without a cause.
func (w *Watch) Wait(d time.Duration, _ Cause) Cause {
	var events [1]unix.Kevent_t
	ts := unix.NsecToTimespec(int64(max(d, 0)))
	if n, err := unix.Kevent(w.kq, nil, events[:], &ts); err != nil || n < 1 {
		return 0 // EINTR, too: the caller looks what is due
	}
	return Poked
}

// Brief is up to when a wait keeps a processor of the Go runtime: never.
func (w *Watch) Brief() time.Duration { return 0 }

// Sleep tells whether no watched process has had a CPU since the call before: that is not known.
func (w *Watch) Sleep() bool { return false }

// Used is the CPU time of all watched processes in nanoseconds: none is watched.
func (w *Watch) Used() uint64 { return 0 }

// Prepare tells why there are no events.
func (w *Watch) Prepare([]int) (*Counters, error) { return nil, errNoEvents }

// Attach does nothing.
func (w *Watch) Attach(*Counters) {}

// Release does nothing.
func (w *Watch) Release(int) {}

// Close does nothing.
func (*Counters) Close() {}
