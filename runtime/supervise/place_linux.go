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
	"mlrun/runtime/launch"
)

// placing is a Place that is being put in force.
type placing struct {
	Place
	base  int          // nice value that the run had before
	mask  []uint64     // CPUs as a bit set
	seen  map[int]bool // threads that have it
	first bool         // no look at the threads is over yet
}

func newPlacing(p *Place, base int) *placing {
	s := &placing{Place: *p, base: base, seen: map[int]bool{}, first: true}
	for _, n := range p.CPUs {
		for len(s.mask) <= n/64 {
			s.mask = append(s.mask, 0)
		}
		s.mask[n/64] |= 1 << (n % 64)
	}
	return s
}

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

// all puts it in force for every thread of every member, until looks at them find none without it. It returns those that may not be changed.
func (p *placing) all(group *proc.Group) (denied []proc.ID) {
	group.Update(time.Now())
	no := map[proc.ID]bool{}
	end := time.Now().Add(relimitTime)
	for clean := 0; clean < relimitClean && time.Now().Before(end); {
		clean++
		for _, id := range group.Members() {
			if no[id] || !proc.Root.Alive(id) {
				continue
			}
			changed, err := p.one(id.PID)
			switch {
			case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
				no[id] = true
				denied = append(denied, id)
			case changed:
				clean = 0
			}
		}
		p.first = false
		if clean > 0 && clean < relimitClean {
			time.Sleep(relimitAgain)
		}
		group.Update(time.Now())
	}
	return denied
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

// baseNice is the nice value that a process of the run was started with when it has not chosen one. own is that of this process before it made some
// of its threads better.
func baseNice(c *launch.Config, own int) int {
	switch {
	case c.Nice != nil:
		return *c.Nice
	case c.Scheduler != nil:
		return int(c.Scheduler.Nice)
	}
	return own
}

// settle gives a guest that waits at its gate what updates have asked for: it may have been prepared before them.
func (l *loop) settle(id proc.ID) {
	if id.PID == 0 || l.place.empty() {
		return
	}
	p := newPlacing(&l.place, baseNice(&l.cfg.Launch, l.own))
	p.first = false // it may have been prepared after them, too
	_, _ = p.one(id.PID)
}
