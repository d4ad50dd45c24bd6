//go:build darwin || portable

package launch

import (
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// The names that this program is started by to be one of the two processes beside the supervisor.
const (
	stageName = "mlrun: created"
	guardName = "mlrun: guard"
)

// A program that links this package is one of these processes when it was started by its name: it never comes to its main. So whoever uses the package
// need not know that it starts its own program again.
func init() {
	if len(os.Args) != 2 || os.Args[0] != stageName && os.Args[0] != guardName {
		return
	}
	fd, err := strconv.Atoi(os.Args[1])
	if err != nil || fd < 3 {
		return
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "mlrun")
	if os.Args[0] == guardName {
		guard(f)
	}
	stage(f)
}

const notStarted = 127 // exit code of a stage that is no program; nobody looks at it

// stage becomes the payload's program.
func stage(gate *os.File) {
	runtime.LockOSThread() // some of what it sets is a thread's
	dieLikePrograms(gate)
	m, err := receive(gate)
	if err != nil {
		syscall.Exit(notStarted)
	}
	c := decode(m)
	if c == nil {
		syscall.Exit(notStarted)
	}
	paths := candidates(c.Args[0], c.Path)
	fail := func(step string, err error) {
		errno, _ := err.(syscall.Errno)
		_ = (&answer{kind: isFailed, number: int(errno), text: step}).send(gate)
		syscall.Exit(notStarted)
	}
	missing := func(which int, errno syscall.Errno, interpreter bool) {
		a := &answer{kind: isNotFound, number: int(errno), interpreter: interpreter}
		if which >= 0 {
			a.text = paths[which]
		}
		_ = a.send(gate)
		syscall.Exit(notStarted)
	}
	if c.Terminal >= 0 {
		unix.CloseOnExec(int(gate.Fd()) + 1)
	}
	late := c.apply(fail)
	searched := !strings.Contains(c.Args[0], "/")
	if which, errno := lookup(paths, searched); errno != 0 {
		missing(which, errno, false)
	}
	if (&answer{kind: isReady}).send(gate) != nil {
		syscall.Exit(notStarted)
	}
	if _, err := receive(gate); err != nil {
		syscall.Exit(notStarted) // the supervisor has gone
	}
	if terminal := int(gate.Fd()) + 1; c.Terminal >= 0 { // it comes after the gate
		// From the background tcsetpgrp(3) raises SIGTTOU unless it is ignored. Best effort: a terminal that went away is no reason not to run.
		signal.Ignore(syscall.SIGTTOU)
		_ = unix.IoctlSetPointerInt(terminal, unix.TIOCSPGRP, os.Getpid())
		signal.Reset(syscall.SIGTTOU)
	}
	for _, l := range late {
		if err := set(l); err != nil {
			fail("rlimit "+l.Name, err)
		}
	}
	missing(execute(paths, searched, c.Args, c.Env))
}

// apply sets what the payload is to have, but those limits that this process could not live with itself, which it returns.
func (c *Config) apply(fail func(string, error)) (late []Rlimit) {
	check := func(step string, err error) {
		if err != nil {
			fail(step, err)
		}
	}
	for _, l := range c.Rlimits {
		switch l.Name {
		case "RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_RSS", "RLIMIT_NPROC":
			var now syscall.Rlimit
			if syscall.Getrlimit(l.Resource, &now) == nil && l.Hard <= now.Max {
				late = append(late, l) // which takes no privilege
				continue
			}
		}
		check("rlimit "+l.Name, set(l))
	}
	if c.Nice != nil {
		check("nice "+strconv.Itoa(*c.Nice), unix.Setpriority(unix.PRIO_PROCESS, 0, *c.Nice))
	}
	if c.SetUser || c.SetGroups {
		groups := make([]int, len(c.Groups))
		for i, g := range c.Groups {
			groups[i] = int(g)
		}
		check("setgroups", syscall.Setgroups(groups))
	}
	if c.SetUser {
		check("setgid "+strconv.Itoa(int(c.GID)), syscall.Setgid(int(c.GID)))
		check("setuid "+strconv.Itoa(int(c.UID)), syscall.Setuid(int(c.UID)))
	}
	if c.Umask != nil {
		syscall.Umask(int(*c.Umask))
	}
	if c.Dir != "" {
		check("cwd "+strconv.Quote(c.Dir), syscall.Chdir(c.Dir))
	}
	return late
}

// set is setrlimit(2) of package syscall, which knows then that the soft RLIMIT_NOFILE is not to be what it was at the start.
func set(l Rlimit) error {
	r := syscall.Rlimit{}
	r.Cur, r.Max = l.Soft, l.Hard
	return syscall.Setrlimit(l.Resource, &r)
}

// lookup finds a candidate that may be executed.
func lookup(paths []string, searched bool) (int, syscall.Errno) {
	result := syscall.ENOENT
	for i, path := range paths {
		err := unix.Access(path, unix.X_OK)
		if err == nil {
			return i, 0
		}
		if e, _ := err.(syscall.Errno); e != syscall.ENOENT && e != syscall.ENOTDIR && (!searched || exists(path)) {
			result = e
		}
	}
	return -1, result
}

// exists tells whether a file is known to be there. In a directory of a search path that may not be searched it is not.
func exists(path string) bool { return unix.Access(path, unix.F_OK) == nil }

// execute tries the candidates in order, as execvp(3): what is not there is skipped, what may not be executed is
// remembered, any other error ends the search.
func execute(paths []string, searched bool, args, env []string) (which int, errno syscall.Errno, interpreter bool) {
	which, errno = -1, syscall.ENOENT
	for i, path := range paths {
		e, _ := syscall.Exec(path, args, env).(syscall.Errno)
		switch e {
		case syscall.ENOENT:
			if exists(path) {
				return i, e, true
			}
		case syscall.ENOTDIR:
		case syscall.EACCES:
			if !searched || exists(path) {
				which, errno = i, e
			}
		default:
			return i, e, false
		}
	}
	return which, errno, false
}

// dieLikePrograms has the signals end this process that end a program which does nothing about them, and for which the Go runtime does something else.
// The kernel is told SIGKILL, since the Go runtime does not give their default action back; the supervisor is told which one it was.
func dieLikePrograms(gate *os.File) {
	c := make(chan os.Signal, 1)
	for _, sig := range []syscall.Signal{
		syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGSYS, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGPROF,
		syscall.SIGPIPE, syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM,
	} {
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
	go func() {
		sig, _ := (<-c).(syscall.Signal)
		_ = (&answer{kind: isSignaled, number: int(sig)}).send(gate)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}()
}

const (
	guardStop   = 50 * time.Millisecond // how long those that are to end are waited for to stop before they are killed
	guardPause  = time.Millisecond
	guardRounds = 2000 // looks at those that do not end: they may not be signalled, or others fork all the time
)

// guard waits until the supervisor has ended, and then ends what it has left.
func guard(ctl *os.File) {
	for _, sig := range []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGPROF,
		syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGPIPE, syscall.SIGXCPU, syscall.SIGXFSZ,
	} {
		signal.Ignore(sig)
	}
	m, err := receive(ctl)
	if err != nil {
		syscall.Exit(0) // nothing was started
	}
	id := func() proc.ID { return proc.ID{PID: int(m.nextNumber()), Start: uint64(m.nextNumber())} }
	payload, supervisor := id(), id()
	group, err := proc.NewGroup(proc.Root, 0, payload.PID)
	if err == nil && group.Leader() != payload {
		group.Close()
		group, err = nil, proc.ErrGone
	}
	if _, e := receive(ctl); e == nil {
		syscall.Exit(0) // the payload was waited for
	}
	if err == nil {
		group.Mark(supervisor)
	}
	for range guardRounds {
		n := 0
		if group != nil {
			group.Kill(guardStop)
			n = group.Living()
		}
		if n == 0 && (group == nil || group.Quiet()) {
			if n, _ = proc.Root.KillMarked(supervisor); n == 0 {
				break
			}
		}
		time.Sleep(guardPause)
	}
	syscall.Exit(0)
}
