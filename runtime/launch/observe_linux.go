//go:build !portable

package launch

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// startSibling is Start for Config.Sibling.
func startSibling(c *Config, p *plan, gate [2]int) (*Process, error) {
	proc, err := fork(c, p, gate, unix.CLONE_PARENT)
	if err != nil {
		return nil, err
	}
	o, err := Observe(proc.PID)
	if err != nil {
		proc.gate.Close() // which ends it
		return nil, err
	}
	o.plan, o.gate, o.notify, o.listener = proc.plan, proc.gate, proc.notify, -1
	return o, nil
}

// Fork starts a payload as a child of the calling process, with no reaper and no guard: the caller waits for it, or whoever is the caller's
// parent afterwards. It is a subreaper. Only PID, Exec and Release are of use then. Errors are those of Start; no process is left then.
func Fork(c *Config) (*Process, error) {
	own := *c
	own.child, own.Eager = true, false
	p, gate, drop, err := prepare(&own)
	if err != nil {
		return nil, err
	}
	defer drop()
	proc, err := fork(c, p, gate, 0)
	if err != nil && proc != nil {
		_, _ = unix.Wait4(proc.PID, nil, 0, nil)
	}
	if err != nil {
		return nil, err
	}
	return proc, nil
}

// Release gives the gate of a process back that Fork has started. One that waits there ends.
func (p *Process) Release() { p.gate.Close() }

// fork forks a payload without a reaper. With an error there may be a child that has ended.
func fork(c *Config, p *plan, gate [2]int, flags uintptr) (*Process, error) {
	p.ctl, p.ctlPeer, p.gate, p.gatePeer = -1, -1, int32(gate[1]), int32(gate[0])
	syscall.ForkLock.Lock()
	pid, errno := forkSibling(p, flags)
	syscall.ForkLock.Unlock()
	unix.Close(gate[1])
	proc := &Process{PID: int(pid), plan: p, gate: polled(gate[0], "gate"), listener: -1}
	if c.Seccomp != nil {
		proc.notify = c.Seccomp.Listener
	}
	if errno != 0 {
		proc.gate.Close()
		return nil, fmt.Errorf("fork: %w", errno)
	}
	r, err := proc.report()
	if err == nil && r.ready == 0 {
		err = proc.failure(r)
	}
	if err != nil {
		proc.gate.Close()
		return proc, err
	}
	return proc, nil
}

// Observe takes a process into care that is a child of somebody else, and a subreaper: a guard ends it, and everything below it, when the
// calling process ends. Needs pidfd_open(2), Linux 5.3. Exec may not be called.
func Observe(pid int) (*Process, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open %d: %w", pid, err)
	}
	ctl, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		unix.Close(pidfd)
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	p := guardPlan(pid, pidfd, ctl)
	syscall.ForkLock.Lock()
	reaper, errno := forkGuard(p)
	syscall.ForkLock.Unlock()
	unix.Close(ctl[1])
	o := &Process{PID: pid, Reaper: int(reaper), plan: p, ctl: polled(ctl[0], "guard"), observed: polled(pidfd, "pidfd"), lost: make(chan struct{})}
	if errno != 0 {
		o.ctl.Close()
		o.observed.Close()
		return nil, fmt.Errorf("fork: %w", errno)
	}
	if s, err := proc.Root.Stat(pid); err == nil {
		o.start = s.Start
	}
	go func() {
		defer close(o.lost)
		var b [1]byte
		for {
			if _, err := o.ctl.Read(b[:]); err != nil && !again(err) {
				return
			}
		}
	}()
	return o, nil
}

// guardPlan is what a guard needs to know.
func guardPlan(pid, pidfd int, ctl [2]int) *plan {
	p := &plan{all: ^sigset(0), ctl: int32(ctl[1]), ctlPeer: int32(ctl[0]), pid: int32(pid), pidfd: int32(pidfd), acked: true}
	p.names.guard, _ = p.cstring("mlrun: guard")
	p.taskLen = uintptr(copy(p.taskPath[:], "/proc/"+strconv.Itoa(pid)+"/task/"))
	copy(p.statPath[:], "/proc/")
	return p
}

// Observed tells whether the payload is the child of somebody else, who waits for it: there is no Done, no Rusage, and its pid may belong
// to another process as soon as it has ended.
func (p *Process) Observed() bool { return p.observed != nil }

// nextObserved is Next.
func (p *Process) nextObserved() (Event, error) {
	if !p.over {
		p.over = true
		over := make(chan Event, 1)
		go func() { over <- p.End() }()
		select {
		case e := <-over:
			return e, nil
		case <-p.lost:
		}
	}
	<-p.lost
	return Event{}, io.EOF
}

// End waits for the end of an observed process, which Next reports as long as there is a guard, or for Close.
func (p *Process) End() Event {
	conn, err := p.observed.SyscallConn()
	if err == nil {
		err = conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
	}
	e := Event{Kind: Exited}
	if err == nil {
		e.Status, e.Known = p.exitStatus()
	}
	return e
}

// exitStatus finds out how an observed process ended. Whoever waits for it makes it known for good (ioctl_pidfd(2), PIDFD_INFO_EXIT, Linux 6.15);
// before that /proc has it, for those who may trace the process (proc_pid_stat(5), field 52).
func (p *Process) exitStatus() (status syscall.WaitStatus, known bool) {
	conn, err := p.observed.SyscallConn()
	if err != nil {
		return 0, false
	}
	const tries = 20
	for range tries {
		if status, known = p.zombie(); known {
			return status, true
		}
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		_ = conn.Control(func(fd uintptr) { err = unix.IoctlPidfdInfo(int(fd), &info) })
		if err == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0 {
			return syscall.WaitStatus(info.Exit_code), true
		}
		time.Sleep(time.Millisecond) // between its end and its being waited for
	}
	return 0, false
}

// zombie reads the status of a process that nobody has waited for yet.
func (p *Process) zombie() (status syscall.WaitStatus, known bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/stat")
	if err != nil {
		return 0, false
	}
	s, err := proc.ParseStat(b)
	if err != nil || s.Start != p.start || !s.Ended() {
		return 0, false
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const exitCode, first = 52, 3
	if len(fields) <= exitCode-first {
		return 0, false
	}
	n, err := strconv.Atoi(string(fields[exitCode-first]))
	// Who may not trace it reads 0.
	if err != nil || n == 0 && !mayTrace(p.PID) {
		return 0, false
	}
	return syscall.WaitStatus(n), true
}

// mayTrace tells whether what only a tracer may see of a process is shown to this one.
func mayTrace(pid int) bool {
	// A zombie has none, which those are told who may read it (proc_pid_exe(5)).
	_, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	return err == nil || !os.IsPermission(err)
}
