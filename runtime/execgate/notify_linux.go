package execgate

import (
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif of linux/seccomp.h, with struct seccomp_data in it.
type notification struct {
	id    uint64
	pid   uint32 // of the thread, in the pid namespace of the reader; 0: it is in another one
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
	_     [128]byte // for a kernel with a longer one
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
	_     [64]byte
}

// ioctl does not give up the processor of the Go runtime: none of these calls waits, and SECCOMP_IOCTL_NOTIF_RECV only where poll(2) has found
// nothing (kernel/seccomp.c counts what it announces, so there is one for each).
func ioctl(fd int, request uintptr, arg unsafe.Pointer) syscall.Errno {
	for {
		if _, _, e := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); e != unix.EINTR {
			return e
		}
	}
}

// receive reads the next notification. ENOENT: who made it does not wait any more.
func receive(fd int, n *notification) syscall.Errno {
	*n = notification{} // the kernel wants it empty
	return ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(n))
}

// goOn lets a call go on. ENOENT: who made it does not wait any more.
func goOn(fd int, id uint64) syscall.Errno {
	r := response{id: id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	return ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}

// waits tells whether a call still waits.
func waits(fd int, id uint64) bool {
	return ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id)) == 0
}

const (
	nameMost = 512  // bytes of a program's name that are looked at
	page     = 4096 // no page is smaller
)

// reader reads strings of other processes.
type reader struct {
	buf    [nameMost]byte
	local  unix.Iovec
	remote [2]unix.RemoteIovec
}

// text reads a string that ends with NUL; "" when it cannot be read: of a process with other credentials, or where the host permits it to
// nobody (ptrace(2), /proc/sys/kernel/yama/ptrace_scope).
func (r *reader) text(pid int, at uint64) string {
	first := min(page-int(at%page), nameMost) // up to where the next page may be missing
	r.local.Base = &r.buf[0]
	r.local.SetLen(nameMost)
	r.remote = [2]unix.RemoteIovec{{Base: uintptr(at), Len: first}, {Base: uintptr(at) + uintptr(first), Len: nameMost - first}}
	n, _, e := syscall.RawSyscall6(unix.SYS_PROCESS_VM_READV, uintptr(pid), uintptr(unsafe.Pointer(&r.local)), 1, uintptr(unsafe.Pointer(&r.remote[0])), 2, 0)
	if e != 0 || n > nameMost {
		return ""
	}
	for i, c := range r.buf[:n] {
		if c == 0 {
			return string(r.buf[:i])
		}
	}
	return ""
}

// program is what a call is about to execute, as what was learnt of it is filed: the last part of its name. "": unknown, as with fexecve(3).
func (r *reader) program(n *notification) string {
	at := n.args[0]
	if isExecveat(n) {
		at = n.args[1]
	}
	name := r.text(int(n.pid), at)
	return name[strings.LastIndexByte(name, '/')+1:]
}

// isExecveat tells the two calls apart. Their numbers are different ones on all architectures.
func isExecveat(n *notification) bool {
	const x32 = 1 << 30
	switch n.nr &^ x32 {
	case 322, 358, 545, 281, 387: // x86_64, i386, x32; arm64 and riscv64; arm
		return true
	}
	return false
}
