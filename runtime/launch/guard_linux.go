//go:build !portable

package launch

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The guard of an observed process: the second process that watches the supervisor where there is no reaper, since the process is the child
// of somebody else. What it is to end it finds below that process, which is the subreaper of its own descendants: whoever ends there leaves
// its children to it.

// forkSibling forks the payload, as a child of the caller or, with CLONE_PARENT, of the caller's parent. It returns in the caller only.
//
//go:norace
//go:nocheckptr
//go:noinline
func forkSibling(p *plan, flags uintptr) (pid uintptr, errno syscall.Errno) {
	runtimeBeforeFork()
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD)|flags, 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		runtimeAfterFork()
		return pid, errno
	}
	runtimeAfterForkInChild()
	sys(unix.SYS_CLOSE, uintptr(p.gatePeer), 0, 0, 0)
	sys(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.all)), uintptr(unsafe.Pointer(&p.old)), unsafe.Sizeof(p.all))
	become(p)
	return 0, 0
}

// forkGuard forks the guard of p.pid. It returns in the caller only.
//
//go:norace
//go:nocheckptr
//go:noinline
func forkGuard(p *plan) (pid uintptr, errno syscall.Errno) {
	runtimeBeforeFork()
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		runtimeAfterFork()
		return pid, errno
	}
	runtimeAfterForkInChild()
	guard(p)
	return 0, 0
}

// guardTries is how often, a millisecond apart at least, the guard looks for living children before it ends their parent all the same.
const guardTries = 1000

// guard is the whole life of the guard.
//
//go:nosplit
//go:norace
//go:nocheckptr
func guard(p *plan) {
	sys(unix.SYS_CLOSE, uintptr(p.ctlPeer), 0, 0, 0)
	sys(unix.SYS_SETPGID, 0, 0, 0, 0)
	sys(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(p.names.guard)), 0, 0)
	sys(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.all)), uintptr(unsafe.Pointer(&p.old)), unsafe.Sizeof(p.all))
	keepOnly(0, p.ctl, p.pidfd, -1)
	for {
		p.polls[0] = pollfd{fd: p.ctl, events: unix.POLLIN}
		p.polls[1] = pollfd{fd: p.pidfd, events: unix.POLLIN}
		timeout := uintptr(0)
		if p.killing {
			p.wait.Sec, p.wait.Nsec = 0, int64AsNsec(1)
			timeout = uintptr(unsafe.Pointer(&p.wait))
		}
		syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.polls[0])), 2, timeout, 0, 0, 0)
		if p.polls[1].revents != 0 {
			p.exited, p.killing, p.pidfd = true, false, -1
		}
		if p.polls[0].revents != 0 {
			obey(p)
		}
		switch {
		case p.exited && p.ctl < 0:
			exit(0)
		case p.exited:
			p.killing = false
		case p.killing:
			killBelow(p)
		}
	}
}

// killBelow sends SIGKILL to the children of an observed process, which is stopped meanwhile and so neither forks nor waits for them, and to
// itself when none of them lives. A process that is stopped inherits what they leave.
//
//go:nosplit
//go:norace
//go:nocheckptr
func killBelow(p *plan) {
	hurry(p)
	sys(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(p.pidfd), uintptr(unix.SIGSTOP), 0, 0)
	living := false
	fd, e := sys(unix.SYS_OPENAT, atCwd, uintptr(unsafe.Pointer(&p.taskPath[0])), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for e == 0 {
		n, e := sys(unix.SYS_GETDENTS64, fd, uintptr(unsafe.Pointer(&p.entries[0])), uintptr(len(p.entries)), 0)
		if e != 0 || n == 0 || n > uintptr(len(p.entries)) {
			break
		}
		// struct linux_dirent64 of getdents(2): inode, offset, length of the record in two bytes, type, name.
		for at := uintptr(0); at+19 < n; {
			size := uintptr(*(*uint16)(unsafe.Pointer(&p.entries[at+16])))
			if size < 20 || at+size > n {
				break
			}
			if c := p.entries[at+19]; c >= '1' && c <= '9' && childrenOf(p, at+19) {
				living = true
			}
			at += size
		}
	}
	if e == 0 {
		sys(unix.SYS_CLOSE, fd, 0, 0, 0)
	}
	p.looks++
	if !living {
		p.quiet++
	} else {
		p.quiet = 0
	}
	// Twice: who ends may have left its children since they were listed.
	if p.quiet > 1 || p.looks > guardTries {
		sys(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(p.pidfd), uintptr(unix.SIGKILL), 0, 0)
	}
	if p.looks > 2*guardTries && p.ctl < 0 {
		exit(0) // it may not be signalled: it has other credentials
	}
}

// childrenOf kills the children of one thread, whose number begins at p.entries[name], and tells whether one lives.
//
//go:nosplit
//go:norace
//go:nocheckptr
func childrenOf(p *plan, name uintptr) bool {
	at := p.taskLen
	for at < uintptr(len(p.taskPath))-1 && name < uintptr(len(p.entries)) && p.entries[name] != 0 {
		p.taskPath[at] = p.entries[name]
		at++
		name++
	}
	const rest = "/children\x00"
	for i := 0; i < len(rest) && at < uintptr(len(p.taskPath)); i++ {
		p.taskPath[at] = rest[i]
		at++
	}
	p.read, p.filled = 0, 0
	fd, e := sys(unix.SYS_OPENAT, atCwd, uintptr(unsafe.Pointer(&p.taskPath[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	p.taskPath[p.taskLen] = 0 // the name of the directory again
	if e != 0 {
		return false
	}
	living := false
	for pid := nextChild(p, int32(fd)); pid > 0; pid = nextChild(p, int32(fd)) {
		killOne(pid)
		if lives(p, pid) {
			living = true
		}
	}
	sys(unix.SYS_CLOSE, fd, 0, 0, 0)
	return living
}

// lives tells of a child, by /proc/PID/stat, whether it has not ended: what is behind the last parenthesis begins with the state, and has
// the number of threads as the 18th field (proc_pid_stat(5)). A process may end in its first thread and live in others.
//
//go:nosplit
//go:norace
//go:nocheckptr
func lives(p *plan, pid int32) bool {
	at, digits := uintptr(len("/proc/")), uintptr(1)
	for n := pid; n >= 10; n /= 10 {
		digits++
	}
	for i, n := at+digits, pid; i > at; n /= 10 {
		i--
		p.statPath[i] = byte('0' + n%10)
	}
	const rest = "/stat\x00"
	for i := 0; i < len(rest); i++ {
		p.statPath[at+digits+uintptr(i)] = rest[i]
	}
	fd, e := sys(unix.SYS_OPENAT, atCwd, uintptr(unsafe.Pointer(&p.statPath[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if e != 0 {
		return false
	}
	n, e := sys(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&p.statText[0])), uintptr(len(p.statText)), 0)
	sys(unix.SYS_CLOSE, fd, 0, 0, 0)
	if e != 0 || n > uintptr(len(p.statText)) {
		return false
	}
	end := n
	for end > 0 && p.statText[end-1] != ')' {
		end--
	}
	if end+1 >= n {
		return false
	}
	state := p.statText[end+1]
	if state != 'Z' {
		return state != 'X'
	}
	field := 2
	for i := end; i < n; i++ {
		if p.statText[i] != ' ' {
			continue
		}
		if field++; field == 20 && i+2 < n {
			return p.statText[i+1] != '1' || p.statText[i+2] != ' '
		}
	}
	return false
}
