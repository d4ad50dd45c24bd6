//go:build !linux

package batch

import (
	"os"
	"syscall"

	"mlrun/proc"
)

// program is this one.
func program() (string, error) { return os.Executable() }

// attributes of a worker: a process group of its own, since Ctrl-C is for the batch to see. That the batch has ended it learns by
// the end of its pipe.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func identify(pid int) proc.ID { return proc.ID{PID: pid} }

// sweep does nothing: nothing can be started here that could be left.
func sweep(proc.ID) {}
