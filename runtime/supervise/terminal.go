package supervise

import (
	"os"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// terminal is the controlling terminal of a foreground run. The payload has a process group of its own, and to read from
// the terminal, and to get Ctrl-C and Ctrl-Z, that group must be the foreground one. mlrun gives it away and takes it
// back as a shell does for a job, and only what it has itself.
type terminal struct {
	fd   int // -1: none
	own  int // process group of mlrun
	lent int // process group that has it, 0 if mlrun did not give it away
}

// openTerminal finds the controlling terminal, if one of the descriptors 0 to 2 is it: under nohup or with everything
// redirected the user has taken it away.
func openTerminal() *terminal {
	t := &terminal{fd: -1, own: unix.Getpgrp()}
	using := false
	for fd := 0; fd < 3; fd++ {
		if _, err := unix.IoctlGetTermios(fd, getTermios); err == nil {
			using = true
		}
	}
	if !using {
		return t
	}
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return t
	}
	t.fd = fd
	return t
}

func (t *terminal) exists() bool { return t.fd >= 0 }

// foreground is the process group that has the terminal, 0 if unknown.
func (t *terminal) foreground() int {
	if t.fd < 0 {
		return 0
	}
	pgrp, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	if err != nil {
		return 0
	}
	return pgrp
}

// owned tells whether mlrun's own process group has the terminal.
func (t *terminal) owned() bool { return t.fd >= 0 && t.foreground() == t.own }

// inPipeline tells whether standard input or output is a pipe or a socket: others in the job may want the terminal, so it is
// not given away unless the payload stops for the want of it.
func inPipeline() bool {
	for fd := 0; fd < 2; fd++ {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil {
			continue
		}
		if f := st.Mode & unix.S_IFMT; f == unix.S_IFIFO || f == unix.S_IFSOCK {
			return true
		}
	}
	return false
}

// set makes pgrp the foreground process group.
func (t *terminal) set(pgrp int) error {
	return withoutTTOU(func() error { return unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, pgrp) })
}

// lend gives the terminal to the payload's group, if mlrun has it.
func (t *terminal) lend(pgrp int) bool {
	if !t.owned() || t.set(pgrp) != nil {
		return false
	}
	t.lent = pgrp
	return true
}

// takeBack takes the terminal from the payload's group, if that still has it or nobody does.
func (t *terminal) takeBack() {
	if t.lent == 0 {
		return
	}
	// A shell that ran as payload may have had groups of its own in the foreground, which are gone now.
	if now := t.foreground(); now == t.lent || now > 0 && unix.Kill(-now, 0) == unix.ESRCH {
		_ = t.set(t.own)
	}
	t.lent = 0
}

func (t *terminal) close() {
	if t.fd >= 0 {
		unix.Close(t.fd)
		t.fd = -1
	}
}

// orphaned tells whether the own process group is an orphaned one (POSIX 3.264): no parent of a member is in the same
// session and another group. Nobody would continue it if it stopped.
func orphaned() bool {
	self, err := proc.Root.Stat(os.Getpid())
	if err != nil {
		return true
	}
	for s := self; s.PPID > 1; {
		parent, err := proc.Root.Stat(s.PPID)
		if err != nil || parent.Session != self.Session {
			return true
		}
		if parent.PGRP != self.PGRP {
			return false
		}
		s = parent
	}
	return true
}
