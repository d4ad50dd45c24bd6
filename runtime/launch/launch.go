// Package launch starts one process with everything that has to be applied between fork and exec, and keeps a second
// small process, the reaper, as its parent.
//
// # What it does
//
//	mlrun (supervisor, child subreaper)
//	  └─ reaper (without an exec; child subreaper; own process group; all signals blocked; on amd64 in the supervisor's memory)
//	       └─ payload (own process group)
//	            └─ ... everything the payload starts, whatever it does to detach itself
//
// The reaper exists so that nothing outlives the run. As the nearest subreaper it becomes the parent of every orphan
// of the payload, so "has no children" means "nothing is left". When the supervisor dies, for whatever reason, the
// reaper sees the end of its control socket and kills every child it has or gets until it has none. When the
// reaper dies instead, the payload gets SIGKILL (PR_SET_PDEATHSIG) and the rest is reparented to the supervisor: see Orphans.
//
// # The handshake
//
//	supervisor            reaper               payload
//	    | fork --------------> |                    |
//	    |                      | fork ------------> |
//	    |                      |                    | steps: process group, rlimits, ..., cwd
//	    | <--------- ready(pid) or failed(step, errno) ---|
//	    |   (created: hooks, state, waiting for start)    |
//	    | ---------------------- go --------------------> |
//	    |                      |                    | terminal hand-over, execve
//	    | <------- end of file, or failed(exec, errno) ---|
//	    |                      | <---- exits -------|
//	    | <-- exited(status) --|   (not reaped yet: the pid, and so the process group id, stays ours)
//	    | --- reap ----------> |
//	    | <-- done(rusage) ----|   (no child left; the reaper exits)
//
// With Config.Eager the payload does not wait for go.
//
// # Observed processes
//
// Who starts a container and asks for its pid in a file waits for that pid: it is a subreaper and expects the payload to be its child as soon as
// the runtime has returned. Then the payload is not below the reaper (Config.Sibling, Fork):
//
//	caller (child subreaper)
//	  ├─ payload (own process group; child subreaper)
//	  │    └─ ... everything the payload starts
//	  └─ mlrun (supervisor)
//	       └─ guard (a fork without exec; own process group; all signals blocked)
//
// The payload is made a subreaper, as the first process of a pid namespace is one, so that all that it starts stays below it. When the
// supervisor dies, the guard sees the end of its control socket, stops the payload, kills its children and what these leave to it, until
// none lives, and then the payload itself. Its end is seen through a pidfd. What it leaves then goes to the caller, and is the supervisor's to
// find and to end: when that is killed in this very moment, it stays.
//
// # Why no re-exec
//
// Other runtimes written in Go execute themselves a second time to run the code between fork and exec, and pay a
// second start of the Go runtime for it. Here the steps are data: a list of raw system calls with their arguments,
// prepared before the fork, which a few lines of code without allocation, locks or stack growth replay in the child.
// It is how package syscall starts processes, with a longer list.
//
// # What it does not
//
// It decides nothing: when to signal, whom to kill and what an exit means is up to the caller.
package launch

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// Program is a path of the program that the calling process runs. On Linux it is one that stays right when the file is replaced.
func Program() (string, error) {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe", nil
	}
	return os.Executable()
}

// ErrUnsupported is returned where a process can only be waited for by its parent.
var ErrUnsupported = errors.New("a child of somebody else cannot be supervised on this platform")

// Rlimit is a resource limit to set on the payload, by the platform's number (see package rlimit).
type Rlimit struct {
	Name       string // for errors: "RLIMIT_NOFILE"
	Resource   int
	Soft, Hard uint64
}

// Config is everything that is applied to the payload. The order in which it is applied is fixed: process group,
// oom_score_adj, rlimits, scheduler, I/O priority, affinity, personality, memory policy, bounding set, groups, gid, uid, user namespace, capabilities, umask,
// no_new_privs, cwd; then, at Exec, the terminal, the security contexts and the filter.
type Config struct {
	Args []string // argument vector; Args[0] is looked up in Path unless it contains a slash; must not be empty
	Env  []string // environment of the payload, complete
	Path string   // search path for Args[0], as $PATH; an empty element is the working directory
	Dir  string   // working directory; "" keeps the caller's

	Rlimits         []Rlimit
	OOMScoreAdj     *int
	SetUser         bool // apply UID, GID and Groups; needs CAP_SETUID and CAP_SETGID
	UID, GID        uint32
	Groups          []uint32 // supplementary groups, when SetUser or SetGroups
	SetGroups       bool
	Umask           *uint32
	NoNewPrivileges bool

	// Tasks, unless nil, makes the kernel hold a limit of tasks.
	Tasks *Tasks
	// Nice is the nice value; nil: the caller's.
	Nice *int

	// Capabilities of the payload; nil: those that the kernel leaves to it.
	Capabilities *Capabilities
	// Scheduler, IOPriority, Affinity, Personality and MemoryPolicy are as in sched_setattr(2), ioprio_set(2), sched_setaffinity(2),
	// personality(2) and set_mempolicy(2). Nil: the caller's. Affinity is applied one after the other.
	Scheduler    *Scheduler
	IOPriority   *int
	Affinity     [][]uint64 // bit sets of processors
	Personality  *uint
	MemoryPolicy *MemoryPolicy
	// Labels are written to files below /proc/self/attr at the end: what execve changes the security context to.
	Labels []Label
	// Seccomp is installed last, when the payload is let go: the filter need not allow what mlrun does before.
	Seccomp *Seccomp

	// Caught are signals that this process catches past the Go runtime, which gives only its own back in a child: a created
	// payload is to be stopped by them.
	Caught []syscall.Signal

	// PreserveFDs is the number of descriptors from 3 on that stay open in the payload besides 0 to 2.
	PreserveFDs int
	// Eager lets the payload execute its program as soon as it is ready, without waiting for Exec, which then only tells what came of it:
	// two switches between processes less, for those that do nothing in between.
	Eager bool
	// Files become descriptors 0, 1 and so on of the payload, in place of those of the calling process. Nil: it has 0 to 2 and PreserveFDs
	// more of the caller's.
	Files []int
	// Session makes the payload the leader of a session of its own, with descriptor 0 as its controlling terminal.
	Session bool
	// Sibling makes the payload a child of the calling process's parent, in place of a reaper's: see "Observed processes".
	Sibling bool
	child   bool // of Fork
	// Terminal is the descriptor of the controlling terminal whose foreground process group the payload is to
	// become at Exec; -1 for none.
	Terminal int
}

// Capabilities are sets of bits 1<<n (capabilities(7)). What they have must be permitted to the caller. Drop is taken from the bounding set,
// which needs CAP_SETPCAP.
type Capabilities struct {
	Drop, Effective, Permitted, Inheritable, Ambient uint64
}

// Scheduler is struct sched_attr of sched_setattr(2), in its first version.
type Scheduler struct {
	Size                      uint32
	Policy                    uint32
	Flags                     uint64
	Nice                      int32
	Priority                  uint32
	Runtime, Deadline, Period uint64 // nanoseconds
}

// MemoryPolicy is what set_mempolicy(2) takes: a mode with its flags, and a bit set of nodes.
type MemoryPolicy struct {
	Mode  uint
	Nodes []uint64
}

// Tasks is a limit of tasks (processes and threads) that holds for the payload and all its descendants, and for nobody else: RLIMIT_NPROC in a
// user namespace of their own, in which the kernel counts them apart (since Linux 5.14, kernel/ucount.c). The payload's user and group have the same
// ids in it; there are no others. The limit does not hold for the superuser of the initial user namespace.
type Tasks struct {
	Max uint64
	// PID, unless 0, is a process whose user namespace is joined in place of a new one.
	PID int
	// Outer are limits of namespaces around that of the payload, the outermost first: each holds for all that is in the namespace and below it,
	// in other runs too. The kernel nests namespaces 32 deep (user_namespaces(7)); beyond that Start returns an Error with ENOSPC.
	Outer []uint64
	// Joined is how many of the namespaces, of Outer and then the payload's own, exist already, and Namespace a descriptor of the innermost of
	// those (Linux 3.8: setns(2)). It stays the caller's. What holds in one that exists is what it was made with.
	Joined    int
	Namespace int
}

// namespaceStep begins the names of the steps that make a user namespace.
const namespaceStep = "user namespace: "

// OfNamespace tells whether the step was one of those that make a user namespace, which a host may not permit.
func (e *Error) OfNamespace() bool { return strings.HasPrefix(e.Step, namespaceStep) }

// Label is a security context for the program: "exec NAME" in /proc/self/attr/exec, for one.
type Label struct{ Name, File, Text string }

// Seccomp is a filter for seccomp(2).
type Seccomp struct {
	Program []Instruction
	Flags   uintptr
	// Listener gets the descriptor of a listener for the filter, from Process.Exec, as soon as it is installed, and is to close it. Its error is
	// that of Exec. Nil: the filter is installed without one.
	Listener func(pid, fd int) error
	// Keep is a bit set of capabilities that stay until it is installed: without no_new_privs that takes CAP_SYS_ADMIN.
	Keep uint64
	// Step is what an Error calls its installation; "" is "seccomp".
	Step string
	// Next is installed after it, without a listener. Keep is that of the first one.
	Next *Seccomp
}

// Instruction is struct sock_filter of linux/filter.h.
type Instruction struct {
	Code   uint16
	Jt, Jf uint8
	K      uint32
}

// Error is a step between fork and exec that did not work.
type Error struct {
	Step  string // "cwd /nope", "exec /bin/foo", "rlimit RLIMIT_NOFILE"
	Errno syscall.Errno
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Step, e.Errno) }

// Unwrap returns the errno.
func (e *Error) Unwrap() error { return e.Errno }

// ExecError is a program that was not executed.
type ExecError struct {
	Name  string        // Args[0]
	Path  string        // what was looked up: the file, or the search path
	Errno syscall.Errno // ENOENT: not found; anything else: found, but not executable
	// Searched tells that Name had no slash and was looked up in a search path.
	Searched bool
	// Interpreter tells that the file exists, and that ENOENT is about its interpreter ("#!" line or ELF loader).
	Interpreter bool
}

// NotFound tells whether the program does not exist (exit code 127 of a shell), as opposed to existing without being
// executable (126).
func (e *ExecError) NotFound() bool {
	return (e.Errno == syscall.ENOENT || e.Errno == syscall.ENOTDIR) && !e.Interpreter
}

func (e *ExecError) Error() string {
	switch {
	case e.NotFound() && e.Searched:
		return fmt.Sprintf("exec: %q: executable file not found in $PATH", e.Name)
	case e.Interpreter:
		return fmt.Sprintf("exec: %q: exists, but its interpreter does not: %s", e.Name, e.Errno)
	}
	return fmt.Sprintf("exec: %q: %s", e.Name, e.Errno)
}

// Unwrap returns the errno.
func (e *ExecError) Unwrap() error { return e.Errno }

// EventKind says what the reaper reported.
type EventKind uint32

// What happens to the payload after it was started.
const (
	Stopped   EventKind = iota + 1 // the payload was stopped by Event.Signal
	Continued                      // the payload was continued
	Exited                         // the payload ended; its pid is kept until Reap is called
	Done                           // no process is left; Event.Rusage is that of all reaped descendants
)

// Event is one report of the reaper.
type Event struct {
	Kind   EventKind
	Status syscall.WaitStatus // Exited, Stopped
	Known  bool               // Exited: the status is known; false only of a process that is observed
	Rusage syscall.Rusage     // Done: every descendant that was waited for, by anybody in the tree (RUSAGE_CHILDREN)
}
