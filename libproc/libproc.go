// Package libproc is what macOS tells of processes: the functions of libproc(3), a part of libSystem, that golang.org/x/sys/unix does not
// have, and their structures.
//
// # What it does
//
// The functions are called the way package syscall and golang.org/x/sys/unix call libSystem: by name, bound by the dynamic linker, through
// syscall.syscall6, which the Go runtime keeps linkable for x/sys (go.dev/issue/67401). No cgo, no system call numbers, which Apple
// does not guarantee, and no other module ([decision 6]).
//
// The structures are those of xnu-11417.101.15 (macOS 15.4), bsd/sys/resource.h and bsd/sys/proc_info.h, which are public in the SDK as
// <sys/resource.h> and <sys/proc_info.h>. They are the same on arm64 and amd64: 64 bits, little endian. Reading them is portable code, and
// tests compare every offset with the header's.
//
// # What it does not
//
// It decides nothing: what the values mean is up to packages proc and meter. What needs no new call stays with x/sys/unix: sysctl, kqueue, kill.
//
// [decision 6]: ../docs/decisions/0006-libsystem-by-name.md
package libproc

import (
	"bytes"
	"fmt"
	"unsafe"
)

// Rusage is struct rusage_info_v4 (RUSAGE_INFO_V4). Times are in units of mach_absolute_time, sizes in bytes.
type Rusage struct {
	UUID             [16]byte
	UserTime         uint64
	SystemTime       uint64
	PkgIdleWakeups   uint64
	InterruptWakeups uint64
	Pageins          uint64
	Wired            uint64
	Resident         uint64
	Footprint        uint64 // ri_phys_footprint: what Activity Monitor shows as memory, compressed and swapped pages included
	Start            uint64 // ri_proc_start_abstime: the same for as long as the process lives
	Exit             uint64 // ri_proc_exit_abstime: 0 of a process that lives. From its exit on Footprint is 0, and MaxFootprint stays (bsd/kern/kern_exit.c, proc_prepareexit)

	ChildUserTime         uint64 // of children that it has waited for, and of theirs
	ChildSystemTime       uint64
	ChildPkgIdleWakeups   uint64
	ChildInterruptWakeups uint64
	ChildPageins          uint64
	ChildElapsed          uint64
	DiskRead              uint64
	DiskWritten           uint64 // the last one of struct rusage_info_v2

	QOS             [7]uint64 // CPU time by quality of service
	BilledSystem    uint64
	ServicedSystem  uint64
	LogicalWrites   uint64
	MaxFootprint    uint64 // ri_lifetime_max_phys_footprint: 0 when only RUSAGE_INFO_V2 was had
	Instructions    uint64
	Cycles          uint64
	BilledEnergy    uint64
	ServicedEnergy  uint64
	IntervalMaximum uint64
	Runnable        uint64
}

// BSDInfo is struct proc_bsdinfo (PROC_PIDTBSDINFO).
type BSDInfo struct {
	Flags   uint32
	Status  uint32 // SIDL to SZOMB
	XStatus uint32 // of a zombie: as wait(2) has it
	PID     uint32
	PPID    uint32
	UID     uint32
	GID     uint32
	RUID    uint32
	RGID    uint32
	SVUID   uint32
	SVGID   uint32
	_       uint32
	Comm    [16]byte
	Name    [32]byte
	Files   uint32
	PGID    uint32
	Jobc    uint32
	TTY     uint32
	TTYPgrp uint32
	Nice    int32

	StartSeconds, StartMicroseconds uint64 // since 1970
}

// The status of a process (bsd/sys/proc.h).
const (
	Idle   = 1 // SIDL: it is being made
	Run    = 2 // SRUN: almost always, whether it sleeps or not
	Sleep  = 3 // SSLEEP
	Stop   = 4 // SSTOP: stopped by a signal or a tracer
	Zombie = 5 // SZOMB
)

// TaskInfo is struct proc_taskinfo (PROC_PIDTASKINFO). Times are in units of mach_absolute_time, sizes in bytes.
type TaskInfo struct {
	Virtual       uint64
	Resident      uint64 // with files that are mapped, without what is compressed
	User, System  uint64
	ThreadsUser   uint64
	ThreadsSystem uint64

	Policy, Faults, Pageins, COWFaults, MessagesSent, MessagesReceived int32
	SyscallsMach, SyscallsUnix, ContextSwitches                        int32
	Threads, Running, Priority                                         int32
}

// sizeV2 is the size of struct rusage_info_v2, with which struct rusage_info_v4 begins.
const sizeV2 = unsafe.Offsetof(Rusage{}.QOS)

// ParseRusage reads a struct rusage_info_v4, or a struct rusage_info_v2, whose other fields are 0 then.
func ParseRusage(b []byte) (r Rusage, err error) {
	if uintptr(len(b)) == sizeV2 {
		b = append(bytes.Clone(b), make([]byte, unsafe.Sizeof(r)-sizeV2)...)
	}
	return parse[Rusage](b)
}

// ParseBSDInfo reads a struct proc_bsdinfo.
func ParseBSDInfo(b []byte) (BSDInfo, error) { return parse[BSDInfo](b) }

// ParseTaskInfo reads a struct proc_taskinfo.
func ParseTaskInfo(b []byte) (TaskInfo, error) { return parse[TaskInfo](b) }

// parse copies a structure without pointers.
func parse[T any](b []byte) (v T, err error) {
	if uintptr(len(b)) != unsafe.Sizeof(v) {
		return v, fmt.Errorf("%T: %d bytes, want %d", v, len(b), unsafe.Sizeof(v))
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v)), b)
	return v, nil
}

// Command is the name of the program, at most 31 bytes, or 15 where that is not known.
func (i BSDInfo) Command() string {
	if name := text(i.Name[:]); name != "" {
		return name
	}
	return text(i.Comm[:])
}

// text is a string that ends at the first NUL.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
