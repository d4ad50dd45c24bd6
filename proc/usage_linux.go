//go:build !portable

package proc

import (
	"cmp"
	"slices"
	"strconv"
	"time"
)

const (
	topMost  = 10
	blockLog = 9 // rusage counts blocks of 512 bytes: linux/task_io_accounting_ops.h, task_io_get_inblock
)

// What useLedger.waited counts.
const (
	minFlt = iota
	majFlt
	bytesRead
	bytesWritten
	waitedKinds
)

// useLedger is what Usage remembers between two readings.
type useLedger struct {
	waited   [waitedKinds]ledger
	io       map[ID][2]int64 // bytes read and written
	switches map[ID][2]int64 // voluntary and involuntary
	gone     [2]int64        // switches of those that are gone
	shown    Usage           // no sum is ever less than it was
}

// Usage reads what all use: each process and each thread takes some 50 us. The kernel adds what a process has used to whoever waits for it, and
// shows that in /proc, but for context switches, which it tells that one alone (getrusage(2)), and the largest resident set.
func (g *Group) Usage() Usage {
	g.Update(time.Now())
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.settledTally()
	u := Usage{User: t.User, System: t.System, Unwaited: t.Unwaited}
	r := usageReading{useLedger: &g.use, fs: g.fs, io: map[ID][2]int64{}, switches: map[ID][2]int64{}}
	for i := range r.waited {
		r.waited[i].begin()
	}
	for pid, m := range g.members {
		if s, err := g.fs.Stat(pid); err == nil && s.Start == m.Start {
			r.member(&u, s)
		}
	}
	for pid := range g.reapers {
		if s, err := g.fs.Stat(pid); err == nil {
			s.MinFlt, s.MajFlt = 0, 0 // its own are mlrun's
			r.counts(s)
		}
	}
	r.sum(&u)
	return u
}

// settledTally is the middle one of three: a process that is waited for meanwhile is twice in one, or missing. It needs mu.
func (g *Group) settledTally() Tally {
	list := []Tally{g.tally(), g.tally(), g.tally()}
	slices.SortFunc(list, func(a, b Tally) int { return cmp.Compare(a.CPU, b.CPU) })
	return list[1]
}

// usageReading is one reading.
type usageReading struct {
	*useLedger
	fs           FS
	io, switches map[ID][2]int64
	sums         [waitedKinds]int64
}

// counts adds page faults and block I/O of a process, and tells whether the latter could be read. /proc/PID/io does not tell the I/O of a process from that
// of those that it has waited for (kernel/exit.c, wait_task_zombie).
func (r *usageReading) counts(s Stat) bool {
	id := s.ID()
	io, ok := r.fs.io(s.PID)
	if !ok {
		io = r.useLedger.io[id]
	}
	r.io[id] = io
	for i, c := range [waitedKinds]count{
		minFlt:       {int64(s.MinFlt), int64(s.ChildMinFlt)},
		majFlt:       {int64(s.MajFlt), int64(s.ChildMajFlt)},
		bytesRead:    {0, io[0]},
		bytesWritten: {0, io[1]},
	} {
		r.sums[i] += c.own + c.children
		r.waited[i].note(id, c.own, c.children)
	}
	return ok
}

// member adds a process of the run.
func (r *usageReading) member(u *Usage, s Stat) {
	id := s.ID()
	if !r.counts(s) {
		u.Unread++
	}
	now, peak := r.fs.switches(s.PID, s.Threads)
	before := r.useLedger.switches[id] // with threads that have ended
	r.switches[id] = [2]int64{max(now[0], before[0]), max(now[1], before[1])}
	if peak > 0 {
		u.Top = append(u.Top, Peak{id, s.Comm, peak})
	}
}

// sum ends the reading.
func (r *usageReading) sum(u *Usage) {
	l := r.useLedger
	for id, n := range l.switches {
		if _, there := r.switches[id]; !there {
			l.gone[0], l.gone[1] = l.gone[0]+n[0], l.gone[1]+n[1]
		}
	}
	l.io, l.switches = r.io, r.switches
	u.NVCSw, u.NIvCSw = l.gone[0], l.gone[1]
	for _, n := range l.switches {
		u.NVCSw, u.NIvCSw = u.NVCSw+n[0], u.NIvCSw+n[1]
	}
	for i := range l.waited {
		r.sums[i] += l.waited[i].end()
	}
	u.MinFlt, u.MajFlt = r.sums[minFlt], r.sums[majFlt]
	u.InBlock, u.OuBlock = r.sums[bytesRead]>>blockLog, r.sums[bytesWritten]>>blockLog
	slices.SortFunc(u.Top, func(a, b Peak) int { return cmp.Or(cmp.Compare(b.MaxRSS, a.MaxRSS), cmp.Compare(a.PID, b.PID)) })
	u.Top = u.Top[:min(len(u.Top), topMost)]
	if len(u.Top) > 0 {
		u.MaxRSS = u.Top[0].MaxRSS
	}
	u.grow(l.shown)
	l.shown = *u
}

// grow makes no sum less than in before.
func (u *Usage) grow(before Usage) {
	u.User, u.System, u.Unwaited = max(u.User, before.User), max(u.System, before.System), max(u.Unwaited, before.Unwaited)
	u.MaxRSS = max(u.MaxRSS, before.MaxRSS)
	u.MinFlt, u.MajFlt = max(u.MinFlt, before.MinFlt), max(u.MajFlt, before.MajFlt)
	u.InBlock, u.OuBlock = max(u.InBlock, before.InBlock), max(u.OuBlock, before.OuBlock)
	u.NVCSw, u.NIvCSw = max(u.NVCSw, before.NVCSw), max(u.NIvCSw, before.NIvCSw)
}

// io is what a process, and those that it has waited for, have read from and written to block devices, in bytes (proc_pid_io(5)).
func (fs FS) io(pid int) (n [2]int64, ok bool) {
	var buf [512]byte
	b, err := fs.ReadFile(pid, "io", buf[:])
	if err != nil {
		return n, false
	}
	return [2]int64{lineOf(b, "\nread_bytes:"), lineOf(b, "\nwrite_bytes:")}, true
}

// switches is how often the threads of a process that live have given up the processor, and had to (proc_pid_status(5)), and the most memory that it had
// in bytes, 0 when it has none any more.
func (fs FS) switches(pid, threads int) (n [2]int64, peak int64) {
	var buf [4096]byte
	add := func(name string) []byte {
		b, err := fs.ReadFile(pid, name, buf[:])
		if err != nil {
			return nil
		}
		n[0] += lineOf(b, "\nvoluntary_ctxt_switches:")
		n[1] += lineOf(b, "\nnonvoluntary_ctxt_switches:")
		return b
	}
	peak = lineOf(add("status"), "\nVmHWM:") << 10
	if threads > 1 {
		for _, tid := range fs.Threads(pid) {
			if tid != pid {
				add("task/" + strconv.Itoa(tid) + "/status")
			}
		}
	}
	return n, peak
}
