package supervise

import (
	"syscall"
	"time"

	"mlrun/limit"
)

// phase is where a run is.
type phase uint8

const (
	creating phase = iota // the payload is being prepared
	created               // it waits at the gate
	running               // it executes its program
	stopping              // everything was told to end, and has a grace period for it
	killing               // everything is being killed until nothing is left
	stopped               // nothing is left; the end
)

func (p phase) String() string {
	return [...]string{"creating", "created", "running", "stopping", "killing", "stopped"}[p]
}

// eventKind says what happened.
type eventKind uint8

const (
	evCreated    eventKind = iota // the payload waits at the gate
	evFailed                      // the payload could not be created, executed, or a hook failed
	evStart                       // somebody wants it to start
	evStarted                     // it executes its program
	evSignal                      // a signal for the whole group came to mlrun
	evKill                        // somebody wants a signal sent to the payload, or (all) to every member
	evDestroy                     // somebody wants everything killed
	evExited                      // the payload ended and was not reaped yet
	evDone                        // no process is left
	evReaperLost                  // the reaper was killed
	evBreach                      // the memory limit was exceeded; the group is frozen
	evExceeded                    // another limit was exceeded
	evHopeless                    // and goes on growing in its grace period
	evTimer                       // the timer that was armed is due
	evStopped                     // the payload was stopped by job control
)

// event is one input of step.
type event struct {
	kind   eventKind
	sig    syscall.Signal     // evSignal, evKill
	all    bool               // evKill
	status syscall.WaitStatus // evExited
	known  bool               // evExited: the status is known
	cause  string             // evFailed, evExceeded: one of the Reason constants
	victim bool               // evBreach: a process was chosen, and it is not the payload
	fresh  bool               // evBreach: the breach before is long ago
	urgent bool               // evBreach, evExceeded: the group goes on growing: no grace period
}

// actionKind says what is to be done.
type actionKind uint8

const (
	actOpenGate     actionKind = iota // let the payload execute its program
	actSignalGroup                    // send sig to the payload's process group
	actSignalLeader                   // send sig to the payload
	actSignalAll                      // send sig to every member
	actSignalBreach                   // send the signal of the configuration to the payload, for the breach
	actKillVictim                     // kill the one process that was chosen
	actHold                           // leave the frozen group as it is, and say so
	actGoOn                           // let everything that is stopped for any reason go on, for good
	actThaw                           // let a frozen group go on; in its grace period, under the ceiling
	actArm                            // start the timer, in place of one that runs
	actDisarm                         // stop the timer
	actReap                           // let the reaper reap the payload: its process group is not ours any more
	actKillAll                        // kill every member, and what they fork, until none is left
	actSuspend                        // stop with the payload, as a shell expects of a job
	actFinish                         // write the verdict and end
)

// action is one output of step.
type action struct {
	kind actionKind
	sig  syscall.Signal
	wait time.Duration // actArm
}

// settings are the constants of a run that decisions depend on.
type settings struct {
	grace      time.Duration // between SIGTERM and SIGKILL
	jobControl bool          // stop and continue together with the payload
	onBreach   limit.Action  // what a breach leads to
	strict     bool          // who is over the memory limit has no grace period
}

// again is how long after a SIGKILL to everybody the next one follows.
const again = 100 * time.Millisecond

// state is everything that decisions depend on.
type state struct {
	phase  phase
	reason string             // why the run ends; empty while it goes on
	exited bool               // the payload ended
	known  bool               // its status is known
	status syscall.WaitStatus // how
	asked  bool               // all members were sent a signal that asks to end
	held   bool               // it is frozen for a breach until somebody signals it
	killed int                // processes that were killed for all, without a long time between two of them
	sent   uint64             // signals that were sent to the payload on request, as a bit set
}

// step is the whole behaviour of a run: no clock, no process, no file.
func step(s state, e event, c settings) (state, []action) {
	if s.phase == stopped {
		return s, nil
	}
	switch e.kind {
	case evCreated:
		if s.phase == creating {
			s.phase = created
		}
	case evStart:
		if s.phase == created && !s.exited {
			return s, []action{{kind: actOpenGate}}
		}
	case evStarted:
		if s.phase == created {
			s.phase = running
		}
	case evFailed:
		return s.kill(e.cause)
	case evSignal:
		s, actions := s.signal(e.sig)
		if e.sig == syscall.SIGCONT {
			return s, actions
		}
		return s.unhold(e.sig, actions)
	case evKill:
		s, actions := s.request(e)
		return s.unhold(e.sig, actions)
	case evDestroy:
		return s.kill(ReasonKilled)
	case evExited:
		return s.exit(e, c)
	case evDone:
		s.phase = stopped
		s.conclude()
		return s, []action{{kind: actDisarm}, {kind: actFinish}}
	case evReaperLost:
		return s.kill(ReasonKilled)
	case evBreach:
		return s.breach(e, c)
	case evExceeded:
		return s.exceeded(e, c)
	case evHopeless:
		if s.phase == stopping {
			return s.kill(s.reason)
		}
	case evTimer:
		if s.phase == stopping || s.phase == killing {
			return s.kill(s.reason)
		}
	case evStopped:
		// Also in created: a stop right after execve may be reported before it.
		if c.jobControl && s.phase < stopping && !s.exited {
			return s, []action{{kind: actSuspend, sig: e.sig}}
		}
	}
	return s, nil
}

// kill ends everything, again and again until evDone. The first reason stays.
func (s state) kill(reason string) (state, []action) {
	if s.reason == "" {
		s.reason = reason
	}
	s.phase, s.held = killing, false
	return s, []action{{kind: actKillAll}, {kind: actArm, wait: again}}
}

// endsRun tells whether a signal to mlrun means that the run is to end.
func endsRun(sig syscall.Signal) bool {
	return asksToEnd(sig) || sig == syscall.SIGINT || sig == syscall.SIGQUIT
}

// asksToEnd tells whether every process that gets sig is expected to clean up and end, and has a grace period for it. SIGINT and SIGQUIT
// are for the process in front of the user: what a shell has put in the background ignores them.
func asksToEnd(sig syscall.Signal) bool { return sig == syscall.SIGTERM || sig == syscall.SIGHUP }

// remember notes a signal that is sent on request; to all members, or to the payload alone.
func (s *state) remember(sig syscall.Signal, all bool) {
	if sig > 0 && sig <= 64 {
		s.sent |= 1 << (sig - 1)
	}
	s.asked = s.asked || all && asksToEnd(sig)
}

// signal forwards a signal that mlrun itself got.
func (s state) signal(sig syscall.Signal) (state, []action) {
	if s.phase == creating || s.phase == killing {
		// Nobody to send it to yet, or nobody for long.
		if endsRun(sig) && s.phase == creating {
			return s.kill(ReasonKilled)
		}
		return s, nil
	}
	if s.held && sig == syscall.SIGCONT {
		return s, nil // a shell's fg, or somebody who continues whole groups
	}
	s.remember(sig, true)
	if s.exited || asksToEnd(sig) {
		return s, []action{{kind: actSignalAll, sig: sig}} // also to those that left the group
	}
	return s, []action{{kind: actSignalGroup, sig: sig}}
}

// request is a signal by mlrun kill.
func (s state) request(e event) (state, []action) {
	if s.phase == creating || s.exited && !e.all {
		return s, nil
	}
	s.remember(e.sig, e.all)
	if e.all {
		return s, []action{{kind: actSignalAll, sig: e.sig}}
	}
	return s, []action{{kind: actSignalLeader, sig: e.sig}}
}

// unhold adds to what a signal leads to that a group which is held goes on, to be able to follow it.
func (s state) unhold(sig syscall.Signal, actions []action) (state, []action) {
	switch sig {
	case syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGWINCH:
		return s, actions
	}
	if s.held {
		s.held, actions = false, append(actions, action{kind: actThaw})
	}
	return s, actions
}

// exit is the end of the payload. Nothing outlives it, but what was asked to end before has the time for it.
func (s state) exit(e event, c settings) (state, []action) {
	if s.exited {
		return s, nil
	}
	s.exited, s.known, s.status = true, e.known, e.status
	reap := action{kind: actReap}
	switch {
	case s.phase == stopping || s.phase == killing:
		return s, []action{reap}
	case s.asked && c.grace > 0:
		s.phase, s.held = stopping, false
		return s, []action{reap, {kind: actThaw}, {kind: actArm, wait: c.grace}}
	}
	s.phase, s.held = killing, false
	return s, []action{reap, {kind: actKillAll}, {kind: actArm, wait: again}}
}

// breach is a confirmed excess of the memory limit, with the group frozen.
func (s state) breach(e event, c settings) (state, []action) {
	switch s.phase {
	case creating, created, running:
		if s, actions := s.goOn(e, c); actions != nil {
			return s, actions
		}
	case stopping:
		if s.reason != "" && !c.strict {
			return s, []action{{kind: actThaw}}
		}
		// With no reason the payload ended in peace; what it left in its grace period is over the limit.
		return s.kill(ReasonMemory)
	default:
		return s.kill(s.reason)
	}
	s.reason = ReasonMemory
	if c.grace <= 0 || c.strict || e.urgent { // what cannot be stopped cannot clean up either
		return s.kill(s.reason)
	}
	s.phase = stopping
	return s, []action{
		{kind: actSignalAll, sig: syscall.SIGTERM},
		{kind: actThaw},
		{kind: actArm, wait: c.grace},
	}
}

// exceeded is a limit other than that of memory that was exceeded. What the payload leaves behind in peace has its grace period all the same.
func (s state) exceeded(e event, c settings) (state, []action) {
	switch {
	case s.phase == stopping && e.urgent:
		return s.kill(e.cause)
	case s.phase >= stopping || s.exited:
		return s, nil
	case c.grace <= 0 || e.urgent:
		return s.kill(e.cause)
	}
	s.reason, s.phase, s.held = e.cause, stopping, false
	return s, []action{
		{kind: actSignalAll, sig: syscall.SIGTERM},
		{kind: actThaw},
		{kind: actGoOn},
		{kind: actArm, wait: c.grace},
	}
}

// goOn is a breach that the run survives; no actions: it does not.
func (s state) goOn(e event, c settings) (state, []action) {
	switch c.onBreach {
	case limit.Signal:
		return s, []action{{kind: actSignalBreach}, {kind: actThaw}}
	case limit.Freeze:
		s.held = true
		return s, []action{{kind: actHold}}
	case limit.KillLargest, limit.KillNewest:
		if e.fresh {
			s.killed = 0
		}
		if e.victim && s.killed < limit.MaxVictims {
			s.killed++
			return s, []action{{kind: actKillVictim}, {kind: actThaw}}
		}
	}
	return s, nil
}

// conclude finds the reason when nothing but the payload's own end is it.
func (s *state) conclude() {
	if s.reason != "" {
		return
	}
	switch {
	case !s.known:
		s.reason = ReasonKilled
	case s.status.Exited():
		s.reason = ReasonExited
	case s.sent&(1<<(s.status.Signal()-1)) != 0:
		s.reason = ReasonKilled
	default:
		s.reason = ReasonSignaled
	}
}
