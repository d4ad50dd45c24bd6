package proc

import (
	"os"

	"golang.org/x/sys/unix"
)

// Marked lists the living processes, but the calling one, whose environment names the run of supervisor, as far as the caller may read it
// (proc_pid_environ(5)): its own, and all for root; and those with its Seal. It reads both of all processes.
func (fs FS) Marked(supervisor ID) ([]ID, error) {
	pids, err := fs.PIDs()
	if err != nil {
		return nil, err
	}
	marker, seal := Marker(supervisor), Seal(supervisor)
	var ids []ID
	for _, pid := range pids {
		if pid == os.Getpid() {
			continue
		}
		before, err := fs.Stat(pid)
		if err != nil || before.Ended() {
			continue
		}
		if !fs.marked(pid, marker, seal) {
			continue
		}
		if after, err := fs.Stat(pid); err == nil && after.ID() == before.ID() {
			ids = append(ids, after.ID())
		}
	}
	return ids, nil
}

// marked tells whether the environment of a process names a run, or its limits have the seal of one.
func (fs FS) marked(pid int, marker string, seal uint64) bool {
	if environ, err := os.ReadFile(fs.path(pid, "environ")); err == nil && isMarked(environ, marker) {
		return true
	}
	limits, err := os.ReadFile(fs.path(pid, "limits"))
	return err == nil && isSealed(limits, seal)
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
