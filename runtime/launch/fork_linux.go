//go:build !portable

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
// threads that do not exist here, or shares that heap (share_linux.go). Nothing may allocate, grow the stack, write a pointer or call
// anything that is not nosplit. Memory that it writes to lies in plan, where the reaper and the payload have parts of their own.

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

// forkReaper makes the reaper, which makes the payload. It returns in the supervisor only.
//
//go:norace
//go:nocheckptr
//go:noinline
func forkReaper(p *plan) (pid uintptr, errno syscall.Errno) {
	sys(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(&p.old)), unsafe.Sizeof(p.old))
	runtimeBeforeFork() // which blocks all signals
	if p.shared {
		if pid, errno = clone3(p.reaperClone, p, 0); errno == 0 {
			runtimeAfterFork()
			return pid, 0
		}
		p.shared, p.sharing = false, false
	}
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

// keepOnly closes every descriptor from first on but three. One that is negative is none.
//
//go:nosplit
//go:norace
func keepOnly(first uintptr, a, b, c int32) {
	for range 3 {
		next := int32(1<<31 - 1)
		if a >= int32(first) && a < next {
			next = a
		}
		if b >= int32(first) && b < next {
			next = b
		}
		if c >= int32(first) && c < next {
			next = c
		}
		if next == 1<<31-1 {
			break
		}
		if uintptr(next) > first {
			closeRange(first, uintptr(next)-1)
		}
		first = uintptr(next) + 1
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

// become is the payload between fork and exec.
//
//go:nosplit
//go:norace
//go:nocheckptr
func become(p *plan) {
	for i := 0; i < len(p.files); i++ {
		if _, e := sys(unix.SYS_DUP3, uintptr(p.files[i]), uintptr(i), 0, 0); e != 0 {
			fail(p, -1, e, -1)
		}
	}
	// It may wait at the gate for long: descriptors of the supervisor's that somebody waits for the end of must not stay open.
	keepOnly(p.firstOwn, p.gate, p.terminal, p.namespace)
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
		case opJoin:
			e = join(s)
		case opLookup:
			which, e = lookup(p)
		case opReady:
			e = waitGo(p)
		case opForeground:
			pid, _ := sys(unix.SYS_GETPID, 0, 0, 0, 0)
			p.payload.pid = int32(pid)
			// Best effort: a terminal that went away is no reason not to run.
			sys(unix.SYS_IOCTL, s.a[0], unix.TIOCSPGRP, uintptr(unsafe.Pointer(&p.payload.pid)), 0)
		case opListener:
			e = listen(p, s)
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

// join enters a user namespace.
//
//go:nosplit
//go:norace
//go:nocheckptr
func join(s *step) syscall.Errno {
	fd, e := sys(unix.SYS_OPENAT, atCwd, s.a[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if e == 0 {
		_, e = sys(unix.SYS_SETNS, fd, unix.CLONE_NEWUSER, 0, 0)
		sys(unix.SYS_CLOSE, fd, 0, 0, 0)
	}
	return e
}

// waitGo reports ready, with the pid, and waits for one byte, unless the payload is eager. End of file means that the supervisor is gone.
//
//go:nosplit
//go:norace
//go:nocheckptr
func waitGo(p *plan) syscall.Errno {
	pid, _ := sys(unix.SYS_GETPID, 0, 0, 0, 0)
	p.report.ready = int32(pid)
	tell(p)
	if p.eager {
		return 0
	}
	for {
		n, e := sys(unix.SYS_READ, uintptr(p.gate), uintptr(unsafe.Pointer(&p.payload.one[0])), 1, 0)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 || n != 1 {
			exit(127)
		}
		return 0
	}
}

// listen makes the system call of a step, and sends the descriptor that it returns over the gate. With a filter in force nothing else is called.
//
//go:nosplit
//go:norace
//go:nocheckptr
func listen(p *plan, s *step) syscall.Errno {
	fd, e := sys(s.nr, s.a[0], s.a[1], s.a[2], s.a[3])
	if e != 0 {
		return e
	}
	p.report.ready, p.rights.fd = listening, int32(fd)
	_, e = sys(unix.SYS_SENDMSG, uintptr(p.gate), uintptr(unsafe.Pointer(&p.rights.header)), unix.MSG_NOSIGNAL, 0)
	return e
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
