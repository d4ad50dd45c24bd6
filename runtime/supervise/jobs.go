package supervise

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// onSignal handles a signal that mlrun itself got.
func (l *loop) onSignal(sig syscall.Signal) {
	if sig == unix.SIGCONT {
		l.wake()
	}
	if endsRun(sig) {
		l.goOnToEnd()
	}
	l.event(event{kind: evSignal, sig: sig})
}

// suspend is called when the payload was stopped. What follows depends on what is true now, not when it was reported: the
// stop may have been mlrun's own, to measure, and be over.
func (l *loop) suspend(sig syscall.Signal) {
	if l.pending != nil || l.group == nil || l.sampler != nil && l.sampler.holding.Load() {
		return
	}
	s, err := proc.Root.Stat(l.group.Leader().PID)
	if err != nil || !s.Stopped() {
		return
	}
	if (sig == unix.SIGTTIN || sig == unix.SIGTTOU) && l.term.lend(l.group.Leader().PID) {
		// It stopped for want of the terminal, which mlrun's job has: it was in a pipeline, or in the background before.
		_ = l.group.SignalGroup(unix.SIGCONT)
		return
	}
	if orphaned() {
		// Nobody would continue mlrun. The kernel ignores such stops for orphaned groups, so it is undone.
		_ = l.group.SignalGroup(unix.SIGCONT)
		return
	}
	// Members that left the group go on after a Ctrl-Z. While mlrun is stopped nobody watches them, so they stop too.
	l.asleep = l.group.Freeze(100*time.Millisecond, nil)
	l.term.takeBack()
	// The whole job stops, as it would have without mlrun between the payload and the terminal. Not by SIGTSTP: the Go runtime
	// does not give its default action back.
	_ = unix.Kill(0, unix.SIGSTOP)
}

// lend gives the terminal back to the payload.
func (l *loop) lend() {
	if !l.state.exited && l.term.owned() && !inPipeline() {
		l.term.lend(l.group.Leader().PID)
	}
}

// wake is called after the shell continued mlrun's job.
func (l *loop) wake() {
	if l.group == nil || l.state.exited {
		return
	}
	l.lend()
	if l.asleep != nil {
		l.asleep.Thaw(false)
		l.asleep = nil
	}
}
