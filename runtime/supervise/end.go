package supervise

import (
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/limit"
	"mlrun/proc"
	"mlrun/runtime/launch"
	"mlrun/signame"
)

// finish ends the loop when nothing is left, and when what follows the execution of the program is done: it may end before
// execve is reported, and its poststart hooks run all the same. That they take long is no reason to wait after a kill.
func (l *loop) finish() {
	l.finished = l.ended && (!l.following || !natural(l.state.reason))
}

// natural tells whether a run ended without anybody's doing.
func natural(reason string) bool { return reason == ReasonExited || reason == ReasonSignaled }

// done is called when no process is left. What came of execve, which may be known only after the payload's end, comes first: it
// tells a program that ended from one that was never executed.
func (l *loop) done() {
	l.nobody = true
	l.over()
}

// over ends the run when nothing can come any more. Children of a guest's reaper that was killed are the last.
func (l *loop) over() {
	switch {
	case !l.nobody || len(l.guests) > 0 || l.executing:
	case l.observed && !l.swept:
		if !l.killSince.IsZero() {
			l.erase.Store(true)
		}
		l.sweep()
	case l.orphans:
		l.orphans, l.nobody = false, false
		go l.adopt(l.proc.Orphans())
	default:
		l.event(event{kind: evDone})
	}
}

// thaw lets a group that was frozen for a breach go on, and the sampler too. A group that is to end is continued as a whole,
// also what somebody else had stopped, and has the ceiling as its limit.
func (l *loop) thaw() {
	b := l.pending
	if b == nil {
		return
	}
	l.pending = nil
	w := word{ending: l.state.phase >= stopping, victim: b.killed}
	w.muted = !w.ending && l.set.onBreach == limit.Signal
	b.decided()
	b.frozen.Thaw(w.ending)
	l.sampler.resume(w)
	if b.held {
		l.lend()
	}
}

// signalAll signals every member, and says so when one may not be signalled.
func (l *loop) signalAll(sig syscall.Signal) {
	if l.group == nil {
		return
	}
	if asksToEnd(sig) {
		l.proc.Hold() // they have their grace period, also when the payload ends before
	}
	for _, id := range l.group.SignalAll(sig) {
		l.deny(id)
	}
}

func (l *loop) deny(id proc.ID) {
	for _, d := range l.verdict.Denied {
		if d == id {
			return
		}
	}
	l.verdict.Denied = append(l.verdict.Denied, id)
	if l.cfg.Log != nil {
		l.cfg.Log.Warn("process may not be signalled: it has other credentials", "pid", id.PID)
	}
}

// killAll sends SIGKILL to the process group and makes the reaper go on with every child until nothing is left. It looks for nobody
// itself at first: while it did, others would fork. What is still there later is signalled one by one, to learn who may not be.
func (l *loop) killAll() {
	if l.proc == nil {
		return
	}
	first := l.killSince.IsZero()
	if first {
		l.killSince = time.Now()
	}
	if l.observed {
		l.eraseSoon()
	}
	if l.group != nil && !l.proc.Observed() {
		l.group.KillGroup()
	}
	l.proc.KillAll()
	for _, g := range l.guests {
		g.kill()
	}
	if first && l.state.reason == ReasonMemory {
		freeMemory(l.verdict.Top)
	}
	if l.proc.Reaper > 0 {
		_ = unix.Kill(l.proc.Reaper, unix.SIGCONT) // it may have been stopped; it is a child that only this process waits for
	}
	if l.group != nil && time.Since(l.killSince) > giveUp/2 {
		l.signalAll(unix.SIGKILL)
	}
	l.thaw()
}

// reap lets the reaper wait for the payload. A process group whose leader is gone may be used by others; who is in it and nowhere else to
// be found ends before.
func (l *loop) reap() {
	if l.proc.Observed() {
		l.lost()
		return
	}
	if l.group != nil {
		l.verdict.Left += l.group.Living()
		if l.state.phase == killing {
			l.group.KillGroup()
		} else {
			l.group.Release()
		}
	}
	l.proc.Reap()
}

// checkDenied gives up on what may not be signalled when nothing else is left.
func (l *loop) checkDenied() {
	if l.finished || l.killSince.IsZero() || len(l.verdict.Denied) == 0 || time.Since(l.killSince) < giveUp {
		return
	}
	denied := map[proc.ID]bool{}
	for _, id := range l.verdict.Denied {
		denied[id] = true
	}
	l.group.Update(time.Now())
	for _, id := range l.group.Members() {
		if !denied[id] && proc.Root.Alive(id) {
			return
		}
	}
	l.event(event{kind: evDone})
}

const (
	spareAfter   = 20 * time.Millisecond // when a run is no short one, which should not pay for them
	spareThreads = 12                    // all that wait in a system call at once, what runs, and some
)

// spare makes the threads that this process may come to need, which the Go runtime keeps. It ends the process when it cannot make one, and
// a payload may have taken the last pid, or the last process that the user may have (RLIMIT_NPROC counts threads).
func spare() {
	var ready, end sync.WaitGroup
	ready.Add(spareThreads)
	end.Add(1)
	for range spareThreads {
		go func() {
			runtime.LockOSThread() // so that each has one of its own while the others are there
			defer runtime.UnlockOSThread()
			ready.Done()
			end.Wait()
		}()
	}
	ready.Wait()
	end.Done()
}

// watch turns the reports of the reaper into events.
func (l *loop) watch(p *launch.Process) {
	defer time.AfterFunc(spareAfter, spare).Stop()
	for {
		e, err := p.Next()
		if err == io.EOF {
			l.post(func(l *loop) { l.reaperLost() })
			return
		}
		l.post(func(l *loop) { l.reported(e) })
		if e.Kind == launch.Done {
			return
		}
	}
}

func (l *loop) reported(e launch.Event) {
	switch e.Kind {
	case launch.Exited:
		if l.proc.Observed() && l.group != nil {
			l.seen = readRusage(l.group.Usage()) // its zombie has what it used, as long as its parent has not waited for it
		}
		l.examine(e)
		l.event(event{kind: evExited, status: e.Status, known: e.Known})
	case launch.Stopped:
		l.event(event{kind: evStopped, sig: e.Status.StopSignal()})
	case launch.Done:
		l.rusage = &e.Rusage
		l.done()
	}
}

// buried waits for the reaper, which has ended: its pid is not used any more.
func (l *loop) buried() {
	l.proc.Wait()
	l.proc.Reaper = 0
}

// reaperLost goes on without the reaper: its children are ours now.
func (l *loop) reaperLost() {
	if l.cfg.Log != nil {
		l.cfg.Log.Error("the reaper process was killed: ending everything", "pid", l.proc.Reaper)
	}
	lost := l.proc.Reaper
	l.buried()
	if p := l.proc; p.Observed() {
		go func() {
			e := p.End()
			l.post(func(l *loop) { l.reported(e) })
		}()
		l.event(event{kind: evReaperLost})
		return
	}
	if l.group != nil {
		l.group.KillGroup() // before the payload is waited for
	}
	go l.adopt(l.proc.Orphans())
	if l.group != nil {
		l.group.Adopt(lost, os.Getpid())
	}
	l.event(event{kind: evReaperLost})
}

// adopt kills and reaps until no child is left. Everything that is waited for here is of the group, or of a hook.
func (l *loop) adopt(o *launch.Orphans) {
	runtime.LockOSThread() // it ends with this goroutine, since its priority is raised
	told := false
	for {
		left, busy := o.Kill()
		if status, known := o.Payload(); known && !told {
			told = true
			l.post(func(l *loop) { l.event(event{kind: evExited, status: status, known: true}) })
		}
		switch {
		case !left:
			l.post(func(l *loop) { l.done() })
			return
		case l.ctx.Err() != nil: // the run has ended: the rest may not be signalled
			return
		case !busy:
			time.Sleep(time.Millisecond)
		}
	}
}

// conclude fills the verdict in after the end.
func (l *loop) conclude() *Verdict {
	v := &l.verdict
	v.Ended = time.Now().UTC()
	l.cancel()
	l.helpers.Wait()
	v.Admission = l.admission.Load()
	v.Terminal = l.term.lent != 0
	l.term.takeBack()
	l.term.close()
	if l.sampler != nil {
		l.sampler.stop()
		st := l.sampler.totals()
		v.Memory, l.several, l.shared = st.memory, st.several, st.shared
		v.Memory.ThrottledMS = st.throttled.Milliseconds()
		if l.cfg.Budget.Rations() || st.periods > 0 {
			v.Throttle = &Throttle{Periods: st.periods, TimeUS: st.rationed.Microseconds()}
		}
	}
	v.Memory.limits(l.cfg.Memory)
	if l.group != nil {
		v.Escaped = l.group.Escaped()
		l.group.Close()
	}
	if l.proc != nil {
		l.proc.Close()
	}
	for _, g := range l.guests {
		g.proc.Close() // those that may not be signalled
	}
	l.account()
	if g := l.cfg.Gate; g != nil {
		v.ExecGate = g.Account()
	}
	st := l.state
	if !IsLimit(st.reason) || st.reason == ReasonMemory {
		v.Exceeded = nil
	}
	v.Reason, v.ExitCode = st.reason, st.exitCode(l.launchCode)
	if st.known && v.Reason != ReasonLaunch && v.Reason != ReasonAdmission {
		switch {
		case st.status.Exited():
			code := st.status.ExitStatus()
			v.Exited, v.Code = true, &code
		case st.status.Signaled():
			v.Signal, v.CoreDumped = signame.Name(st.status.Signal()), st.status.CoreDump()
		}
	}
	l.judge(v)
	l.answerStart(ErrNotRunning)
	return v
}

// waited is what the reaper was told by those that it has waited for, and the CPU time of others.
func (l *loop) waited() *Rusage {
	r := newRusage(*l.rusage)
	if l.group != nil {
		user, system := l.group.Unwaited()
		r.UTimeUS, r.STimeUS, r.UnwaitedUS = r.UTimeUS+user.Microseconds(), r.STimeUS+system.Microseconds(), (user + system).Microseconds()
	}
	return r
}

// account adds what the kernel counted.
func (l *loop) account() {
	m := &l.verdict.Memory
	m.PeakSource = "pss"
	if l.rusage == nil && m.Samples == 0 {
		m.PeakSource = "none" // it ended before anybody looked, and somebody else was told of its maximum
	}
	l.verdict.Rusage = l.seen
	if l.rusage != nil {
		l.verdict.Rusage = l.waited()
		maxrss := l.verdict.Rusage.MaxRSS
		if (m.ExactReads == 0 || !l.several && !l.shared) && maxrss > m.Peak {
			m.Peak, m.PeakSource = maxrss, "maxrss"
		}
		// A sample that saw as much RSS and let it pass has found that it was shared.
		if m.Limit > 0 && maxrss > m.Limit && m.Peak <= m.Limit && maxrss > m.PeakUpper {
			m.MissedSpike = maxrss
		}
		m.PeakUpper = max(m.PeakUpper, maxrss, m.Peak)
	}
	var self syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &self) == nil {
		r := newRusage(self)
		m.MonitorCPUMS = float64(r.UTimeUS+r.STimeUS) / 1000
	}
}
