package supervise

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"mlrun/runtime/catch"
)

// Signals are the signals of the calling process that a foreground run passes on.
type Signals struct {
	C     chan os.Signal
	ready <-chan struct{}

	caught []syscall.Signal
}

// forwarded are the signals that are passed on to the payload's group.
var forwarded = []syscall.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTERM,
	unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH,
}

// CatchSignals takes over the signals to pass on, from now to the end of the process. One that the caller ignores (nohup, a
// shell's background job) stays ignored, here and in the payload. Call it once.
func CatchSignals() *Signals {
	s := &Signals{C: make(chan os.Signal, 64)}
	for _, sig := range forwarded {
		if !signal.Ignored(sig) {
			s.caught = append(s.caught, sig)
		}
	}
	ready, err := catch.Signals(s.caught, s.C)
	if err != nil {
		panic(err) // called twice
	}
	s.ready = ready // no payload starts before
	return s
}

// caughtAll tells whether the signals are caught already.
func (s *Signals) caughtAll() bool {
	if s == nil {
		return true
	}
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// Default gives a signal that was caught its default action back.
func (s *Signals) Default(sig syscall.Signal) { _ = catch.Default(sig) }
