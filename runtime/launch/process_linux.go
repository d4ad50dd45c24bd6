//go:build !portable

package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	cmdReap = 'r' // the supervisor no longer uses the payload's pid
	cmdKill = 'k' // kill every child until there is none
	cmdHold = 'h' // kill nobody before you are told
	cmdGo   = 'g'
)

var atCwd = uintptr(^uint(99)) // AT_FDCWD, -100

// Adopts tells whether what the payload starts comes to its reaper when its parent ends, so that Done means that nothing is left.
const Adopts = true

// Process is a payload and its reaper.
type Process struct {
	PID    int // the payload, which is also its process group id
	Reaper int // its parent

	plan *plan
	// The supervisor's ends. They are polled by the Go runtime: a goroutine that waits for one takes no thread.
	ctl, gate *os.File

	notify   func(pid, fd int) error // of the filter
	listener int                     // its descriptor; -1: none

	// Of a process that is observed.
	observed *os.File      // its pidfd
	start    uint64        // its start time (proc.ID)
	lost     chan struct{} // closed when there is no guard, or Close was called
	over     bool          // its end was reported
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
	p, gate, drop, err := prepare(c)
	if err != nil {
		return nil, err
	}
	defer drop()
	if c.Sibling {
		return startSibling(c, p, gate)
	}
	ctl, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		unix.Close(gate[0])
		unix.Close(gate[1])
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	p.ctl, p.ctlPeer, p.gate, p.gatePeer = int32(ctl[1]), int32(ctl[0]), int32(gate[1]), int32(gate[0])
	p.hold()
	syscall.ForkLock.Lock()
	pid, errno := forkReaper(p)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(p)
	unix.Close(ctl[1])
	unix.Close(gate[1])
	proc := &Process{Reaper: int(pid), plan: p, ctl: polled(ctl[0], "reaper"), gate: polled(gate[0], "gate"), listener: -1}
	if c.Seccomp != nil {
		proc.notify = c.Seccomp.Listener
	}
	if errno != 0 {
		p.release()
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

// prepare makes everything that a fork needs. drop gives back what the payload alone needs.
func prepare(c *Config) (p *plan, gate [2]int, drop func(), err error) {
	if p, err = newPlan(c); err != nil {
		return nil, gate, nil, err
	}
	if gate, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, gate, nil, fmt.Errorf("socketpair: %w", err)
	}
	if drop, err = p.lift(c, &gate[1]); err != nil {
		unix.Close(gate[0])
		unix.Close(gate[1])
		return nil, gate, nil, fmt.Errorf("descriptors of the payload: %w", err)
	}
	return p, gate, drop, nil
}

// lift duplicates the files of c, and moves the payload's end of the gate, to numbers that none of them is to have in the payload; and so the
// namespace that it joins. close closes the duplicates.
func (p *plan) lift(c *Config, gate *int) (close func(), err error) {
	close = func() {
		for _, fd := range p.files {
			unix.Close(int(fd))
		}
		if p.namespace >= 0 {
			unix.Close(int(p.namespace))
		}
	}
	above := max(3, int(p.firstOwn))
	if p.namespace >= 0 {
		dup, err := unix.FcntlInt(uintptr(p.namespace), unix.F_DUPFD_CLOEXEC, above)
		p.namespace = int32(dup)
		if err != nil {
			return nil, fmt.Errorf("user namespace: %w", err)
		}
		p.steps[p.setns].a[0] = uintptr(dup)
	}
	if len(c.Files) == 0 {
		return close, nil
	}
	for _, fd := range c.Files {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, above)
		if err != nil {
			close()
			return nil, err
		}
		p.files = append(p.files, int32(dup))
	}
	dup, err := unix.FcntlInt(uintptr(*gate), unix.F_DUPFD_CLOEXEC, above)
	if err != nil {
		close()
		return nil, err
	}
	unix.Close(*gate)
	*gate = dup
	return close, nil
}

// polled makes a file of one end of a socket pair; the flags of the other end are its own.
func polled(fd int, name string) *os.File {
	_ = unix.SetNonblock(fd, true) // without it a read takes a thread, and is right all the same
	return os.NewFile(uintptr(fd), name)
}

// Close gives up the supervisor's side: the reaper kills whatever still runs.
func (p *Process) Close() {
	p.ctl.Close()
	if p.gate != nil {
		p.gate.Close()
	}
	if p.observed != nil {
		p.observed.Close()
	}
}

// Wait waits until the reaper has ended, which it does when nothing is left.
func (p *Process) Wait() {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(p.Reaper, &status, 0, nil)
		if err == nil && status.Exited() {
			p.plan.release() // one that was killed may leave a payload that has not executed its program yet
		}
		if err != unix.EINTR {
			return
		}
	}
}

// report reads one message of the payload; io.EOF when the gate was closed, by execve or by death.
func (p *Process) report() (r report, err error) {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	for {
		n, err := p.receive(b)
		switch {
		case again(err):
		case err != nil && err != io.EOF:
			return r, fmt.Errorf("launch: %w", err)
		case n != len(b):
			return r, io.EOF
		default:
			return r, nil
		}
	}
}

// receive reads from the gate, and the listener of a filter if one may come.
func (p *Process) receive(b []byte) (n int, err error) {
	if p.notify == nil {
		return p.gate.Read(b)
	}
	conn, err := p.gate.SyscallConn()
	if err != nil {
		return 0, err
	}
	oob := make([]byte, unix.CmsgSpace(4))
	var oobn int
	if e := conn.Read(func(fd uintptr) bool {
		n, oobn, _, _, err = unix.Recvmsg(int(fd), b, oob, unix.MSG_CMSG_CLOEXEC)
		return err != unix.EAGAIN && err != unix.EINTR
	}); e != nil {
		return 0, e
	}
	if list, e := unix.ParseSocketControlMessage(oob[:oobn]); e == nil && len(list) == 1 {
		if fds, e := unix.ParseUnixRights(&list[0]); e == nil && len(fds) == 1 {
			p.listener = fds[0]
		}
	}
	return max(n, 0), err
}

// again tells whether a read is to be repeated. The other side ending with an unread command in its queue shows as ECONNRESET,
// once, before what it had sent (unix(7)).
func again(err error) bool { return errors.Is(err, unix.ECONNRESET) }

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

// Exec opens the gate: the payload executes its program (with Config.Eager it does so by itself). An error is a *ExecError, or io.ErrUnexpectedEOF when the
// supervisor's side is closed already. A payload that was killed at the gate is no error: its end is reported by Next.
func (p *Process) Exec() error {
	if !p.plan.eager {
		if _, err := p.gate.Write([]byte{cmdGo}); err != nil {
			if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
				return nil
			}
			return fmt.Errorf("launch: %w", err)
		}
	}
	r, err := p.report()
	if err == nil && r.ready == listening {
		if p.listener < 0 {
			return fmt.Errorf("launch: no descriptor came with the filter: out of descriptors")
		}
		fd := p.listener
		p.listener = -1
		if err := p.notify(p.PID, fd); err != nil {
			return err
		}
		r, err = p.report()
	}
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	return p.failure(r)
}

// Next blocks until the reaper has something to report. It returns io.EOF when the reaper is gone; after Done that is
// its regular end. Of an observed process it is the guard that is gone.
func (p *Process) Next() (Event, error) {
	if p.observed != nil {
		return p.nextObserved()
	}
	var r record
	b := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	for {
		n, err := p.ctl.Read(b)
		switch {
		case again(err):
			continue
		case err != nil || n != len(b):
			return Event{}, io.EOF
		}
		return Event{Kind: EventKind(r.kind), Status: syscall.WaitStatus(r.status), Known: true, Rusage: r.usage}, nil
	}
}

func (p *Process) command(c byte) {
	// A reaper that is gone shows at Next.
	_, _ = p.ctl.Write([]byte{c})
}

// Reap allows the reaper to wait for the ended payload. After it the pid and the process group id may be used again by
// somebody else, and must not be signalled any more.
func (p *Process) Reap() { p.command(cmdReap) }

// KillAll makes the reaper send SIGKILL to every descendant until none is left, and wait for the payload as after Reap.
func (p *Process) KillAll() { p.command(cmdKill) }

// Hold makes the reaper let what the payload leaves behind live until KillAll. Without it the reaper need not wait for that: when
// processes are forked and end so fast that it hardly keeps up, it kills them at once when the payload has ended.
func (p *Process) Hold() { p.command(cmdHold) }

// Orphans are the children of a reaper that was killed: the caller, a subreaper, is their parent now.
type Orphans struct{ plan *plan }

// Orphans prepares the caller to end what the reaper has left.
func (p *Process) Orphans() *Orphans {
	o := &Orphans{&plan{ctl: -1, pid: int32(p.PID), killing: true, acked: true, storm: true}}
	pid := strconv.Itoa(os.Getpid())
	// The kernel gives orphans to the first thread of a subreaper (kernel/exit.c, find_new_reaper).
	o.plan.names.children, _ = o.plan.cstring("/proc/self/task/" + pid + "/children")
	o.plan.names.lastPID = p.plan.names.lastPID
	return o
}

// Kill sends SIGKILL to all children of the caller and waits for those that have ended, without blocking: call it from one locked thread
// until left is false. It also raises the priority of that thread where that is permitted. Pids of children must not be used by
// anybody else meanwhile. busy tells that there is more to do at once.
func (o *Orphans) Kill() (left, busy bool) {
	hurry(o.plan)
	kill(o.plan)
	found := collect(o.plan)
	return found != noChild, found == moreEnded
}

// Payload is the status of the payload, once it was waited for.
func (o *Orphans) Payload() (status syscall.WaitStatus, known bool) {
	return syscall.WaitStatus(o.plan.event.status), o.plan.exited
}
