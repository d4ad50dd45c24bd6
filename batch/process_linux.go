package batch

import (
	"syscall"
	"time"

	"mlrun/proc"
)

// program is this one, also when its file has been replaced meanwhile (proc_pid_exe(5)).
func program() (string, error) { return "/proc/self/exe", nil }

// attributes of a worker: a process group of its own, since Ctrl-C is for the batch to see; and it ends with the batch, whatever ends that.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// identify returns who has a pid.
func identify(pid int) proc.ID {
	st, _ := proc.Root.Stat(pid) // a child that was not waited for keeps it
	return st.ID()
}

// sweep kills what is left of the run of a supervisor that is gone, and returns when nothing is. Mostly its reaper is faster; it does not
// know when that has been killed along with it.
func sweep(supervisor proc.ID) {
	for end := time.Now().Add(sweepTime); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if n, err := proc.Root.KillMarked(supervisor); n == 0 || err != nil {
			return
		}
	}
}
