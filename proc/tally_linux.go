//go:build !portable

package proc

import (
	"time"

	"golang.org/x/sys/unix"
)

// tick is USER_HZ: the parts in which /proc counts CPU time.
const tick = 10 * time.Millisecond

// add adds CPU time in ticks.
func (t *Tally) add(user, system uint64) {
	u, s := time.Duration(user)*tick, time.Duration(system)*tick
	t.User, t.System, t.CPU = t.User+u, t.System+s, t.CPU+u+s
}

// Tally counts. CPU time that a process has used since the last call is missing after it has left /proc, if nobody has waited for it: its parent ignores
// SIGCHLD (wait(2)). What it had used then is counted on (Unwaited), from the next Tally on.
//
// The CPU time of a process that is waited for while it is read can be missing or be there twice: that of the next Tally is right again.
func (g *Group) Tally() Tally {
	g.Update(time.Now())
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tally()
}

// tally needs mu.
func (g *Group) tally() (t Tally) {
	l := &g.cpu
	l.begin()
	for pid, m := range g.members {
		s, err := g.fs.Stat(pid)
		if err != nil || s.Start != m.Start {
			continue
		}
		g.note(m, s)
		t.Tasks += int64(max(s.Threads, 1))
		t.add(s.UTime+s.ChildUTime, s.STime+s.ChildSTime)
		c := cpuCount{user: ticks(s.UTime + s.ChildUTime), system: ticks(s.STime + s.ChildSTime)}
		exact := ticks(s.UTime + s.STime)
		if own, ok := g.fs.clock(pid); ok {
			t.CPU += own - exact
			exact = own
		}
		l.note(m.ID, int64(exact), int64(ticks(s.ChildUTime+s.ChildSTime)), c)
	}
	for pid := range g.reapers {
		if s, err := g.fs.Stat(pid); err == nil {
			t.add(s.ChildUTime, s.ChildSTime)
			l.note(s.ID(), 0, int64(ticks(s.ChildUTime+s.ChildSTime)), cpuCount{ticks(s.ChildUTime), ticks(s.ChildSTime)})
		}
	}
	u, s := l.end()
	t.User, t.System, t.CPU, t.Unwaited = t.User+u, t.System+s, t.CPU+u+s, u+s
	return t
}

// Unwaited is the CPU time of processes that nobody has waited for, as of the newest Tally.
func (g *Group) Unwaited() (user, system time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cpu.split()
}

func ticks(n uint64) time.Duration { return time.Duration(n) * tick }

// clock is the CPU time of all threads of a process, from its clock (clock_getcpuclockid(3)).
func (f FS) clock(pid int) (time.Duration, bool) { return f.readClock(pid, clockSched) }

// LimitedCPU is the CPU time of a process, or of a zombie that was not waited for, as the kernel compares it with RLIMIT_CPU: that in which a
// tick of the clock found it running (kernel/time/posix-cpu-timers.c, check_process_timers). Among others that want the processor this is off
// from what it has used, which /proc/PID/stat has, by a tenth and more. ok is false when it cannot be known.
func (f FS) LimitedCPU(pid int) (cpu time.Duration, ok bool) { return f.readClock(pid, clockProf) }

// Clocks of a process, linux/posix-timers_types.h.
const (
	clockProf  = 0 // CPUCLOCK_PROF
	clockSched = 2 // CPUCLOCK_SCHED
)

func (f FS) readClock(pid int, which int32) (time.Duration, bool) {
	if f != Root {
		return 0, false
	}
	var ts unix.Timespec
	if unix.ClockGettime(int32(^pid<<3)|which, &ts) != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}
