package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	cmdReap = 'r' // the supervisor no longer uses the payload's pid
	cmdKill = 'k' // kill every child until there is none
	cmdGo   = 'g'
)

var atCwd = uintptr(^uint(99)) // AT_FDCWD, -100

// Process is a payload and its reaper.
type Process struct {
	PID    int // the payload, which is also its process group id
	Reaper int // its parent

	plan      *plan
	ctl, gate int
}

// BecomeSubreaper makes the calling process the parent of all orphans among its descendants (PR_SET_CHILD_SUBREAPER,
// Linux 3.4), which it must be so that the payload stays in reach when the reaper is killed.
func BecomeSubreaper() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// CloseOnExec marks every descriptor from 3 on close-on-exec, so that nothing but 0 to 2 is inherited by anything that
// this process starts. Call it first: descriptors that the caller left open must not reach a payload.
func CloseOnExec() error {
	if err := unix.CloseRange(3, ^uint(0)>>1&0x7fffffff, unix.CLOSE_RANGE_CLOEXEC); err == nil {
		return nil
	}
	dir, err := os.Open("/proc/self/fd") // before Linux 5.11
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		var fd int
		if _, err := fmt.Sscan(name, &fd); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return err
}

// Start forks the reaper and the payload, applies everything in c and returns when the payload waits at the gate
// (created). An error is a *Error or a *ExecError when a step of the payload did not work; then no process is left.
func Start(c *Config) (*Process, error) {
	p, err := newPlan(c)
	if err != nil {
		return nil, err
	}
	ctl, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	gate, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		unix.Close(ctl[0])
		unix.Close(ctl[1])
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	p.ctl, p.ctlPeer, p.gate, p.gatePeer = int32(ctl[1]), int32(ctl[0]), int32(gate[1]), int32(gate[0])
	syscall.ForkLock.Lock()
	pid, errno := forkReaper(p)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(p)
	unix.Close(ctl[1])
	unix.Close(gate[1])
	proc := &Process{Reaper: int(pid), plan: p, ctl: ctl[0], gate: gate[0]}
	if errno != 0 {
		proc.Close()
		return nil, fmt.Errorf("fork: %w", errno)
	}
	r, err := proc.report()
	if err == nil && r.ready == 0 {
		err = proc.failure(r)
	}
	if err != nil {
		proc.Close()
		proc.Wait()
		return nil, err
	}
	proc.PID = int(r.ready)
	return proc, nil
}

// Close gives up the supervisor's side: the reaper kills whatever still runs.
func (p *Process) Close() {
	unix.Close(p.ctl)
	unix.Close(p.gate)
}

// Wait waits until the reaper has ended, which it does when nothing is left.
func (p *Process) Wait() {
	for {
		if _, err := unix.Wait4(p.Reaper, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// report reads one message of the payload; io.EOF when the gate was closed, by execve or by death.
func (p *Process) report() (r report, err error) {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	for {
		n, err := unix.Read(p.gate, b)
		switch {
		case again(err):
		case err != nil:
			return r, fmt.Errorf("launch: %w", err)
		case n != len(b):
			return r, io.EOF
		default:
			return r, nil
		}
	}
}

// again tells whether a read is to be repeated. The other side ending with an unread command in its queue shows as ECONNRESET,
// once, before what it had sent (unix(7)).
func again(err error) bool { return err == unix.EINTR || err == unix.ECONNRESET }

func (p *Process) failure(r report) error {
	errno := syscall.Errno(r.errno)
	if r.step < 0 {
		return &Error{Step: "fork", Errno: errno}
	}
	s := p.plan.steps[r.step]
	if s.op != opExec && s.op != opLookup {
		return &Error{Step: s.name, Errno: errno}
	}
	name := unix.BytePtrToString(p.plan.argv[0])
	e := &ExecError{Name: name, Errno: errno, Searched: p.plan.searched}
	if r.which >= 0 {
		e.Path = unix.BytePtrToString(p.plan.paths[r.which])
		e.Interpreter = errno == syscall.ENOENT
	}
	return e
}

// Exec opens the gate: the payload executes its program. An error is a *ExecError, or io.ErrUnexpectedEOF when the
// supervisor's side is closed already. A payload that was killed at the gate is no error: its end is reported by Next.
func (p *Process) Exec() error {
	if _, err := unix.Write(p.gate, []byte{cmdGo}); err != nil {
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			return nil
		}
		return fmt.Errorf("launch: %w", err)
	}
	r, err := p.report()
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	return p.failure(r)
}

// Next blocks until the reaper has something to report. It returns io.EOF when the reaper is gone; after Done that is
// its regular end.
func (p *Process) Next() (Event, error) {
	var r record
	b := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	for {
		n, err := unix.Read(p.ctl, b)
		switch {
		case again(err):
			continue
		case err != nil || n != len(b):
			return Event{}, io.EOF
		}
		return Event{Kind: EventKind(r.kind), Status: syscall.WaitStatus(r.status), Rusage: r.usage}, nil
	}
}

func (p *Process) command(c byte) {
	// A reaper that is gone shows at Next.
	_, _ = unix.Write(p.ctl, []byte{c})
}

// Reap allows the reaper to wait for the ended payload. After it the pid and the process group id may be used again by
// somebody else, and must not be signalled any more.
func (p *Process) Reap() { p.command(cmdReap) }

// KillAll makes the reaper send SIGKILL to every descendant until none is left.
func (p *Process) KillAll() { p.command(cmdKill) }
