//go:build !portable

package batch

import "syscall"

// attributes of a worker: a process group of its own, since Ctrl-C is for the batch to see; and it ends with the batch, whatever ends that.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
