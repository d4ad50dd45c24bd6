package supervise

import (
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
	"mlrun/runtime/launch"
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
	if !l.executing {
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
	ending := l.state.phase >= stopping
	b.frozen.Thaw(ending)
	l.sampler.resume <- ending
}

// signalAll signals every member, and says so when one may not be signalled.
func (l *loop) signalAll(sig syscall.Signal) {
	if l.group == nil {
		return
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

// killAll sends SIGKILL to every member, and makes the reaper go on with it until nothing is left.
func (l *loop) killAll() {
	if l.proc == nil {
		return
	}
	if l.killSince.IsZero() {
		l.killSince = time.Now()
	}
	if l.group != nil && (!l.state.exited || time.Since(l.killSince) > again/2) {
		l.signalAll(unix.SIGKILL)
	}
	l.release()
	l.proc.KillAll()
	_ = unix.Kill(l.proc.Reaper, unix.SIGCONT) // it may have been stopped; it is a child that only this process waits for
	l.thaw()
}

// release stops the use of the payload's process group id.
func (l *loop) release() {
	if l.group != nil {
		l.group.Release()
	}
}

func (l *loop) reap() {
	if l.group != nil {
		l.release()
		for _, id := range l.group.Members() {
			if proc.Root.Alive(id) {
				l.verdict.Left++
			}
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

// watch turns the reports of the reaper into events.
func (l *loop) watch(p *launch.Process) {
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
		l.event(event{kind: evExited, status: e.Status, known: true})
	case launch.Stopped:
		l.event(event{kind: evStopped, sig: e.Status.StopSignal()})
	case launch.Done:
		l.rusage = &e.Rusage
		l.proc.Wait()
		l.done()
	}
}

// reaperLost goes on without the reaper: its children are ours now.
func (l *loop) reaperLost() {
	l.proc.Wait()
	if l.cfg.Log != nil {
		l.cfg.Log.Error("the reaper process was killed: ending everything", "pid", l.proc.Reaper)
	}
	if l.group == nil {
		l.event(event{kind: evDone})
		return
	}
	l.group.Adopt(os.Getpid())
	l.event(event{kind: evReaperLost})
	go l.adopt(l.group)
}

// adopt kills and reaps until no member is left. It is the only place that waits by looking again.
func (l *loop) adopt(g *proc.Group) {
	for {
		g.SignalAll(unix.SIGKILL)
		// Everything that is waited for here is of the group, or of a hook: whatever ends is reaped, also what no scan ever saw.
		for {
			var ws unix.WaitStatus
			pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
			if err != nil || pid <= 0 {
				break
			}
			if pid == g.Leader().PID {
				l.post(func(l *loop) { l.event(event{kind: evExited, status: syscall.WaitStatus(ws), known: true}) })
			}
			g.Forget(pid)
		}
		if len(g.Members()) == 0 && !g.Update(time.Now()) && len(g.Members()) == 0 {
			l.post(func(l *loop) { l.done() })
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// conclude fills the verdict in after the end.
func (l *loop) conclude() *Verdict {
	v := &l.verdict
	v.Ended = time.Now().UTC()
	l.cancel()
	l.helpers.Wait()
	v.Terminal = l.term.lent != 0
	l.term.takeBack()
	l.term.close()
	if l.sampler != nil {
		l.sampler.stop()
		st := l.sampler.totals()
		v.Memory, l.several = st.memory, st.several
	}
	v.Memory.Limit, v.Memory.Held = -1, "none"
	if l.cfg.Memory.Limit > 0 {
		v.Memory.Limit, v.Memory.Held = l.cfg.Memory.Limit, "sampled"
	}
	if l.group != nil {
		v.Escaped = l.group.Escaped()
		l.group.Close()
	}
	if l.proc != nil {
		l.proc.Close()
	}
	l.account()
	st := l.state
	v.Reason, v.ExitCode = st.reason, st.exitCode(l.launchCode)
	if st.known && v.Reason != ReasonLaunch {
		switch {
		case st.status.Exited():
			code := st.status.ExitStatus()
			v.Exited, v.Code = true, &code
		case st.status.Signaled():
			v.Signal, v.CoreDumped = SignalName(st.status.Signal()), st.status.CoreDump()
		}
	}
	l.answerStart(ErrNotRunning)
	return v
}

// account adds what the kernel counted.
func (l *loop) account() {
	m := &l.verdict.Memory
	m.PeakSource = "pss"
	if l.rusage != nil {
		l.verdict.Rusage = newRusage(*l.rusage)
		maxrss := l.verdict.Rusage.MaxRSS
		if m.ExactReads == 0 || !l.several && maxrss > m.Peak {
			m.Peak, m.PeakSource = maxrss, "maxrss"
		}
		m.PeakUpper = max(m.PeakUpper, maxrss, m.Peak)
		if m.Limit > 0 && maxrss > m.Limit && m.Peak <= m.Limit {
			m.MissedSpike = maxrss
		}
	}
	var self syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &self) == nil {
		r := newRusage(self)
		m.MonitorCPUMS = float64(r.UTimeUS+r.STimeUS) / 1000
	}
}
