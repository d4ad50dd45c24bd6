package meter_test

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"mlrun/internal/asnobody"
	"mlrun/meter"
)

// watched is a watch on a helper process. Where events are not permitted it tests that the reason is told, and returns nil.
func watched(t *testing.T, p *process) *meter.Watch {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	w, err := meter.NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	c, err := w.Prepare([]int{p.id.PID})
	if err != nil {
		if probe := meter.ProbeEvents(); probe == nil || probe.Error() != err.Error() || !strings.HasPrefix(err.Error(), "perf events: ") {
			t.Fatalf("%v, and the probe says %v", err, probe)
		}
		t.Logf("without events: %v", err)
		return nil
	}
	w.Attach(c)
	return w
}

// until waits for a cause, at most a minute.
func until(w *meter.Watch, want meter.Cause) bool {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if w.Wait(time.Second, want)&want != 0 {
			return true
		}
	}
	return false
}

// asleep waits until all that is watched sleeps for 50 ms: the runtime of a Go program is busy for a while after it was.
func asleep(t *testing.T, w *meter.Watch) {
	t.Helper()
	const quiet = 50 * time.Millisecond
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if !w.Sleep() {
			continue
		}
		if start := time.Now(); w.Wait(quiet, meter.Woke) == 0 {
			if time.Since(start) < quiet {
				t.Fatal("a wait for a wake-up ends without one")
			}
			return
		}
	}
	t.Fatal("it waits for input, and does not sleep")
}

func TestPoke(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w, err := meter.NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.Poke()
	w.Poke()
	next := func() (c meter.Cause) {
		for c == 0 {
			c = w.Wait(time.Minute, 0)
		}
		return c
	}
	if got := next(); got != meter.Poked {
		t.Errorf("poked before: %v", got)
	}
	go w.Poke()
	if got := next(); got != meter.Poked {
		t.Errorf("poked meanwhile: %v", got)
	}
	if got := w.Wait(time.Millisecond, meter.Faulted|meter.Woke); got != 0 {
		t.Errorf("nobody poked: %v", got)
	}
	if w.Sleep() {
		t.Error("nobody is watched, and sleeps")
	}
}

func TestFaultsWake(t *testing.T) {
	p := start(t, nil, "private 1")
	w := watched(t, p)
	if w == nil {
		return
	}
	for w.Wait(0, meter.Faulted) != 0 {
	}
	p.in("private 8")
	defer p.answer()
	if !until(w, meter.Faulted) {
		t.Error("2,048 page faults, and no word of them")
	}
}

func TestSleepEndsWithTheFirstWakeUp(t *testing.T) {
	p := start(t, nil, "private 1")
	w := watched(t, p)
	if w == nil {
		return
	}
	for range 3 {
		asleep(t, w)
		used := w.Used()
		p.in("private 1")
		if !until(w, meter.Woke) {
			t.Fatal("it was woken, and nobody says so")
		}
		p.answer()
		if w.Used() == used {
			t.Error("it was woken without using a CPU")
		}
		if w.Sleep() {
			t.Error("it has run meanwhile")
		}
	}
}

// TestTheFirstEnds shows that the end of the process that was watched first changes nothing for the others.
func TestTheFirstEnds(t *testing.T) {
	p, q := start(t, nil, "private 1"), start(t, nil, "private 1")
	w := watched(t, p)
	if w == nil {
		return
	}
	c, err := w.Prepare([]int{q.id.PID})
	if err != nil {
		t.Fatal(err)
	}
	w.Attach(c)
	p.in("exit")
	p.cmd.Wait()
	asleep(t, w)
	q.in("private 1")
	if !until(w, meter.Woke) {
		t.Fatal("it was woken, and nobody says so")
	}
	q.answer()
}

// TestForksAreWatched shows that what a watched process forks is watched, too, and that a second process shares the rings.
func TestForksAreWatched(t *testing.T) {
	p, q := start(t, nil, "private 1"), start(t, nil, "private 1")
	w := watched(t, p)
	if w == nil {
		return
	}
	c, err := w.Prepare([]int{q.id.PID, 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	w.Attach(c)
	for _, who := range []*process{p, q} {
		for w.Wait(0, meter.Faulted) != 0 {
		}
		who.in("fork 8")
		if !until(w, meter.Faulted) {
			t.Error("a child touches memory, and nobody says so")
		}
		who.answer()
	}
}

func TestMapped(t *testing.T) {
	m := meter.NewMapped()
	if m == nil {
		t.Fatal("/proc/meminfo is not the kernel's")
	}
	defer m.Close()
	// Others allocate and free at the same time: one of a few attempts is undisturbed.
	var grown int64
	for range 20 {
		before, ok := m.Read()
		if !ok || before < 1*mib {
			t.Fatalf("%d bytes, %v", before, ok)
		}
		p := start(t, nil, "private 128")
		after, _ := m.Read()
		p.in("exit")
		p.cmd.Wait()
		if grown = after - before; grown > 100*mib {
			return
		}
	}
	t.Errorf("a process with 128 MiB, and %d MiB more are mapped", grown/mib)
}

func TestEventsAsNobody(t *testing.T) {
	if os.Getenv(helperEnv) == "" {
		asnobody.Run(t, "^Test(Poke|FaultsWake|SleepEndsWithTheFirstWakeUp|ForksAreWatched|TheFirstEnds)$")
	}
}
