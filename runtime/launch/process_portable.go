//go:build darwin || portable

package launch

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// Adopts tells whether what the payload starts comes to its reaper when its parent ends, so that Done means that nothing is left. Here it
// does not: there is no subreaper, and who is left is for package proc to find.
const Adopts = false

// Process is a payload, which is a child of the calling process, and its guard.
type Process struct {
	PID    int // the payload, which is also its process group id
	Reaper int // the guard

	name     string // of the program
	searched bool   // in a search path
	eager    bool
	gate     *os.File // to the stage, until that has become the program
	ctl      *os.File // to the guard

	answers chan *answer   // of the stage, never more than there is room for; closed when it is gone, or the program
	heard   chan struct{}  // closed then, too
	killed  atomic.Int64   // the signal that it has ended for, which the kernel does not know
	changed chan os.Signal // SIGCHLD
	lost    chan struct{}  // closed when the guard has ended
	let     chan struct{}  // closed when the payload may be waited for
	letOnce sync.Once

	exited, stopped bool // what Next has told

	mu     sync.Mutex
	reaped bool
	status syscall.WaitStatus // when reaped
	used   syscall.Rusage
	done   atomic.Bool
}

// BecomeSubreaper does nothing: there is no such thing.
func BecomeSubreaper() error { return nil }

// CloseOnExec marks every descriptor from 3 on close-on-exec, so that nothing but 0 to 2 is inherited by anything that
// this process starts. Call it first: descriptors that the caller left open must not reach a payload.
func CloseOnExec() error {
	dir, err := os.Open("/dev/fd")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return err
}

// beyond names what a configuration asks for that this platform does not have; "": nothing.
func (c *Config) beyond() string {
	for _, p := range []struct {
		asked bool
		name  string
	}{
		{c.OOMScoreAdj != nil, "oom_score_adj"}, {c.NoNewPrivileges, "no_new_privs"}, {c.Tasks != nil, namespaceStep + "make"},
		{c.Capabilities != nil, "capabilities"}, {c.Scheduler != nil, "scheduler"}, {c.IOPriority != nil, "I/O priority"},
		{len(c.Affinity) > 0, "affinity"}, {c.Personality != nil, "personality"}, {c.MemoryPolicy != nil, "memory policy"},
		{len(c.Labels) > 0, "security context"}, {c.Seccomp != nil, "seccomp"}, {c.Sibling || c.child, "a child of the caller's parent"},
	} {
		if p.asked {
			return p.name
		}
	}
	return ""
}

// Start starts the guard and the payload, applies everything in c and returns when the payload waits at the gate
// (created). An error is a *Error or a *ExecError when a step of the payload did not work; then no process is left. Of what the platform
// does not have it is a *Error with ENOTSUP.
func Start(c *Config) (*Process, error) {
	if _, _, err := c.vectors(); err != nil {
		return nil, err
	}
	if name := c.beyond(); name != "" {
		return nil, &Error{Step: name, Errno: syscall.ENOTSUP}
	}
	p := &Process{
		name: c.Args[0], searched: !strings.Contains(c.Args[0], "/"), eager: c.Eager, answers: make(chan *answer, 4), heard: make(chan struct{}),
		changed: make(chan os.Signal, 1), lost: make(chan struct{}), let: make(chan struct{}),
	}
	signal.Notify(p.changed, syscall.SIGCHLD)
	if err := p.fork(c); err != nil {
		p.abandon()
		return nil, err
	}
	go p.listen()
	if err := p.ready(c); err != nil {
		p.abandon()
		return nil, err
	}
	return p, nil
}

// fork starts both processes. Each is this program again, which package launch takes over before it comes to main.
func (p *Process) fork(c *Config) error {
	program, err := Program()
	if err != nil {
		return fmt.Errorf("the program of mlrun itself: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	ctl, theirs, err := pair()
	if err != nil {
		return err
	}
	p.ctl = ctl
	defer theirs.Close()
	n := null.Fd()
	// In a session of its own: no terminal reaches it.
	if p.Reaper, err = syscall.ForkExec(program, []string{guardName, "3"}, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: []uintptr{n, n, n, theirs.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	}); err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	gate, stage, err := pair()
	if err != nil {
		return err
	}
	p.gate = gate
	defer stage.Close()
	var files []uintptr
	for _, fd := range c.Files {
		files = append(files, uintptr(fd))
	}
	if c.Files == nil {
		for fd := range uintptr(3 + c.PreserveFDs) {
			files = append(files, fd)
		}
	}
	inherited := append(files, stage.Fd())
	if c.Terminal >= 0 {
		inherited = append(inherited, uintptr(c.Terminal))
	}
	sys := &syscall.SysProcAttr{Setpgid: true}
	if c.Session {
		sys = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	}
	p.PID, err = syscall.ForkExec(program, []string{stageName, strconv.Itoa(len(files))}, &syscall.ProcAttr{
		Env: []string{}, Files: inherited, Sys: sys,
	})
	if err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	return nil
}

// pair is two ends of a connection.
func pair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	_ = unix.SetNonblock(fds[0], true) // without it a read takes a thread, and is right all the same
	return os.NewFile(uintptr(fds[0]), "mlrun"), os.NewFile(uintptr(fds[1]), "mlrun"), nil
}

// listen reads what the stage and the guard say.
func (p *Process) listen() {
	go func() {
		defer close(p.lost)
		_, _ = io.Copy(io.Discard, p.ctl) // it says nothing more
	}()
	defer close(p.heard)
	defer close(p.answers)
	for {
		a, err := receiveAnswer(p.gate)
		if err != nil {
			return
		}
		if a.kind == isSignaled {
			p.killed.Store(int64(a.number))
			continue
		}
		p.answers <- a
	}
}

// ready tells both processes what to do, and waits until they have done it.
func (p *Process) ready(c *Config) error {
	s, err := proc.Root.Stat(p.PID)
	if err != nil {
		return fmt.Errorf("launch: the process has ended before it was there")
	}
	self, m := proc.Self(), &message{}
	for _, id := range []proc.ID{s.ID(), self} {
		m.number(int64(id.PID))
		m.number(int64(id.Start))
	}
	if m.send(p.ctl) != nil {
		return fmt.Errorf("launch: the guard has ended before it was ready")
	}
	err = c.encode().send(p.gate)
	a, ok := <-p.answers
	if err != nil || !ok {
		return fmt.Errorf("launch: the process has ended before it was ready")
	}
	if a.kind != isReady {
		return p.failure(a)
	}
	if p.eager {
		p.open()
	}
	return nil
}

// failure is what the stage says did not work.
func (p *Process) failure(a *answer) error {
	errno := syscall.Errno(a.number)
	if a.kind == isFailed {
		return &Error{Step: a.text, Errno: errno}
	}
	return &ExecError{Name: p.name, Path: a.text, Errno: errno, Searched: p.searched, Interpreter: a.interpreter}
}

// open lets the stage go on. One that is gone shows at Next.
func (p *Process) open() {
	m := &message{}
	_ = m.send(p.gate)
}

// Exec opens the gate: the payload executes its program (with Config.Eager it does so by itself). An error is a *ExecError or a *Error. A payload that
// was killed at the gate is no error: its end is reported by Next.
func (p *Process) Exec() error {
	if !p.eager {
		p.open()
	}
	if a, ok := <-p.answers; ok {
		return p.failure(a)
	}
	return nil
}

// stoppedLook is how often it is seen that a stopped payload goes on, which need not raise SIGCHLD.
const stoppedLook = 20 * time.Millisecond

// Next blocks until there is something to report. It returns io.EOF when the guard is gone; after Done that is its regular end.
func (p *Process) Next() (Event, error) {
	for {
		if p.exited {
			select {
			case <-p.let:
				p.bury()
				e := Event{Kind: Done, Rusage: p.used}
				p.done.Store(true)
				return e, nil
			case <-p.lost:
				return Event{}, io.EOF
			}
		}
		if e, ok := p.look(); ok {
			return e, nil
		}
		var again <-chan time.Time
		if p.stopped {
			again = time.After(stoppedLook)
		}
		select {
		case <-p.changed:
		case <-again:
		case <-p.lost:
			return Event{}, io.EOF
		}
	}
}

// look compares what the payload does with what was told of it.
func (p *Process) look() (Event, bool) {
	kind, status := statusOf(p.PID)
	stopped := kind == Stopped
	if stopped { // perhaps it was told already
		kind, status = p.takeStop()
	}
	switch {
	case kind == Exited:
		p.exited = true
		return Event{Kind: Exited, Status: p.translate(status), Known: true}, true
	case kind == Stopped:
		p.stopped = true
		return Event{Kind: Stopped, Status: status, Known: true}, true
	case !stopped && p.stopped:
		p.stopped = false
		return Event{Kind: Continued, Known: true}, true
	}
	return Event{}, false
}

// takeStop takes a stop of the payload that nobody has taken; 0: there is none. Where stops cannot be taken alone, one that has been killed meanwhile has
// been waited for.
func (p *Process) takeStop() (EventKind, syscall.WaitStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return 0, 0
	}
	kind, status := stopOf(p.PID, &p.used)
	if kind == Exited {
		p.reaped, p.status = true, status
	}
	return kind, status
}

// translate puts the signal in place that the stage has got, if it has ended for one.
func (p *Process) translate(status syscall.WaitStatus) syscall.WaitStatus {
	if status.Signaled() && status.Signal() == syscall.SIGKILL {
		select {
		case <-p.heard:
		case <-time.After(time.Second): // somebody else has the other end
		}
		if sig := p.killed.Load(); sig != 0 {
			return syscall.WaitStatus(sig)
		}
	}
	return status
}

// bury waits for the payload, which has ended.
func (p *Process) bury() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.reaped {
		_, err := syscall.Wait4(p.PID, &p.status, 0, &p.used)
		p.reaped = err != syscall.EINTR
	}
}

// Reap allows the payload to be waited for. After it the pid and the process group id may be used again by
// somebody else, and must not be signalled any more.
func (p *Process) Reap() { p.letOnce.Do(func() { close(p.let) }) }

// KillAll sends SIGKILL to the payload, and allows it to be waited for. The rest is for the caller to find.
func (p *Process) KillAll() {
	p.kill()
	p.Reap()
}

func (p *Process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped && p.PID > 0 {
		_ = syscall.Kill(p.PID, syscall.SIGKILL)
	}
}

// Hold does nothing: nobody is killed before the caller says so.
func (p *Process) Hold() {}

// Close gives up the supervisor's side: unless the payload was waited for, the guard kills whatever still runs.
func (p *Process) Close() {
	signal.Stop(p.changed)
	if p.ctl != nil {
		if p.done.Load() {
			m := &message{}
			_ = m.send(p.ctl)
		}
		p.ctl.Close()
	}
	if p.gate != nil {
		p.gate.Close()
	}
}

// Wait waits until the guard has ended, which it does when Close was called.
func (p *Process) Wait() {
	for p.Reaper > 0 {
		if _, err := syscall.Wait4(p.Reaper, nil, 0, nil); err != syscall.EINTR {
			return
		}
	}
}

// abandon ends what Start has started.
func (p *Process) abandon() {
	p.kill()
	if p.PID > 0 {
		p.bury()
	}
	p.done.Store(true)
	p.Close()
	p.Wait()
}

// Orphans are what is left when the guard was killed: the payload.
type Orphans struct{ p *Process }

// Orphans prepares the caller to end what is left.
func (p *Process) Orphans() *Orphans { return &Orphans{p} }

// Kill sends SIGKILL to the payload, and waits for it if it has ended, without blocking: call it until left is false.
func (o *Orphans) Kill() (left, busy bool) {
	o.p.kill()
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	if !o.p.reaped {
		n, err := syscall.Wait4(o.p.PID, &o.p.status, syscall.WNOHANG, nil)
		o.p.reaped = n == o.p.PID || err != nil && err != syscall.EINTR
	}
	return !o.p.reaped, false
}

// Payload is the status of the payload, once it was waited for.
func (o *Orphans) Payload() (status syscall.WaitStatus, known bool) {
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	return o.p.status, o.p.reaped
}

// Fork is not supported here: nobody but its parent could wait for the payload.
func Fork(*Config) (*Process, error) { return nil, ErrUnsupported }

// Observe is not supported here: see Fork.
func Observe(int) (*Process, error) { return nil, ErrUnsupported }

// Release does nothing: see Fork.
func (p *Process) Release() {}

// Observed is false: see Fork.
func (p *Process) Observed() bool { return false }

// End is not called: see Fork.
func (p *Process) End() Event { return Event{} }
