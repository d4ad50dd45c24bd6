package proc

import (
	"os"

	"golang.org/x/sys/unix"
)

// Marked lists the living processes, but the calling one, whose environment names the run of supervisor, as far as the caller may read it
// (proc_pid_environ(5)): its own, and all for root. It reads the environments of all processes.
func (fs FS) Marked(supervisor ID) ([]ID, error) {
	pids, err := fs.PIDs()
	if err != nil {
		return nil, err
	}
	marker := Marker(supervisor)
	var ids []ID
	for _, pid := range pids {
		if pid == os.Getpid() {
			continue
		}
		before, err := fs.Stat(pid)
		if err != nil || before.Ended() {
			continue
		}
		if !fs.marked(pid, marker) {
			continue
		}
		if after, err := fs.Stat(pid); err == nil && after.ID() == before.ID() {
			ids = append(ids, after.ID())
		}
	}
	return ids, nil
}

// marked tells whether the environment of a process names a run.
func (fs FS) marked(pid int, marker string) bool {
	environ, err := os.ReadFile(fs.path(pid, "environ"))
	return err == nil && isMarked(environ, marker)
}

// KillMarked sends SIGKILL once to each process that Marked lists, and tells how many there were.
func (fs FS) KillMarked(supervisor ID) (int, error) {
	ids, err := fs.Marked(supervisor)
	for _, id := range ids {
		h, e := OpenID(fs, id)
		if e != nil {
			continue // gone
		}
		if e := h.Signal(unix.SIGKILL); e != nil && e != ErrGone && err == nil {
			err = e
		}
		h.Close()
	}
	return len(ids), err
}
