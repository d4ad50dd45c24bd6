//go:build !linux || !amd64

package catch

import (
	"os"
	"os/signal"
	"syscall"
)

// install leaves it to os/signal.
func install([]syscall.Signal, chan<- os.Signal) bool { return false }

// Default gives sig its default action back.
func Default(sig syscall.Signal) error {
	signal.Reset(sig)
	return nil
}
