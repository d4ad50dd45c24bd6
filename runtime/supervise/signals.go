package supervise

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Signals are the signals of the calling process that a foreground run passes on.
type Signals struct {
	C     chan os.Signal
	ready chan struct{}
}

// forwarded are the signals that are passed on to the payload's group.
var forwarded = []syscall.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTERM,
	unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH,
}

// CatchSignals takes over the signals to pass on, from now to the end of the process. One that the caller ignores (nohup, a
// shell's background job) stays ignored, here and in the payload. The Go runtime takes about half a millisecond for it, so it
// is done beside whatever the caller does next; no payload starts before it is done.
func CatchSignals() *Signals {
	s := &Signals{C: make(chan os.Signal, 64), ready: make(chan struct{})}
	go func() {
		defer close(s.ready)
		var wanted []os.Signal
		for _, sig := range forwarded {
			if !signal.Ignored(sig) {
				wanted = append(wanted, sig)
			}
		}
		signal.Notify(s.C, wanted...)
	}()
	return s
}
