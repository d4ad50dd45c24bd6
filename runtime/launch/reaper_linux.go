//go:build !portable

package launch

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reap is the whole life of the reaper.
//
//go:nosplit
//go:norace
//go:nocheckptr
func reap(p *plan) {
	sys(unix.SYS_CLOSE, uintptr(p.ctlPeer), 0, 0, 0)
	sys(unix.SYS_CLOSE, uintptr(p.gatePeer), 0, 0, 0)
	sys(unix.SYS_SETPGID, 0, 0, 0, 0)
	sys(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0)
	sys(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(p.names.reaper)), 0, 0)
	sys(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.all)), 0, unsafe.Sizeof(p.all))
	pid, e := forkPayload(p)
	if e != 0 {
		fail(p, -1, e, -1)
	}
	p.pid = int32(pid)
	sfd, e := sys(unix.SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(&p.all)), unsafe.Sizeof(p.all), unix.O_NONBLOCK|unix.O_CLOEXEC)
	if e != 0 {
		sfd = ^uintptr(0)
	}
	keepOnly(0, p.ctl, int32(sfd), -1)
	watch(p, int32(sfd))
}

// forkPayload makes the payload.
//
//go:nosplit
//go:norace
//go:nocheckptr
func forkPayload(p *plan) (uintptr, syscall.Errno) {
	if p.sharing {
		return clone3(p.payloadClone, p, 1)
	}
	pid, e := sys(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0)
	if e == 0 && pid == 0 {
		become(p)
	}
	return pid, e
}

// How many ended children are waited for before anything else is looked at: payloads can be made that always have another one.
const (
	batch     = 64   // before a command of the supervisor's
	killBatch = 4096 // before the next look at who is to be killed
)

// watch waits for the end of the payload's children, or of the supervisor.
//
//go:nosplit
//go:norace
//go:nocheckptr
func watch(p *plan, sfd int32) {
	found := noneEnded
	for {
		if p.killing {
			kill(p)
		}
		found = collect(p)
		if found == moreEnded {
			p.storm = true
			hurry(p)
		}
		if found == noChild {
			break
		}
		if !p.exited {
			jobControl(p)
		}
		p.polls[0] = pollfd{fd: p.ctl, events: unix.POLLIN}
		p.polls[1] = pollfd{fd: sfd, events: unix.POLLIN}
		syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.polls[0])), 2, patience(p, found, sfd), 0, 0, 0)
		if p.polls[1].revents != 0 {
			sys(unix.SYS_READ, uintptr(sfd), uintptr(unsafe.Pointer(&p.buf[0])), uintptr(len(p.buf)), 0)
		}
		if p.polls[0].revents != 0 {
			obey(p)
		}
	}
	sys(unix.SYS_GETRUSAGE, ^uintptr(0), uintptr(unsafe.Pointer(&p.event.usage)), 0, 0) // RUSAGE_CHILDREN
	p.event.kind, p.event.status = uint32(Done), 0
	send(p, 0)
	exit(0)
}

// patience sets how long to wait for the next event, and returns its address, or 0 for as long as it takes.
//
//go:nosplit
//go:norace
//go:nocheckptr
func patience(p *plan, found outcome, sfd int32) uintptr {
	ms := uintptr(0)
	switch {
	case found == moreEnded:
		p.tries = 0
	case p.killing:
		// A child that ends wakes it up. Those that become children without one ending, and those that do not end, it comes back to.
		if found == someEnded {
			p.tries = 0
		}
		ms = 1 << p.tries
		if p.tries < 7 {
			p.tries++
		}
	case sfd < 0:
		ms = 10
	default:
		return 0
	}
	p.wait.Sec, p.wait.Nsec = 0, int64AsNsec(ms)
	return uintptr(unsafe.Pointer(&p.wait))
}

// obey reads a command of the supervisor's, or its end.
//
//go:nosplit
//go:norace
//go:nocheckptr
func obey(p *plan) {
	n, e := sys(unix.SYS_READ, uintptr(p.ctl), uintptr(unsafe.Pointer(&p.one[0])), 1, 0)
	switch {
	case e == syscall.EINTR:
		return
	case e != 0 || n == 0:
		p.acked, p.ctl = true, -1
	case p.one[0] == cmdReap:
		p.acked = true
		return
	case p.one[0] == cmdHold:
		p.held = true
		return
	case p.one[0] != cmdKill:
		return
	}
	p.killing, p.acked, p.tries = true, true, 0
	if p.storm {
		hurry(p)
	}
}

// hurry lets the reaper run before all that it is to kill, if that is permitted. Each session has a share of the processor of its own
// (sched(7), the autogroup feature), and a hundred new ones leave one percent to others.
//
//go:nosplit
//go:norace
//go:nocheckptr
func hurry(p *plan) {
	if !p.hurried {
		p.hurried, p.priority = true, 1
		sys(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO|unix.SCHED_RESET_ON_FORK, uintptr(unsafe.Pointer(&p.priority)), 0)
	}
}

// outcome is what collect came to.
type outcome uint8

const (
	noChild   outcome = iota // there is none
	noneEnded                // none has ended
	someEnded                // some had, and were waited for
	moreEnded                // and there may be others
)

// collect waits for children that have ended. When everything is to end, what they left in process groups that are theirs ends with
// them: a process group is found as long as its leader is not waited for, also by those who forked faster than anybody can look.
//
//go:nosplit
//go:norace
//go:nocheckptr
func collect(p *plan) outcome {
	found := noneEnded
	n := batch
	if p.killing {
		n = killBatch
	}
	for ; n > 0; n-- {
		clearPID(p)
		_, _, e := syscall.RawSyscall6(unix.SYS_WAITID, idAll, 0, uintptr(unsafe.Pointer(&p.siginfo[0])), waitExited|waitNoHang|waitNoWait|waitAll, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 { // ECHILD
			return noChild
		}
		pid := childPID(p)
		if pid == 0 {
			return found
		}
		if pid == p.pid {
			if !p.exited {
				p.exited = true
				p.event.kind, p.event.status = uint32(Exited), exitStatus(p)
				send(p, 0)
			}
			if !p.acked {
				// Whoever forks that fast has the supervisor wait for the processor, too.
				p.killing = p.killing || p.storm && !p.held
				return collectOthers(p)
			}
		}
		if p.killing {
			sys(unix.SYS_KILL, uintptr(-int(pid)), uintptr(unix.SIGKILL), 0, 0)
		}
		sys(unix.SYS_WAIT4, uintptr(pid), 0, unix.WNOHANG|waitAll, uintptr(unsafe.Pointer(&p.usage)))
		found = someEnded
	}
	return moreEnded
}

// send reports p.event to the supervisor, if there is one.
//
//go:nosplit
//go:norace
//go:nocheckptr
func send(p *plan, flags uintptr) {
	if p.ctl < 0 {
		return
	}
	syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(p.ctl), uintptr(unsafe.Pointer(&p.event)), unsafe.Sizeof(p.event), flags|unix.MSG_NOSIGNAL, 0, 0)
}

// jobControl reports a stopped or continued payload. A report is dropped rather than waited with.
//
//go:nosplit
//go:norace
//go:nocheckptr
func jobControl(p *plan) {
	clearPID(p)
	_, _, e := syscall.RawSyscall6(unix.SYS_WAITID, idPID, uintptr(p.pid), uintptr(unsafe.Pointer(&p.siginfo[0])), waitStopped|waitContinued|waitNoHang|waitAll, 0, 0)
	if e != 0 || childPID(p) == 0 {
		return
	}
	p.event.kind, p.event.status = uint32(Stopped), uint32(childStatus(p))<<8|0x7f
	if childCode(p) == childContinued {
		p.event.kind, p.event.status = uint32(Continued), 0xffff
	}
	send(p, unix.MSG_DONTWAIT)
}

// collectOthers waits for ended children but the payload, which waitid would always find first: it is kept until the supervisor has
// stopped using its pid.
//
//go:nosplit
//go:norace
//go:nocheckptr
func collectOthers(p *plan) outcome {
	found, n := noneEnded, 0
	fd := openChildren(p)
	if fd < 0 {
		return found
	}
	for pid := nextChild(p, fd); pid > 0; pid = nextChild(p, fd) {
		if pid == p.pid {
			continue
		}
		if r, e := sys(unix.SYS_WAIT4, uintptr(pid), 0, unix.WNOHANG|waitAll, uintptr(unsafe.Pointer(&p.usage))); e == 0 && r != 0 {
			found = moreEnded // what is read while others are waited for is not complete
			n++
		}
		if n >= batch {
			p.storm = true
			hurry(p)
			break
		}
	}
	sys(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0)
	return found
}

// kill sends SIGKILL to every child.
//
//go:nosplit
//go:norace
//go:nocheckptr
func kill(p *plan) {
	if !p.acked {
		killOne(p.pid)
	}
	chase(p)
	fd := openChildren(p)
	if fd < 0 {
		return
	}
	for pid := nextChild(p, fd); pid > 0; pid = nextChild(p, fd) {
		killOne(pid)
		if p.read == p.filled {
			chase(p) // as long as it takes to read on, others fork
		}
	}
	sys(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0)
}

// killOne sends SIGKILL to a child and to the process group that it leads: one with the pid of a child was made by that child.
//
//go:nosplit
//go:norace
//go:nocheckptr
func killOne(pid int32) {
	if pid > 1 {
		sys(unix.SYS_KILL, uintptr(-int(pid)), uintptr(unix.SIGKILL), 0, 0)
		sys(unix.SYS_KILL, uintptr(pid), uintptr(unix.SIGKILL), 0, 0)
	}
}

const (
	recent = 1024 // pids that chase looks at
	rounds = 16
)

// chase kills the newest children, until nobody forks. What forks and ends without pause has the newest pids, since they are allocated in
// order; in the list of children it comes behind thousands of its ancestors for whose ends there was no time yet. A child that
// was not waited for keeps its pid, so nobody else is hit.
//
//go:nosplit
//go:norace
//go:nocheckptr
func chase(p *plan) {
	if !p.storm {
		return
	}
	before := int32(0)
	for i := 0; i < rounds; i++ {
		last := lastPID(p)
		if last == before {
			return
		}
		before = last
		for pid := last; pid > 1 && pid > last-recent; pid-- {
			clearPID(p)
			_, _, e := syscall.RawSyscall6(unix.SYS_WAITID, idPID, uintptr(pid), uintptr(unsafe.Pointer(&p.siginfo[0])), waitExited|waitNoHang|waitNoWait|waitAll, 0, 0)
			if e == 0 && childPID(p) == 0 {
				killOne(pid)
			}
		}
	}
}

// lastPID is the pid that was allocated last (proc_sys_kernel(5), ns_last_pid); 0 if that is not known.
//
//go:nosplit
//go:norace
//go:nocheckptr
func lastPID(p *plan) int32 {
	fd, e := sys(unix.SYS_OPENAT, atCwd, uintptr(unsafe.Pointer(p.names.lastPID)), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if e != 0 {
		return 0
	}
	n, e := sys(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&p.digits[0])), uintptr(len(p.digits)), 0)
	sys(unix.SYS_CLOSE, fd, 0, 0, 0)
	pid := int32(0)
	for i := uintptr(0); e == 0 && i < n && p.digits[i] >= '0'; i++ {
		pid = pid*10 + int32(p.digits[i]-'0')
	}
	return pid
}

// openChildren opens the list of children for nextChild.
//
//go:nosplit
//go:norace
//go:nocheckptr
func openChildren(p *plan) int32 {
	p.read, p.filled = 0, 0
	fd, e := sys(unix.SYS_OPENAT, atCwd, uintptr(unsafe.Pointer(p.names.children)), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if e != 0 {
		return -1
	}
	return int32(fd)
}

// nextChild is the next pid of the list, 0 at its end for now: it may be read on. A pid is followed by a space, and is not cut in two
// (fs/proc/array.c, children_seq_show).
//
//go:nosplit
//go:norace
//go:nocheckptr
func nextChild(p *plan, fd int32) int32 {
	pid := int32(0)
	for {
		if p.read == p.filled {
			n, e := sys(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p.buf[0])), uintptr(len(p.buf)), 0)
			if e != 0 || n == 0 || n > uintptr(len(p.buf)) {
				return 0
			}
			p.read, p.filled = 0, n
		}
		c := p.buf[p.read]
		p.read++
		if c >= '0' && c <= '9' {
			pid = pid*10 + int32(c-'0')
		} else if pid > 0 {
			return pid
		}
	}
}

// siginfo_t of waitid(2): si_signo, si_errno, si_code, padding to the union's alignment, then si_pid, si_uid, si_status.

const siginfoUnion = 12 + (unsafe.Sizeof(uintptr(0)) - 4)

//go:nosplit
//go:norace
//go:nocheckptr
func clearPID(p *plan) { *(*int32)(unsafe.Pointer(&p.siginfo[siginfoUnion])) = 0 }

//go:nosplit
//go:norace
//go:nocheckptr
func childPID(p *plan) int32 { return *(*int32)(unsafe.Pointer(&p.siginfo[siginfoUnion])) }

//go:nosplit
//go:norace
//go:nocheckptr
func childStatus(p *plan) int32 { return *(*int32)(unsafe.Pointer(&p.siginfo[siginfoUnion+8])) }

//go:nosplit
//go:norace
//go:nocheckptr
func childCode(p *plan) int32 { return *(*int32)(unsafe.Pointer(&p.siginfo[8])) }

// exitStatus makes a wait(2) status of a siginfo.
//
//go:nosplit
//go:norace
//go:nocheckptr
func exitStatus(p *plan) uint32 {
	s := uint32(childStatus(p))
	switch childCode(p) {
	case childExited:
		return s & 0xff << 8
	case childExited + 2: // CLD_DUMPED
		return s&0x7f | 0x80
	}
	return s & 0x7f
}

//go:nosplit
//go:norace
func int64AsNsec(ms uintptr) int64 { return int64(ms) * 1000000 }
