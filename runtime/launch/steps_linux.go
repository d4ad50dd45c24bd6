//go:build !portable

package launch

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"mlrun/runtime/launch/origlimit"
)

// opcode says how the forked child executes a step.
type opcode uint8

const (
	opCall       opcode = iota // one system call
	opWrite                    // open(a[0], O_WRONLY), write(a[1], a[2] bytes), close
	opLookup                   // fail unless one of the exec candidates may be executed
	opReady                    // report ready and wait for go
	opForeground               // make the own process group the foreground one of terminal a[0]
	opListener                 // one system call, whose result is a descriptor that goes over the gate
	opJoin                     // setns to the user namespace a[0]
	opExec                     // execve of the first candidate that works
)

// step is one thing that the child does, prepared before the fork: everything it points to is in a or kept in plan.
type step struct {
	op   opcode
	name string
	nr   uintptr
	a    [4]uintptr
}

// sigset is the kernel's signal set (64 signals on every architecture of Go's but mips).
type sigset uint64

// plan is all that the forked processes touch. It is allocated before the fork; they never allocate.
type plan struct {
	// descriptors
	ctl, ctlPeer   int32 // the reaper's end, the supervisor's end (closed in the child)
	gate, gatePeer int32 // the payload's end, the supervisor's end
	terminal       int32
	namespace      int32   // of other runs, which the payload joins; -1 for none
	setns          int     // the step that does
	files          []int32 // what becomes 0, 1, ... of the payload: all of them are firstOwn or above
	eager          bool    // the payload does not wait for go
	firstOwn       uintptr // the first descriptor that is not the payload's

	steps    []step
	paths    []*byte // exec candidates
	searched bool    // they come from a search path
	argv     []*byte
	envv     []*byte
	names    struct{ reaper, guard, payload, children, lastPID *byte }

	// the reaper
	exited   bool // the payload has ended, which was reported
	acked    bool // its pid is not used any more
	killing  bool // every child is to end
	held     bool // and not before the supervisor says so
	storm    bool // children end faster than it can look
	hurried  bool
	tries    uint    // how often it found nothing to do since
	priority int32   // of sched_setscheduler(2)
	read     uintptr // of buf, by nextChild
	filled   uintptr
	digits   [16]byte

	// the guard
	pidfd    int32    // of pid
	taskPath [64]byte // /proc/PID/task/, and what is appended to it
	taskLen  uintptr
	statPath [32]byte // /proc/, and what is appended to it
	statText [512]byte
	entries  [4096]byte // of a directory
	looks    uint       // how often it looked for children
	quiet    uint       // how often no child of pid was found alive since one was

	// what shares the memory of the supervisor
	shared, sharing           bool // the reaper; the payload until it executes its program
	reaperClone, payloadClone *cloneArgs

	// scratch memory of the payload
	payload struct {
		pid int32
		one [1]byte
	}

	// scratch memory of the children
	all, old sigset // old is the supervisor's mask of signals
	pid      int32
	polls    [2]pollfd
	siginfo  [128]byte
	buf      [4096]byte
	event    record
	report   report
	rights   rights
	usage    syscall.Rusage
	wait     unix.Timespec
	one      [1]byte

	keep []any
}

type pollfd struct {
	fd              int32
	events, revents int16
}

// record is what the reaper sends over the control socket.
type record struct {
	kind   uint32
	status uint32
	usage  syscall.Rusage
}

// report is what the payload sends over the gate before it becomes the program.
type report struct {
	ready int32 // pid when ready, 0 when a step failed
	step  int32
	errno int32
	which int32 // exec candidate
}

// ready of a report that comes with the listener of a filter.
const listening = -1

// rights is a message with one descriptor: struct msghdr and struct cmsghdr (unix(7), cmsg(3)).
type rights struct {
	header unix.Msghdr
	vector unix.Iovec
	cmsg   unix.Cmsghdr
	fd     int32
	_      int32
}

func (p *plan) cstring(s string) (*byte, error) {
	b, err := syscall.BytePtrFromString(s)
	if err != nil {
		return nil, fmt.Errorf("%q contains a NUL byte", s)
	}
	return b, nil
}

func (p *plan) add(s step) { p.steps = append(p.steps, s) }

func (p *plan) call(name string, nr uintptr, a ...uintptr) {
	s := step{op: opCall, name: name, nr: nr}
	copy(s.a[:], a)
	p.add(s)
}

func addr[T any](p *plan, v *T) uintptr {
	p.keep = append(p.keep, v)
	return uintptr(unsafe.Pointer(v))
}

func addrOf[T any](p *plan, v []T) uintptr {
	if len(v) == 0 {
		return 0
	}
	return addr(p, &v[0])
}

// newPlan turns c into the list of steps.
func newPlan(c *Config) (*plan, error) {
	p := &plan{all: ^sigset(0), terminal: int32(c.Terminal), namespace: -1, eager: c.Eager, firstOwn: uintptr(3 + c.PreserveFDs)}
	if err := p.strings(c); err != nil {
		return nil, err
	}
	if err := p.checkTasks(c); err != nil {
		return nil, err
	}
	if c.Files != nil {
		p.firstOwn = uintptr(len(c.Files))
	}
	if c.Session {
		p.call("setsid", unix.SYS_SETSID)
		p.call("ioctl TIOCSCTTY", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	} else {
		p.call("setpgid", unix.SYS_SETPGID, 0, 0)
	}
	if c.Sibling || c.child {
		// Its parent is about to end: no signal for that.
		p.call("prctl PR_SET_CHILD_SUBREAPER", unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1)
	} else {
		p.call("prctl PR_SET_PDEATHSIG", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	}
	if c.OOMScoreAdj != nil {
		if err := p.write("oom_score_adj "+strconv.Itoa(*c.OOMScoreAdj), "/proc/self/oom_score_adj", strconv.Itoa(*c.OOMScoreAdj)); err != nil {
			return nil, err
		}
	}
	p.rlimits(c.Rlimits)
	p.attributes(c)
	p.user(c)
	if c.Umask != nil {
		p.call("umask", unix.SYS_UMASK, uintptr(*c.Umask))
	}
	if c.NoNewPrivileges {
		p.call("prctl PR_SET_NO_NEW_PRIVS", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	if c.Dir != "" {
		dir, err := p.cstring(c.Dir)
		if err != nil {
			return nil, err
		}
		p.call("cwd "+strconv.Quote(c.Dir), unix.SYS_CHDIR, addr(p, dir))
	}
	for fd := 3; fd < 3+c.PreserveFDs; fd++ {
		p.call(fmt.Sprintf("preserve fd %d", fd), unix.SYS_FCNTL, uintptr(fd), unix.F_SETFD, 0)
	}
	p.add(step{op: opLookup, name: "exec"})
	for _, sig := range c.Caught {
		p.call("sigaction", unix.SYS_RT_SIGACTION, uintptr(sig), addr(p, new([32]byte)), 0, unsafe.Sizeof(p.old)) // SIG_DFL
	}
	// The signal mask that the supervisor had, so that a created payload can be ended by any signal.
	p.call("sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.old)), 0, unsafe.Sizeof(p.old))
	p.add(step{op: opReady, name: "ready"})
	if c.Terminal >= 0 {
		// From the background tcsetpgrp(3) raises SIGTTOU unless it is blocked.
		p.call("sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.all)), 0, unsafe.Sizeof(p.all))
		p.add(step{op: opForeground, name: "terminal", a: [4]uintptr{uintptr(c.Terminal)}})
		p.call("sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.old)), 0, unsafe.Sizeof(p.old))
	}
	if err := p.secure(c); err != nil {
		return nil, err
	}
	p.add(step{op: opExec, name: "exec"})
	p.share(c)
	return p, nil
}

func (p *plan) strings(c *Config) (err error) {
	if p.argv, p.envv, err = c.vectors(); err != nil {
		return err
	}
	p.searched = !strings.Contains(c.Args[0], "/")
	for _, path := range candidates(c.Args[0], c.Path) {
		b, err := p.cstring(path)
		if err != nil {
			return err
		}
		p.paths = append(p.paths, b)
	}
	p.names.reaper, _ = p.cstring("mlrun: reaper")
	p.names.payload, _ = p.cstring("mlrun: created")
	p.names.children, _ = p.cstring("/proc/thread-self/children")
	p.names.lastPID, _ = p.cstring("/proc/sys/kernel/ns_last_pid")
	return nil
}

func (p *plan) write(name, path, data string) error {
	file, err := p.cstring(path)
	if err != nil {
		return err
	}
	b := []byte(data)
	p.add(step{op: opWrite, name: name, a: [4]uintptr{addr(p, file), addrOf(p, b), uintptr(len(b))}})
	return nil
}

func (p *plan) rlimits(limits []Rlimit) {
	set := func(name string, resource int, soft, hard uint64) {
		p.call(name, unix.SYS_PRLIMIT64, 0, uintptr(resource), addr(p, &unix.Rlimit{Cur: soft, Max: hard}))
	}
	if origlimit.Known {
		set("rlimit RLIMIT_NOFILE", unix.RLIMIT_NOFILE, origlimit.NoFile.Soft, origlimit.NoFile.Hard)
	}
	for _, l := range limits {
		set("rlimit "+l.Name, l.Resource, l.Soft, l.Hard)
	}
}

func (p *plan) user(c *Config) {
	if c.Capabilities != nil {
		p.bounding(c.Capabilities.Drop)
	}
	if c.SetUser || c.SetGroups {
		p.call("setgroups", unix.SYS_SETGROUPS, uintptr(len(c.Groups)), addrOf(p, append([]uint32(nil), c.Groups...)))
	}
	if c.SetUser {
		if c.Capabilities != nil {
			p.call("prctl PR_SET_KEEPCAPS", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
		}
		gid, uid := uintptr(c.GID), uintptr(c.UID)
		p.call("setresgid "+strconv.Itoa(int(c.GID)), unix.SYS_SETRESGID, gid, gid, gid)
		p.call("setresuid "+strconv.Itoa(int(c.UID)), unix.SYS_SETRESUID, uid, uid, uid)
	}
	p.tasks(c)
	if c.Capabilities != nil {
		p.capabilities(c)
	}
	if c.SetUser && !c.Sibling && !c.child {
		// A change of user clears the parent-death signal (prctl(2)).
		p.call("prctl PR_SET_PDEATHSIG", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	}
}
