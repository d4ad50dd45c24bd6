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
	sys(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.all)), uintptr(unsafe.Pointer(&p.old)), unsafe.Sizeof(p.all))
	pid, e := sys(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0)
	if e != 0 {
		fail(p, -1, e, -1)
	}
	if pid == 0 {
		become(p)
	}
	p.pid = int32(pid)
	sfd, e := sys(unix.SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(&p.all)), unsafe.Sizeof(p.all), unix.O_NONBLOCK|unix.O_CLOEXEC)
	if e != 0 {
		sfd = ^uintptr(0)
	}
	keepOnly(0, uintptr(p.ctl), sfd)
	watch(p, int32(sfd))
}

// watch waits for the end of the payload's children, or of the supervisor.
//
//go:nosplit
//go:norace
//go:nocheckptr
func watch(p *plan, sfd int32) {
	killing, exited, acked := false, false, false
	wait := uintptr(0) // poll time-out in ms; 0: none
	for {
		left := true
		for {
			*(*uintptr)(unsafe.Pointer(&p.siginfo[0])) = 0
			clearPID(p)
			_, _, e := syscall.RawSyscall6(unix.SYS_WAITID, idAll, 0, uintptr(unsafe.Pointer(&p.siginfo[0])), waitExited|waitNoHang|waitNoWait|waitAll, 0, 0)
			if e == syscall.EINTR {
				continue
			}
			if e != 0 { // ECHILD
				left = false
				break
			}
			pid := childPID(p)
			if pid == 0 {
				break
			}
			if pid == p.pid && !acked {
				if !exited {
					exited = true
					p.event.kind, p.event.status = uint32(Exited), exitStatus(p)
					send(p, 0)
				}
				if !killing {
					break // nothing is reaped before the supervisor has stopped using the pid
				}
			}
			sys(unix.SYS_WAIT4, uintptr(pid), 0, unix.WNOHANG|waitAll, uintptr(unsafe.Pointer(&p.usage)))
			if pid == p.pid {
				acked = true
			}
		}
		if !left {
			break
		}
		if !exited {
			jobControl(p)
		}
		if killing {
			killChildren(p)
			if wait = wait * 2; wait == 0 {
				wait = 1
			}
			if wait > 128 {
				wait = 128
			}
		}
		p.polls[0] = pollfd{fd: p.ctl, events: unix.POLLIN}
		p.polls[1] = pollfd{fd: sfd, events: unix.POLLIN}
		var ts uintptr
		if killing || sfd < 0 {
			if !killing {
				wait = 10
			}
			p.wait.Sec, p.wait.Nsec = 0, int64AsNsec(wait)
			ts = uintptr(unsafe.Pointer(&p.wait))
		}
		syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.polls[0])), 2, ts, 0, 0, 0)
		if p.polls[1].revents != 0 {
			sys(unix.SYS_READ, uintptr(sfd), uintptr(unsafe.Pointer(&p.buf[0])), uintptr(len(p.buf)), 0)
		}
		if p.polls[0].revents != 0 {
			n, e := sys(unix.SYS_READ, uintptr(p.ctl), uintptr(unsafe.Pointer(&p.one[0])), 1, 0)
			switch {
			case e != 0 && e != syscall.EINTR, e == 0 && n == 0: // the supervisor is gone
				if !killing {
					wait = 0
				}
				killing, acked = true, true
				p.ctl = -1
			case e == 0 && p.one[0] == cmdReap:
				acked = true
			case e == 0 && p.one[0] == cmdKill:
				killing, wait = true, 0
			}
		}
	}
	sys(unix.SYS_GETRUSAGE, ^uintptr(0), uintptr(unsafe.Pointer(&p.event.usage)), 0, 0) // RUSAGE_CHILDREN
	p.event.kind, p.event.status = uint32(Done), 0
	send(p, 0)
	exit(0)
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

// killChildren sends SIGKILL to every child. Grandchildren become children as their parents end.
//
//go:nosplit
//go:norace
//go:nocheckptr
func killChildren(p *plan) {
	fd, e := sys(unix.SYS_OPENAT, atCwd, uintptr(unsafe.Pointer(p.names.children)), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if e != 0 {
		sys(unix.SYS_KILL, uintptr(p.pid), uintptr(unix.SIGKILL), 0, 0)
		return
	}
	pid := uintptr(0)
	for {
		n, e := sys(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&p.buf[0])), uintptr(len(p.buf)), 0)
		if e != 0 || n == 0 || n > uintptr(len(p.buf)) {
			break
		}
		for i := uintptr(0); i < n; i++ {
			c := p.buf[i]
			if c >= '0' && c <= '9' {
				pid = pid*10 + uintptr(c-'0')
				continue
			}
			if pid > 1 {
				sys(unix.SYS_KILL, pid, uintptr(unix.SIGKILL), 0, 0)
			}
			pid = 0
		}
	}
	sys(unix.SYS_CLOSE, fd, 0, 0, 0)
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
