package libproc

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The functions, as <libproc.h> and <mach/mach_time.h> declare them. What a name is bound to is in calls_darwin.s.

//go:cgo_import_dynamic libc_proc_pidinfo proc_pidinfo "/usr/lib/libSystem.B.dylib"
//go:cgo_import_dynamic libc_proc_listpids proc_listpids "/usr/lib/libSystem.B.dylib"
//go:cgo_import_dynamic libc_proc_pid_rusage proc_pid_rusage "/usr/lib/libSystem.B.dylib"
//go:cgo_import_dynamic libc_mach_timebase_info mach_timebase_info "/usr/lib/libSystem.B.dylib"

var (
	procPidinfoAddr      uintptr
	procListpidsAddr     uintptr
	procPidRusageAddr    uintptr
	machTimebaseInfoAddr uintptr
)

// call is a function of libSystem with up to six arguments. The errno is there only when the function has returned -1.
//
//go:linkname call syscall.syscall6
func call(fn, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err syscall.Errno)

const (
	pidBSDInfo  = 3 // PROC_PIDTBSDINFO
	pidTaskInfo = 4 // PROC_PIDTASKINFO

	rusageV2 = 2 // RUSAGE_INFO_V2
	rusageV4 = 4 // RUSAGE_INFO_V4, macOS 10.13

	listAll    = 1 // PROC_ALL_PIDS
	listGroup  = 2 // PROC_PGRP_ONLY
	listParent = 6 // PROC_PPID_ONLY
)

// onlyV2 is set once the kernel has not known RUSAGE_INFO_V4.
var onlyV2 atomic.Bool

// RusageOf returns what a process uses, also of a zombie. The error is ESRCH when there is no such process, EPERM when its effective user is
// another one and the caller is not root.
func RusageOf(pid int) (Rusage, error) {
	var r Rusage
	if !onlyV2.Load() {
		err := rusage(pid, rusageV4, &r)
		if err != unix.EINVAL {
			return r, err
		}
		onlyV2.Store(true)
	}
	r = Rusage{}
	return r, rusage(pid, rusageV2, &r)
}

func rusage(pid, flavor int, r *Rusage) error {
	r1, _, errno := call(procPidRusageAddr, uintptr(pid), uintptr(flavor), uintptr(unsafe.Pointer(r)), 0, 0, 0)
	if int32(r1) != 0 {
		return errno
	}
	return nil
}

// BSDInfoOf returns the identity and state of a process, also of a zombie. ok is false when there is no such process, or its effective user is
// another one and the caller is not root: proc_pidinfo returns 0 for both.
func BSDInfoOf(pid int) (i BSDInfo, ok bool) {
	const zombiesToo = 1
	n := pidinfo(pid, pidBSDInfo, zombiesToo, unsafe.Pointer(&i), unsafe.Sizeof(i))
	return i, n == unsafe.Sizeof(i)
}

// TaskInfoOf is BSDInfoOf for the memory and the threads of a process that lives.
func TaskInfoOf(pid int) (i TaskInfo, ok bool) {
	n := pidinfo(pid, pidTaskInfo, 0, unsafe.Pointer(&i), unsafe.Sizeof(i))
	return i, n == unsafe.Sizeof(i)
}

func pidinfo(pid, flavor int, arg uint64, p unsafe.Pointer, size uintptr) uintptr {
	r1, _, _ := call(procPidinfoAddr, uintptr(pid), uintptr(flavor), uintptr(arg), uintptr(p), size, 0)
	if int32(r1) <= 0 {
		return 0
	}
	return uintptr(int32(r1))
}

// Children lists the processes whose parent is pid, zombies included.
func Children(pid int) ([]int, error) { return list(listParent, pid) }

// Group lists the processes of a process group, zombies included.
func Group(pgid int) ([]int, error) { return list(listGroup, pgid) }

// All lists all processes, zombies included.
func All() ([]int, error) { return list(listAll, 0) }

// list calls proc_listpids, which proc_listpgrppids and proc_listchildpids are names for (libsyscall/wrappers/libproc/libproc.c). A buffer that
// came back full may have been too small.
func list(kind, of int) ([]int, error) {
	for size := 64; ; size *= 2 {
		buf := make([]int32, size)
		r1, _, _ := call(procListpidsAddr, uintptr(kind), uintptr(of), uintptr(unsafe.Pointer(&buf[0])), uintptr(size*4), 0, 0)
		n := int(int32(r1)) / 4
		if n < 0 || size > 1<<24 {
			return nil, errors.New("proc_listpids: the list of processes cannot be read")
		}
		if n == size {
			continue
		}
		pids := make([]int, 0, n)
		for _, pid := range buf[:n] {
			if pid > 0 {
				pids = append(pids, int(pid))
			}
		}
		return pids, nil
	}
}

// Nanoseconds converts a time in units of mach_absolute_time.
func Nanoseconds(t uint64) uint64 {
	b := timebase()
	return scale(t, b.numerator, b.denominator)
}

type timebaseInfo struct{ numerator, denominator uint32 }

var timebase = sync.OnceValue(func() timebaseInfo {
	var b timebaseInfo
	r1, _, _ := call(machTimebaseInfoAddr, uintptr(unsafe.Pointer(&b)), 0, 0, 0, 0, 0)
	if r1 != 0 || b.denominator == 0 {
		return timebaseInfo{1, 1} // it has no documented errors
	}
	return b
})
