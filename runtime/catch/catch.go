// Package catch hands the signals of the calling process on, where it can at a fraction of the price of os/signal.
//
// # What it does
//
// On Linux/amd64 Signals installs a handler of a few instructions that writes the number of the signal to a pipe (the self-pipe trick), whose
// other end is polled by the Go runtime. A signal is not lost while nobody reads, up to the size of the pipe. Elsewhere, and when there are
// no descriptors for a pipe, os/signal does the work.
//
// # Why not os/signal
//
// Each signal that signal.Notify enables is handed to a goroutine that is locked to a thread of its own and back
// (runtime.ensureSigM): two switches of threads for each of twelve signals, and one more thread that waits for signals. On a machine with two
// processors that is about 0.9 ms, as much as a bare start of a program, and an eighth of mlrun run /bin/true. gVisor installs handlers past
// the Go runtime in the same way (gvisor.dev/gvisor/pkg/sighandling).
//
// # What it does not
//
// It is for signals that nobody asks os/signal for: that package and this one do not know of each other.
package catch

import (
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// taken tells that Signals was called.
var taken atomic.Bool

// Signals sends the signals in list to c from when ready is closed on, whatever was to happen at them; one that finds c full is dropped. It
// can be called once. Programs that this process executes get the default actions (execve(2)).
func Signals(list []syscall.Signal, c chan<- os.Signal) (ready <-chan struct{}, err error) {
	if taken.Swap(true) {
		return nil, errors.New("signals are caught already")
	}
	done := make(chan struct{})
	if install(list, c) {
		close(done)
		return done, nil
	}
	// It takes about half a millisecond, so it is done beside whatever the caller does next.
	go func() {
		defer close(done)
		for _, sig := range list {
			signal.Notify(c, sig)
		}
	}()
	return done, nil
}
