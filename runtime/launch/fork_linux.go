package launch

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// These three are what package syscall calls around its own fork. The runtime keeps them linkable (go.dev/issue/67401).

//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

//go:linkname runtimeAfterForkInChild syscall.runtime_AfterForkInChild
func runtimeAfterForkInChild()

// Everything below the fork runs in a process that has one thread and a copy of a Go heap whose locks may be held by
// threads that do not exist here. Nothing may allocate, grow the stack, write a pointer or call anything that is
// not nosplit. Memory that it writes to lies in plan.

const (
	waitExited    = 0x4 // WEXITED and the others of waitid(2), the same on every architecture
	waitStopped   = 0x2
	waitContinued = 0x8
	waitNoHang    = 0x1
	waitNoWait    = 0x01000000
	waitAll       = 0x40000000 // __WALL: also children that do not signal with SIGCHLD
	idAll         = 0          // P_ALL
	idPID         = 1          // P_PID

	childExited    = 1 // CLD_EXITED and the others of sigaction(2)
	childContinued = 6
)

// forkReaper forks the reaper, which forks the payload. It returns in the supervisor only.
//
//go:norace
//go:nocheckptr
//go:noinline
func forkReaper(p *plan) (pid uintptr, errno syscall.Errno) {
	runtimeBeforeFork()
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		runtimeAfterFork()
		return pid, errno
	}
	runtimeAfterForkInChild()
	reap(p)
	return 0, 0
}

//go:nosplit
//go:norace
//go:nocheckptr
func sys(nr, a, b, c, d uintptr) (uintptr, syscall.Errno) {
	r, _, e := syscall.RawSyscall6(nr, a, b, c, d, 0, 0)
	return r, e
}

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

// keepOnly closes every descriptor from first on but two. One that is negative is none.
//
//go:nosplit
//go:norace
func keepOnly(first, a, b uintptr) {
	if int32(a) < 0 || int32(b) >= 0 && b < a {
		a, b = b, a
	}
	if int32(a) >= 0 {
		if a > first {
			closeRange(first, a-1)
		}
		first = a + 1
	}
	if int32(b) >= 0 {
		if b > first {
			closeRange(first, b-1)
		}
		first = b + 1
	}
	closeRange(first, 1<<31-1)
}

//go:nosplit
//go:norace
func closeRange(from, to uintptr) {
	if _, e := sys(unix.SYS_CLOSE_RANGE, from, to, 0, 0); e == 0 {
		return
	}
	// Before Linux 5.9: what mlrun itself and its caller can have open is far below this.
	for fd := from; fd <= to && fd < 1024; fd++ {
		sys(unix.SYS_CLOSE, fd, 0, 0, 0)
	}
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

// become is the payload between fork and exec.
//
//go:nosplit
//go:norace
//go:nocheckptr
func become(p *plan) {
	// It may wait at the gate for long: descriptors of the supervisor's that somebody waits for the end of must not stay open.
	keepOnly(p.firstOwn, uintptr(p.gate), uintptr(p.terminal))
	sys(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(p.names.payload)), 0, 0)
	for i := 0; i < len(p.steps); i++ {
		s := &p.steps[i]
		var e syscall.Errno
		which := -1
		switch s.op {
		case opCall:
			_, e = sys(s.nr, s.a[0], s.a[1], s.a[2], s.a[3])
		case opWrite:
			e = writeFile(s)
		case opLookup:
			which, e = lookup(p)
		case opReady:
			e = waitGo(p)
		case opForeground:
			pid, _ := sys(unix.SYS_GETPID, 0, 0, 0, 0)
			p.pid = int32(pid)
			// Best effort: a terminal that went away is no reason not to run.
			sys(unix.SYS_IOCTL, s.a[0], unix.TIOCSPGRP, uintptr(unsafe.Pointer(&p.pid)), 0)
		case opExec:
			which, e = execute(p)
		}
		if e != 0 {
			fail(p, i, e, which)
		}
	}
	exit(127)
}

//go:nosplit
//go:norace
//go:nocheckptr
func writeFile(s *step) syscall.Errno {
	fd, e := sys(unix.SYS_OPENAT, atCwd, s.a[0], unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if e == 0 {
		_, e = sys(unix.SYS_WRITE, fd, s.a[1], s.a[2], 0)
		sys(unix.SYS_CLOSE, fd, 0, 0, 0)
	}
	return e
}

// waitGo reports ready, with the pid, and waits for one byte. End of file means that the supervisor is gone.
//
//go:nosplit
//go:norace
//go:nocheckptr
func waitGo(p *plan) syscall.Errno {
	pid, _ := sys(unix.SYS_GETPID, 0, 0, 0, 0)
	p.report.ready = int32(pid)
	tell(p)
	for {
		n, e := sys(unix.SYS_READ, uintptr(p.gate), uintptr(unsafe.Pointer(&p.one[0])), 1, 0)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 || n != 1 {
			exit(127)
		}
		return 0
	}
}

// lookup finds out whether one of the candidates may be executed, as the user and in the directory that it will be.
//
//go:nosplit
//go:norace
//go:nocheckptr
func lookup(p *plan) (int, syscall.Errno) {
	result := syscall.ENOENT
	for i := 0; i < len(p.paths); i++ {
		_, e := sys(unix.SYS_FACCESSAT, atCwd, uintptr(unsafe.Pointer(p.paths[i])), unix.X_OK, 0)
		if e == 0 {
			return i, 0
		}
		if e != syscall.ENOENT && e != syscall.ENOTDIR && exists(p, i) {
			result = e
		}
	}
	return -1, result
}

// exists tells whether candidate i is known to be there. In a directory of a search path that may not be searched it is not:
// the next one is tried, and in the end the program was not found.
//
//go:nosplit
//go:norace
//go:nocheckptr
func exists(p *plan, i int) bool {
	if !p.searched {
		return true
	}
	_, e := sys(unix.SYS_FACCESSAT, atCwd, uintptr(unsafe.Pointer(p.paths[i])), unix.F_OK, 0)
	return e == 0
}

// execute tries the candidates in order, as execvp(3): what is not there is skipped, what may not be executed is
// remembered, any other error ends the search.
//
//go:nosplit
//go:norace
//go:nocheckptr
func execute(p *plan) (int, syscall.Errno) {
	result, which := syscall.ENOENT, -1
	for i := 0; i < len(p.paths); i++ {
		path := uintptr(unsafe.Pointer(p.paths[i]))
		_, e := sys(unix.SYS_EXECVE, path, uintptr(unsafe.Pointer(&p.argv[0])), uintptr(unsafe.Pointer(&p.envv[0])), 0)
		switch e {
		case syscall.ENOENT:
			// Either the file or its interpreter is missing.
			if _, missing := sys(unix.SYS_FACCESSAT, atCwd, path, unix.F_OK, 0); missing == 0 {
				return i, e
			}
		case syscall.ENOTDIR:
		case syscall.EACCES:
			if exists(p, i) {
				result, which = e, i
			}
		default:
			return i, e
		}
	}
	return which, result
}

//go:nosplit
//go:norace
//go:nocheckptr
func fail(p *plan, step int, e syscall.Errno, which int) {
	p.report.ready, p.report.step, p.report.errno, p.report.which = 0, int32(step), int32(e), int32(which)
	tell(p)
	exit(127)
}

//go:nosplit
//go:norace
//go:nocheckptr
func tell(p *plan) {
	syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(p.gate), uintptr(unsafe.Pointer(&p.report)), unsafe.Sizeof(p.report), unix.MSG_NOSIGNAL, 0, 0)
}

//go:nosplit
//go:norace
func exit(code uintptr) {
	for {
		sys(unix.SYS_EXIT_GROUP, code, 0, 0, 0)
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
