package supervise

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mlrun/proc"
	"mlrun/rlimit"
)

// check refuses what may not be given to the leader of a run, before anything is changed.
func (p *placing) check(leader proc.ID) error {
	now, err := niceOf(leader.PID)
	if err != nil {
		return ErrNotRunning
	}
	if n := p.Nice; n != nil && *n < now && !rlimit.MayNice(leader.PID, *n) {
		return fmt.Errorf("cpu.shares: that is nice value %d, and a better one than the %d of process %d takes CAP_SYS_NICE or RLIMIT_NICE of %d: ask for less",
			*n, now, leader.PID, 20-*n)
	}
	if p.Idle != nil && !*p.Idle {
		a, err := unix.SchedGetAttr(leader.PID, 0)
		if err == nil && a.Policy == unix.SCHED_IDLE && !rlimit.MayNice(leader.PID, now) {
			return fmt.Errorf("cpu.idle: to end SCHED_IDLE takes CAP_SYS_NICE or RLIMIT_NICE of %d", 20-now)
		}
	}
	if p.mask != nil && !usable(p.mask) {
		return errors.New("cpu.cpus: none of them is a processor that the container may use")
	}
	return nil
}

// usable tries a set of processors on a thread that ends with it: what the control group of this process permits is what it permits to the container.
func usable(mask []uint64) bool {
	ok := make(chan bool)
	go func() {
		runtime.LockOSThread()
		ok <- setAffinity(0, mask) == nil
	}()
	return <-ok
}

func setAffinity(tid int, mask []uint64) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, uintptr(tid), uintptr(8*len(mask)), uintptr(unsafe.Pointer(&mask[0])))
	if errno != 0 {
		return errno
	}
	return nil
}

// niceOf is the nice value of a thread.
func niceOf(tid int) (int, error) {
	n, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
	return 20 - n, err // the system call gives 20 - nice
}

// one puts it in force for all threads of a process that have not been seen. changed tells whether there was one.
func (p *placing) one(pid int) (changed bool, err error) {
	for _, tid := range proc.Root.Threads(pid) {
		if p.seen[tid] {
			continue
		}
		p.seen[tid], changed = true, true
		if e := p.thread(tid); e != nil && e != unix.ESRCH {
			err = e
		}
	}
	return changed, err
}

// thread puts it in force for a thread. One with a nice value of its own keeps its distance from the others; one that was started later has what
// the one had that has started it. Real-time policies and classes of I/O other than best-effort are left alone.
func (p *placing) thread(tid int) error {
	if p.Nice != nil {
		n, err := niceOf(tid)
		if err != nil {
			return err
		}
		want := n
		switch {
		case n == p.base:
			want = *p.Nice
		case p.first:
			want = min(max(n+*p.Nice-p.base, -20), 19)
		}
		if want != n {
			if err := unix.Setpriority(unix.PRIO_PROCESS, tid, want); err != nil {
				return err
			}
		}
	}
	if p.Idle != nil {
		if err := setIdle(tid, *p.Idle); err != nil {
			return err
		}
	}
	if p.mask != nil {
		if err := setAffinity(tid, p.mask); err != nil {
			return err
		}
	}
	if p.IOPriority != nil {
		return setIOPriority(tid, *p.IOPriority)
	}
	return nil
}

func setIdle(tid int, idle bool) error {
	a, err := unix.SchedGetAttr(tid, 0)
	if err != nil {
		return err
	}
	switch {
	case idle && (a.Policy == unix.SCHED_NORMAL || a.Policy == unix.SCHED_BATCH):
		a.Policy = unix.SCHED_IDLE
	case !idle && a.Policy == unix.SCHED_IDLE:
		a.Policy = unix.SCHED_NORMAL
	default:
		return nil
	}
	return unix.SchedSetAttr(tid, a, 0)
}

func setIOPriority(tid, priority int) error {
	const whoProcess, classShift, bestEffort = 1, 13, 2 // linux/ioprio.h
	now, _, errno := unix.RawSyscall(unix.SYS_IOPRIO_GET, whoProcess, uintptr(tid), 0)
	if class := now >> classShift; errno == 0 && class != 0 && class != bestEffort {
		return nil
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_IOPRIO_SET, whoProcess, uintptr(tid), uintptr(priority)); errno != 0 {
		return errno
	}
	return nil
}

// hurry makes the calling thread be served early when many want a processor: a storm of processes that allocate is one. It uses little
// time itself. A shorter slice is for everybody and makes it next when it wakes up (sched_setattr(2), Linux 6.12); better priority needs
// CAP_SYS_NICE.
func hurry() {
	const slice, nice = 100 * time.Microsecond, -10
	a, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return
	}
	before := a.Nice
	a.Runtime, a.Nice = uint64(slice), min(before, nice)
	if unix.SchedSetAttr(0, a, 0) != nil {
		a.Nice = before // a priority cannot be raised without the capability
		_ = unix.SchedSetAttr(0, a, 0)
	}
}
