//go:build !portable

package proc_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

func stopped(id proc.ID) bool {
	s, err := proc.Root.Stat(id.PID)
	return err == nil && s.ID() == id && s.Stopped()
}

// halt stops everything, and waits until it has.
func halt(t *testing.T, g *proc.Group) *proc.Halted {
	t.Helper()
	g.Tally()
	h := g.Halt()
	eventually(t, "everybody has stopped", h.Settled)
	return h
}

func TestHalt(t *testing.T) {
	_, g := sh(t, "setsid sleep 1000 & sleep 1000 & wait")
	eventually(t, "three processes", func() bool { g.Update(time.Now()); return g.Size() == 3 })
	var other proc.ID // one that somebody else has stopped
	for _, id := range g.Members() {
		if id != g.Leader() {
			other = id
		}
	}
	unix.Kill(other.PID, unix.SIGSTOP)
	eventually(t, "it is stopped", func() bool { return stopped(other) })
	for range 20 {
		h := halt(t, g)
		for _, id := range g.Members() {
			if !stopped(id) {
				t.Errorf("process %d runs", id.PID)
			}
		}
		running := false
		h.Continue(func() { running = true })
		if !running {
			t.Error("nothing was told when they were continued")
		}
		for _, id := range g.Members() {
			eventually(t, "it goes on", func() bool { return stopped(id) == (id == other) })
		}
	}
}

// TestHaltKeepsStops stops what is stopped already, as a terminal or another process does: that holds when it is continued.
func TestHaltKeepsStops(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU} {
		t.Run(sig.String(), func(t *testing.T) {
			_, g := sh(t, "exec sleep 1000")
			h := halt(t, g)
			if err := g.SignalLeader(sig); err != nil {
				t.Fatal(err)
			}
			h.Continue(func() {})
			// It ran for a moment, if at all. What was told to it once more is pending no longer.
			eventually(t, "it is stopped", func() bool { return stopped(g.Leader()) })
			h = halt(t, g) // leaves it alone
			h.Continue(func() {})
			if !stopped(g.Leader()) {
				t.Error("a process that others have stopped was continued")
			}
			// Taken back while everything is stopped, it is.
			g.SignalLeader(unix.SIGCONT)
			eventually(t, "it goes on", func() bool { return !stopped(g.Leader()) })
			h = halt(t, g)
			g.SignalLeader(sig)
			g.SignalLeader(unix.SIGCONT)
			h.Continue(func() {})
			eventually(t, "it goes on", func() bool { return !stopped(g.Leader()) })
		})
	}
}

// TestHaltKeepsStopsForHandlers sends a stop to a process that catches it.
func TestHaltKeepsStopsForHandlers(t *testing.T) {
	dir := t.TempDir()
	_, g := sh(t, "trap ': >"+dir+"/caught' TSTP; : >"+dir+"/ready; while :; do :; done") // a shell that waits for its child in vfork(2) does not stop
	there := func(name string) func() bool {
		return func() bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	}
	eventually(t, "it has its trap", there("ready"))
	h := halt(t, g)
	g.SignalLeader(unix.SIGTSTP)
	h.Continue(func() {})
	eventually(t, "it has caught the signal", there("caught"))
}

// TestContinueOutrunsTheStop continues before, while and after the stop is acted on, also where Freeze has sent more of them: none of them may stop
// anybody later.
func TestContinueOutrunsTheStop(t *testing.T) {
	_, g := sh(t, "setsid sh -c 'while :; do :; done' & exec sleep 1000")
	eventually(t, "two processes", func() bool { g.Update(time.Now()); return g.Size() == 2 })
	for i := range 300 {
		g.Tally()
		h := g.Halt()
		if i%4 > 0 {
			time.Sleep(time.Duration(i%7) * 20 * time.Microsecond)
		}
		if i%16 == 0 {
			g.Freeze(time.Millisecond, nil)
		}
		h.Continue(func() {})
	}
	for _, id := range g.Members() {
		eventually(t, "it goes on", func() bool { return !stopped(id) })
	}
}

// TestHaltFindsForks stops what forks without pause: when all have stopped nobody uses CPU time any more.
func TestHaltFindsForks(t *testing.T) {
	_, g := sh(t, "while :; do /bin/true & setsid /bin/true & done")
	for range 20 {
		h := halt(t, g)
		before := g.Tally().CPU
		time.Sleep(2 * time.Millisecond) // long enough for one that runs to use some
		if after := g.Tally().CPU; after != before {
			t.Errorf("%v was used by who has stopped", after-before)
		}
		h.Continue(func() {})
		time.Sleep(time.Millisecond) // of forks
	}
}
