package supervise

import (
	"syscall"
	"testing"
	"time"

	"mlrun/limit"
)

const (
	exit0   = syscall.WaitStatus(0)
	byTerm  = syscall.WaitStatus(syscall.SIGTERM)
	byKill  = syscall.WaitStatus(syscall.SIGKILL)
	graceOf = 5 * time.Second
)

// play runs events and returns the end state and the kinds of all actions.
func play(c settings, events ...event) (state, []actionKind) {
	var s state
	var kinds []actionKind
	for _, e := range events {
		var as []action
		s, as = step(s, e, c)
		for _, a := range as {
			kinds = append(kinds, a.kind)
		}
	}
	return s, kinds
}

func TestReasons(t *testing.T) {
	up := []event{{kind: evCreated}, {kind: evStart}, {kind: evStarted}}
	exit := func(st syscall.WaitStatus) []event {
		return []event{{kind: evExited, status: st, known: true}, {kind: evDone}}
	}
	for _, c := range []struct {
		name   string
		events []event
		reason string
		code   int
	}{
		{"exit 0", exit(exit0), ReasonExited, 0},
		{"exit 3", exit(3 << 8), ReasonExited, 3},
		{"killed by a stranger", exit(byKill), ReasonSignaled, 137},
		{"forwarded TERM", append([]event{{kind: evSignal, sig: syscall.SIGTERM}}, exit(byTerm)...), ReasonKilled, 143},
		{"TERM, then exit 0", append([]event{{kind: evSignal, sig: syscall.SIGTERM}}, exit(exit0)...), ReasonExited, 0},
		{"mlrun kill KILL", append([]event{{kind: evKill, sig: syscall.SIGKILL}}, exit(byKill)...), ReasonKilled, 137},
		{"limit, dies of TERM", append([]event{{kind: evBreach}}, exit(byTerm)...), ReasonMemory, 137},
		{"limit, exits 0 on TERM", append([]event{{kind: evBreach}}, exit(exit0)...), ReasonMemory, 137},
		{"limit, ignores TERM", append([]event{{kind: evBreach}, {kind: evTimer}}, exit(byKill)...), ReasonMemory, 137},
		{"hook", append([]event{{kind: evFailed, cause: ReasonHook}}, exit(byKill)...), ReasonHook, 1},
		{"not found", append([]event{{kind: evFailed, cause: ReasonLaunch}}, exit(127<<8)...), ReasonLaunch, 127},
		{"destroyed", append([]event{{kind: evDestroy}}, exit(byKill)...), ReasonKilled, 137},
		{"reaper lost", []event{{kind: evReaperLost}, {kind: evDone}}, ReasonKilled, 137},
	} {
		s, _ := play(settings{grace: graceOf}, append(up[:3:3], c.events...)...)
		if s.phase != stopped || s.reason != c.reason || s.exitCode(127) != c.code {
			t.Errorf("%s: phase %v, reason %q, exit code %d; want stopped, %q, %d", c.name, s.phase, s.reason, s.exitCode(127), c.reason, c.code)
		}
	}
}

func TestNothingOutlivesThePayload(t *testing.T) {
	has := func(as []actionKind, k actionKind) bool {
		for _, a := range as {
			if a == k {
				return true
			}
		}
		return false
	}
	end := event{kind: evExited, known: true}
	_, as := play(settings{grace: graceOf}, event{kind: evCreated}, event{kind: evStarted}, end)
	if !has(as, actKillAll) {
		t.Errorf("what the payload left is not killed: %v", as)
	}
	// What was asked to end has the grace period, and not more.
	term := event{kind: evSignal, sig: syscall.SIGTERM}
	s, as := play(settings{grace: graceOf}, event{kind: evCreated}, event{kind: evStarted}, term, end)
	if has(as, actKillAll) || s.phase != stopping {
		t.Errorf("no grace period: %v, %v", s.phase, as)
	}
	if _, as = play(settings{grace: graceOf}, event{kind: evCreated}, event{kind: evStarted}, term, end, event{kind: evTimer}); !has(as, actKillAll) {
		t.Errorf("the grace period does not end: %v", as)
	}
	// Ctrl-C is for the process in front: what a shell has in the background ignores it, and nobody waits for that.
	if _, as = play(settings{grace: graceOf}, event{kind: evCreated}, event{kind: evStarted}, event{kind: evSignal, sig: syscall.SIGINT}, end); !has(as, actKillAll) {
		t.Errorf("a grace period after SIGINT: %v", as)
	}
	// SIGTERM reaches those that left the group, too.
	if _, as = play(settings{grace: graceOf}, event{kind: evCreated}, event{kind: evStarted}, term); !has(as, actSignalAll) {
		t.Errorf("SIGTERM is not for all: %v", as)
	}
	// A signal to the payload alone asks nobody else.
	kill := event{kind: evKill, sig: syscall.SIGTERM}
	if _, as = play(settings{grace: graceOf}, event{kind: evCreated}, event{kind: evStarted}, kill, end); !has(as, actKillAll) {
		t.Errorf("a grace period for those who were not asked: %v", as)
	}
}

func TestOnBreach(t *testing.T) {
	up := []event{{kind: evCreated}, {kind: evStart}, {kind: evStarted}}
	breach := event{kind: evBreach, victim: true}
	sig := func(s syscall.Signal) event { return event{kind: evKill, sig: s} }
	many := func(n int, e event) (list []event) {
		for range n {
			list = append(list, e)
		}
		return list
	}
	for _, c := range []struct {
		name   string
		action limit.Action
		events []event
		phase  phase
		last   actionKind
		held   bool
	}{
		{"kill", limit.Kill, []event{breach}, stopping, actArm, false},
		{"signal", limit.Signal, []event{breach}, running, actThaw, false},
		{"freeze", limit.Freeze, []event{breach}, running, actHold, true},
		{"freeze, TSTP", limit.Freeze, []event{breach, sig(syscall.SIGTSTP)}, running, actSignalLeader, true},
		{"freeze, CONT", limit.Freeze, []event{breach, sig(syscall.SIGCONT)}, running, actThaw, false},
		{"freeze, TERM", limit.Freeze, []event{breach, {kind: evSignal, sig: syscall.SIGTERM}}, running, actThaw, false},
		{"freeze, destroy", limit.Freeze, []event{breach, {kind: evDestroy}}, killing, actArm, false},
		{"freeze, killed by a stranger", limit.Freeze, []event{breach, {kind: evExited, status: byKill, known: true}}, killing, actArm, false},
		{"kill-largest", limit.KillLargest, []event{breach}, running, actThaw, false},
		{"kill-newest", limit.KillNewest, []event{breach}, running, actThaw, false},
		{"the payload is the largest", limit.KillLargest, []event{{kind: evBreach}}, stopping, actArm, false},
		{"too many victims", limit.KillLargest, many(limit.MaxVictims+1, breach), stopping, actArm, false},
		{"many victims in a long time", limit.KillLargest, many(100, event{kind: evBreach, victim: true, fresh: true}), running, actThaw, false},
	} {
		s, as := play(settings{grace: graceOf, onBreach: c.action}, append(up[:3:3], c.events...)...)
		if s.phase != c.phase || as[len(as)-1] != c.last || s.held != c.held {
			t.Errorf("%s: phase %v, last action %v, held %v; want %v, %v, %v", c.name, s.phase, as[len(as)-1], s.held, c.phase, c.last, c.held)
		}
	}
}

// FuzzStep plays arbitrary event sequences and checks what must always hold.
func FuzzStep(f *testing.F) {
	f.Add([]byte{0, 2, 3, 7, 8}, true, byte(limit.Kill))
	f.Add([]byte{0, 2, 3, 10, 11, 12, 7, 12, 8}, false, byte(limit.Freeze))
	f.Add([]byte{0, 4, 5, 6, 9, 13, 8, 7}, true, byte(limit.Kill))
	f.Add([]byte{0, 2, 3, 26, 26, 10, 26, 7, 8}, true, byte(limit.KillLargest))
	f.Add([]byte{0, 2, 3, 10, 10, 7, 8}, false, byte(130))
	f.Fuzz(func(t *testing.T, seq []byte, jobs bool, onBreach byte) {
		var s state
		c := settings{grace: graceOf, jobControl: jobs, onBreach: limit.Action(onBreach % 5), strict: onBreach >= 128}
		finished, reaped, armed, frozen := 0, false, false, false
		for _, b := range seq {
			e := event{kind: eventKind(b % 14), all: b&16 != 0, known: true}
			e.sig = []syscall.Signal{syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGKILL, syscall.SIGCONT}[b>>5&3]
			if b&128 != 0 {
				e.status = byKill
			}
			e.cause, e.victim, e.fresh = ReasonLaunch, b&16 != 0, b&32 != 0
			before := s
			if e.kind == evBreach {
				if frozen {
					continue // the sampler waits for its answer
				}
				frozen = s.phase != stopped
			}
			var as []action
			s, as = step(s, e, c)
			if s.phase < before.phase {
				t.Fatalf("from %v back to %v", before.phase, s.phase)
			}
			if before.reason != "" && s.reason != before.reason {
				t.Fatalf("the reason changed from %q to %q", before.reason, s.reason)
			}
			for _, a := range as {
				switch a.kind {
				case actSignalGroup, actSignalLeader, actOpenGate:
					if reaped || before.exited {
						t.Fatalf("the pid of the payload is used after its end")
					}
				case actReap:
					if reaped {
						t.Fatal("reaped twice")
					}
					reaped = true
				case actFinish:
					finished++
				case actThaw, actKillAll:
					frozen = false
				case actArm:
					armed = true
				case actDisarm:
					armed = false
				}
			}
			if (s.phase == stopping || s.phase == killing) && !armed {
				t.Fatalf("%v without a timer", s.phase)
			}
			if e.kind == evBreach && before.phase != stopped && s.phase < stopping && (c.onBreach == limit.Kill || len(as) == 0) {
				t.Fatal("a breach has no consequence")
			}
			if frozen != s.held && s.phase != stopped {
				t.Fatalf("%v: frozen %v, held %v", s.phase, frozen, s.held)
			}
			if s.killed > limit.MaxVictims {
				t.Fatalf("%d victims", s.killed)
			}
			if e.kind == evBreach && c.strict && s.phase == stopping {
				t.Fatal("a breach with a grace period, strictly")
			}
			if e.kind == evTimer && (before.phase == stopping || before.phase == killing) && s.phase != killing {
				t.Fatal("the end of the grace period has no consequence")
			}
		}
		if (finished == 1) != (s.phase == stopped) || finished > 1 {
			t.Fatalf("finished %d times in phase %v", finished, s.phase)
		}
		if s.phase == stopped && s.reason == "" {
			t.Fatal("stopped without a reason")
		}
	})
}

func TestStrict(t *testing.T) {
	up := []event{{kind: evCreated}, {kind: evStart}, {kind: evStarted}}
	breach, over := event{kind: evBreach}, event{kind: evExceeded, cause: ReasonWall}
	term, end := event{kind: evKill, sig: syscall.SIGTERM, all: true}, event{kind: evExited, known: true}
	for _, c := range []struct {
		name   string
		strict bool
		events []event
		phase  phase
		reason string
	}{
		{"a breach", false, []event{breach}, stopping, ReasonMemory},
		{"a breach, strictly", true, []event{breach}, killing, ReasonMemory},
		{"another limit, strictly", true, []event{over}, stopping, ReasonWall},
		{"a breach in its grace period", false, []event{over, breach}, stopping, ReasonWall},
		{"a breach in its grace period, strictly", true, []event{over, breach}, killing, ReasonWall},
		{"a breach of what is left, strictly", true, []event{term, end, breach}, killing, ReasonMemory},
	} {
		s, as := play(settings{grace: graceOf, strict: c.strict}, append(up[:3:3], c.events...)...)
		if s.phase != c.phase || s.reason != c.reason {
			t.Errorf("%s: phase %v, reason %q, actions %v; want %v, %q", c.name, s.phase, s.reason, as, c.phase, c.reason)
		}
	}
	// A process that is killed for the others leaves them under the limit.
	s, _ := play(settings{grace: graceOf, strict: true, onBreach: limit.KillLargest}, append(up, event{kind: evBreach, victim: true})...)
	if s.phase != running {
		t.Errorf("kill-largest, strictly: phase %v", s.phase)
	}
}
