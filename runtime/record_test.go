//go:build linux

package runtime

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/bundle"
	"mlrun/internal/asnobody"
	"mlrun/limit"
	"mlrun/meter"
	"mlrun/proc"
	"mlrun/runtime/store"
)

func TestStatusIsDerived(t *testing.T) {
	alive := proc.Self()
	dead := proc.ID{PID: alive.PID, Start: alive.Start + 1} // the pid of a process that lives, but not that one
	now := time.Now()
	for name, c := range map[string]struct {
		rec  record
		want specs.ContainerState
	}{
		"claimed":                     {record{Creator: alive}, specs.StateCreating},
		"claimed, creator killed":     {record{Creator: dead}, specs.StateStopped},
		"never written":               {record{}, specs.StateStopped},
		"supervisor at work":          {record{Creator: dead, Supervisor: alive}, specs.StateCreating},
		"supervisor killed":           {record{Creator: alive, Supervisor: dead}, specs.StateStopped},
		"waits for its start":         {record{Supervisor: alive, Payload: &alive}, specs.StateCreated},
		"runs":                        {record{Supervisor: alive, Payload: &alive, Started: &now}, specs.StateRunning},
		"payload ended":               {record{Supervisor: alive, Payload: &dead, Started: &now}, specs.StateStopped},
		"supervisor killed just now":  {record{Supervisor: dead, Payload: &alive, Started: &now}, specs.StateRunning},
		"finished":                    {record{Supervisor: alive, Payload: &alive, Started: &now, Verdict: []byte("{}")}, specs.StateStopped},
		"finished, pid used by other": {record{Supervisor: dead, Payload: &alive, Verdict: []byte("{}")}, specs.StateStopped},
	} {
		if got, _ := c.rec.status(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestStateHasAPidOnlyWhileThereIsOne(t *testing.T) {
	id := proc.Self()
	r := record{ID: "x", Payload: &id}
	for status, want := range map[specs.ContainerState]int{
		specs.StateCreating: 0, specs.StateCreated: id.PID, specs.StateRunning: id.PID, specs.StateStopped: 0,
	} {
		if got := r.state(status).Pid; got != want {
			t.Errorf("%s: pid %d, want %d", status, got, want)
		}
	}
}

func TestGenerateID(t *testing.T) {
	seen := map[string]bool{}
	for _, dir := range []string{"/a/hello", "/a/hello", "/", "/..", "/ü/ä ö", "/" + strings.Repeat("x", 300)} {
		id, err := GenerateID(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.CheckID(id); err != nil || seen[id] {
			t.Errorf("%s: id %q, %v", dir, id, err)
		}
		seen[id] = true
	}
}

func TestEffectiveLimits(t *testing.T) {
	b, err := bundle.Parse([]byte(`{"ociVersion":"1.3.0","process":{"args":["true"],"cwd":"/","rlimits":[{"type":"RLIMIT_CORE","soft":1,"hard":2}]},
		"linux":{"resources":{"memory":{"limit":1000000,"swap":2000000,"reservation":900000}}},
		"annotations":{"dev.mlrun.memory.grace":"7","dev.mlrun.memory.on-breach":"signal:USR1","dev.mlrun.memory.overshoot":"3M","dev.mlrun.memory.meter":"poll"}}`), "/b", "config.json", bundle.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := CreateOptions{Bundle: b}
	want := memory{Limit: 1000000, Swap: 2000000, Soft: 900000, Overshoot: 3 << 20, OnBreach: limit.Signal, Signal: syscall.SIGUSR1, Meter: meter.Poll, GraceNS: 7e9}
	if m := o.memory(); m != want {
		t.Errorf("of the bundle: %+v", m)
	}
	zero, events := time.Duration(0), bundle.MeterEvents
	o.Memory, o.Grace, o.Overshoot, o.OnBreach, o.Meter = 5, &zero, 7<<20, &bundle.Breach{Action: bundle.BreachFreeze}, &events
	want = memory{Limit: 5, Swap: 2000000, Soft: 900000, Overshoot: 7 << 20, OnBreach: limit.Freeze, Meter: meter.Events}
	if m := o.memory(); m != want {
		t.Errorf("of the options: %+v", m)
	}
	l := o.limits(new(budget))
	if len(l) == 4 && l[1].Path == "linux.resources.memory.swap" && l[2].Path == "linux.resources.memory.reservation" {
		l = append(l[:1], l[3:]...)
	}
	if len(l) != 2 || l[0].Held != "sampled" || l[0].Hard != 5 || l[1].Held != "kernel" || l[1].Name != "RLIMIT_CORE" || l[1].Soft != 1 || l[1].Hard != 2 {
		t.Errorf("limits %+v", l)
	}
}

// TestListOfMany lists so many containers that their states are read side by side.
func TestListOfMany(t *testing.T) {
	r, err := New(Options{Root: t.TempDir() + "/root"})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := r.List(); err != nil || list == nil || len(list) > 0 {
		t.Errorf("of none: %v, %v", list, err)
	}
	const n, damaged = 1000, 500
	var want []string
	for i := range n {
		id := fmt.Sprintf("c%03d", i)
		d, err := r.store.Create(id)
		if err != nil {
			t.Fatal(err)
		}
		rec := &record{ID: id, Bundle: "/" + id, Verdict: []byte(`{"reason":"exited"}`)}
		if err := d.Write(rec); err != nil {
			t.Fatal(err)
		}
		if i == damaged {
			err = d.WriteFile("state.json", []byte("{"))
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	if ids, err := r.IDs(); err != nil || !slices.Equal(ids, want) {
		t.Errorf("%d ids, %v", len(ids), err)
	}
	list, err := r.List()
	if err != nil || len(list) != n {
		t.Fatalf("%d containers, %v", len(list), err)
	}
	for i, s := range list {
		switch {
		case s.ID != want[i] || s.Status != specs.StateStopped:
			t.Errorf("%d is %s, %s", i, s.ID, s.Status)
		case i == damaged && !strings.Contains(s.MLRun.Problem, "damaged"):
			t.Errorf("%s is damaged: %+v", s.ID, s)
		case i != damaged && (s.MLRun.Problem != "" || s.MLRun.Reason != "exited" || s.Bundle != "/"+s.ID):
			t.Errorf("%s: %+v", s.ID, s)
		}
	}
}

func TestExamplesAsNobody(t *testing.T) { asnobody.Run(t, "^Example") }
