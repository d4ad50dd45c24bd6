//go:build !linux || portable

package batch

import "syscall"

// attributes of a worker: a process group of its own, since Ctrl-C is for the batch to see. That the batch has ended it learns by
// the end of its pipe.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
