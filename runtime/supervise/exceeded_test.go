package supervise

import (
	"slices"
	"syscall"
	"testing"

	"mlrun/limit"
)

// TestExceeded goes through the ends for limits other than that of memory.
func TestExceeded(t *testing.T) {
	up := []event{{kind: evCreated}, {kind: evStart}, {kind: evStarted}}
	over := event{kind: evExceeded, cause: ReasonCPU}
	urgent := event{kind: evExceeded, cause: ReasonPids, urgent: true}
	asked := []actionKind{actSignalAll, actThaw, actGoOn, actArm}
	for _, c := range []struct {
		name   string
		c      settings
		events []event
		phase  phase
		reason string
		kinds  []actionKind // after the start
	}{
		{"asked to end", settings{grace: graceOf}, []event{over}, stopping, ReasonCPU, asked},
		{"again", settings{grace: graceOf}, []event{over, over}, stopping, ReasonCPU, asked},
		{"another limit", settings{grace: graceOf}, []event{over, {kind: evExceeded, cause: ReasonWall}}, stopping, ReasonCPU, asked},
		{"and worse", settings{grace: graceOf}, []event{over, urgent}, killing, ReasonCPU, append(slices.Clone(asked), actKillAll, actArm)},
		{"urgent", settings{grace: graceOf}, []event{urgent}, killing, ReasonPids, []actionKind{actKillAll, actArm}},
		{"no grace", settings{}, []event{over}, killing, ReasonCPU, []actionKind{actKillAll, actArm}},
		{"grace is over", settings{grace: graceOf}, []event{over, {kind: evTimer}}, killing, ReasonCPU, append(slices.Clone(asked), actKillAll, actArm)},
		{"what is left in peace", settings{grace: graceOf}, []event{{kind: evSignal, sig: syscall.SIGTERM}, {kind: evExited, known: true}, over}, stopping, "",
			[]actionKind{actSignalAll, actReap, actThaw, actArm}},
	} {
		before, _ := play(c.c, up...)
		s, kinds := play(c.c, append(slices.Clone(up), c.events...)...)
		kinds = kinds[1:] // actOpenGate
		if before.phase != running || s.phase != c.phase || s.reason != c.reason || !slices.Equal(kinds, c.kinds) {
			t.Errorf("%s: phase %v, reason %q, actions %v; want %v, %q, %v", c.name, s.phase, s.reason, kinds, c.phase, c.reason, c.kinds)
		}
		s, _ = step(s, event{kind: evDone}, c.c)
		if c.reason != "" && (s.reason != c.reason || s.exitCode(0) != ExitLimit) {
			t.Errorf("%s: ends with %q, %d", c.name, s.reason, s.exitCode(0))
		}
	}
}

// TestExceededSays has what the verdict says for each limit.
func TestExceededSays(t *testing.T) {
	b := limit.Budget{CPU: 2e9, Wall: 3e9, Hang: 4e9, Tasks: 5, Huge: []limit.Huge{{Size: 1, Limit: 7}, {Size: 2, Limit: 6}}}
	s := limit.Spent{CPU: 21e8, Wall: 31e8, Idle: 41e8, Tasks: 51, Huge: []int64{7, 61}}
	for what, want := range map[limit.Excess]Exceeded{
		limit.OverTasks: {5, 51, "tasks"}, limit.OverCPU: {2e6, 21e5, "microseconds"}, limit.OverWall: {3e6, 31e5, "microseconds"},
		limit.Hung: {4e6, 41e5, "microseconds"}, limit.OverHuge: {6, 61, "bytes"},
	} {
		if got := exceeded(b, what, s); got == nil || *got != want {
			t.Errorf("%v: %v, want %v", what, got, want)
		}
		if !IsLimit(reasons[what]) {
			t.Errorf("%v: %q is no limit", what, reasons[what])
		}
	}
	if IsLimit(ReasonExited) || IsLimit("") || !IsLimit(ReasonMemory) {
		t.Error("IsLimit")
	}
}
