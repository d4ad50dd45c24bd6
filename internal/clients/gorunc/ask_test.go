//go:build linux

package gorunc

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/go-runc"
	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/internal/clients"
)

func TestStats(t *testing.T) {
	c := newClient(t)
	p := c.pipes()
	s := c.spec("sh", "-c", `i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; cat; :`)
	s.Linux = &specs.Linux{Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(256 << 20))}}}
	c.must(c.Create(c.ctx, "x", c.bundle(s), &runc.CreateOpts{IO: p}))
	c.must(c.Start(c.ctx, "x"))
	p.out.Expect(t, "done\n")
	var stats *runc.Stats
	clients.Eventually(t, "there are two processes", func() bool {
		var err error
		stats, err = c.Stats(c.ctx, "x")
		c.must(err)
		return stats.Pids.Current == 2
	})
	if m := stats.Memory.Usage; m.Limit != 256<<20 || m.Usage < 64<<10 || m.Usage > 256<<20 || m.Max < 64<<10 || m.Max > 256<<20 {
		t.Errorf("memory: %+v", m)
	}
	if u := stats.Cpu.Usage; u.Total == 0 || u.Total != u.User+u.Kernel || u.Total > uint64(clients.Deadline) {
		t.Errorf("CPU time in ns: %+v", u)
	}
	c.must(p.Stdin().Close())
	c.status("x", "stopped")
	if stats, err := c.Stats(c.ctx, "x"); err == nil {
		t.Errorf("of a stopped container: %+v", stats)
	}
}

// drain reads events until the end.
func drain(t *testing.T, events <-chan *runc.Event) (all []*runc.Event) {
	t.Helper()
	timeout := time.After(clients.Deadline)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return all
			}
			if e.Type == "error" {
				t.Fatalf("an event that is none: %v", e.Err)
			}
			all = append(all, e)
		case <-timeout:
			t.Fatalf("the events do not end: %+v", all)
		}
	}
}

func types(events []*runc.Event) (all []string) {
	for _, e := range events {
		all = append(all, e.Type)
	}
	return all
}

func TestEvents(t *testing.T) {
	c := newClient(t)
	container := c.start("x", c.spec(forever...))
	events, err := c.Events(c.ctx, "x", time.Second)
	c.must(err)
	for range 2 {
		select {
		case e := <-events:
			if e == nil || e.Type != "stats" || e.ID != "x" || e.Stats == nil || e.Stats.Pids.Current == 0 || e.Stats.Memory.Usage.Usage == 0 {
				t.Fatalf("event %+v", e)
			}
		case <-time.After(clients.Deadline):
			t.Fatal("no stats")
		}
	}
	c.must(c.Kill(c.ctx, "x", int(syscall.SIGKILL), nil))
	if e := types(drain(t, events)); slices.Contains(e, "oom") || len(e) == 0 || e[len(e)-1] != "mlrun.ended" {
		t.Errorf("events to the end: %v", e)
	}
	clients.Eventually(t, "the process is gone", func() bool { return clients.Ended(container.Pid) })

	// The caller loses interest.
	c.start("y", c.spec(forever...))
	ctx, cancel := context.WithCancel(c.ctx)
	events, err = c.Events(ctx, "y", time.Hour)
	c.must(err)
	cancel()
	drain(t, events)
	c.status("y", "running")
	// An interval below a second is none in the arguments of go-runc.
	events, err = c.Events(c.ctx, "y", time.Millisecond)
	c.must(err)
	drain(t, events)
	if l := c.logged(); len(l) != 1 || !strings.Contains(l[0]["msg"], "--interval") {
		t.Errorf("logged: %v", l)
	}
}

func TestPsTop(t *testing.T) {
	clients.Need(t, "ps", "to describe processes (Debian package procps)")
	c := newClient(t)
	p := c.pipes()
	s := c.spec("sh", "-c", "setsid sleep 1000 & echo $$ $!; read x; exec sleep 1000")
	c.must(c.Create(c.ctx, "x", c.bundle(s), &runc.CreateOpts{IO: p}))
	c.must(c.Start(c.ctx, "x"))
	p.out.Expect(t, "\n")
	var pid, child int
	if _, err := fmt.Sscan(p.out.String(), &pid, &child); err != nil {
		t.Fatal(err)
	}
	pids, err := c.Ps(c.ctx, "x")
	c.must(err)
	slices.Sort(pids)
	want := []int{pid, child}
	slices.Sort(want)
	if !slices.Equal(pids, want) {
		t.Errorf("Ps: %v, want %v", pids, want)
	}
	for options, headers := range map[string][]string{
		"-ef":              {"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"},
		"-eopid,ppid,comm": {"PID", "PPID", "COMMAND"},
		"aux":              {"USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"},
	} {
		top, err := c.Top(c.ctx, "x", options)
		c.must(err)
		if !slices.Equal(top.Headers, headers) {
			t.Errorf("Top %s: headers %q, want %q", options, top.Headers, headers)
		}
		column := slices.Index(top.Headers, "PID")
		var got []int
		for _, row := range top.Processes {
			n, err := strconv.Atoi(row[column])
			c.must(err)
			got = append(got, n)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("Top %s: %v, want %v", options, got, want)
		}
	}
	_, err = c.Top(c.ctx, "x", "--no-such-option")
	c.refused(err, "ps --no-such-option")
	_, err = c.Top(c.ctx, "x", "-eocomm")
	c.refused(err, "PID")
	c.must(c.Kill(c.ctx, "x", int(syscall.SIGKILL), nil))
	c.status("x", "stopped")
	_, err = c.Ps(c.ctx, "x")
	c.refused(err, "container not running")
}

func TestUpdate(t *testing.T) {
	c := newClient(t)
	c.start("x", c.spec(forever...))
	limit := func() uint64 {
		t.Helper()
		stats, err := c.Stats(c.ctx, "x")
		c.must(err)
		return stats.Memory.Usage.Limit
	}
	memory := func(limit int64) *specs.LinuxResources {
		return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	}
	if got := limit(); got != 1<<64-1 {
		t.Errorf("without a limit it is %d", got)
	}
	c.must(c.Update(c.ctx, "x", memory(128<<20)))
	if got := limit(); got != 128<<20 {
		t.Errorf("the limit is %d", got)
	}
	c.must(c.Update(c.ctx, "x", memory(-1)))
	if got := limit(); got != 1<<64-1 {
		t.Errorf("after -1 the limit is %d", got)
	}
	// What mlrun does not hold is refused, and nothing is changed.
	realtime := memory(64 << 20)
	realtime.CPU = &specs.LinuxCPU{RealtimeRuntime: new(int64(1000))}
	c.refused(c.Update(c.ctx, "x", realtime), "cpu")
	pids := memory(64 << 20)
	pids.Pids = &specs.LinuxPids{Limit: new(int64(-2))}
	c.refused(c.Update(c.ctx, "x", pids), "pids")
	tight := memory(4096)
	tight.Memory.CheckBeforeUpdate = new(true)
	c.refused(c.Update(c.ctx, "x", tight), "memory")
	if got := limit(); got != 1<<64-1 {
		t.Errorf("after updates that were refused the limit is %d", got)
	}
	c.must(c.Update(c.ctx, "x", &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: new(uint64(512))}}))
	// A limit that the container is over already ends it.
	c.must(c.Update(c.ctx, "x", memory(4096)))
	c.status("x", "stopped")
	c.refused(c.Update(c.ctx, "x", memory(128<<20)), "container not running")
}

func TestVersionFeatures(t *testing.T) {
	c := newClient(t)
	// go-runc reads the numbers after "runc version" only; it is not an error that there are none.
	if v, err := c.Version(c.ctx); err != nil || v != (runc.Version{}) {
		t.Errorf("Version: %+v, %v", v, err)
	}
	out, err := exec.CommandContext(c.ctx, c.Command, "--version").Output()
	c.must(err)
	if text := string(out); !strings.HasPrefix(text, "mlrun version ") || !strings.Contains(text, "\nspec: 1.") {
		t.Errorf("mlrun --version: %q", out)
	}
	f, err := c.Features(c.ctx)
	c.must(err)
	if f.OCIVersionMin != "1.0.0" || !strings.HasPrefix(f.OCIVersionMax, "1.") {
		t.Errorf("Features: versions %s to %s", f.OCIVersionMin, f.OCIVersionMax)
	}
	if len(f.Hooks) != 6 || !slices.Contains(f.Hooks, "createRuntime") {
		t.Errorf("Features: hooks %v", f.Hooks)
	}
	if g := f.Linux.Cgroup; g == nil || g.V1 == nil || *g.V1 || g.V2 == nil || *g.V2 {
		t.Errorf("Features: cgroups %+v", g)
	}
}

func TestEventsOOM(t *testing.T) {
	c := newClient(t)
	p := c.pipes()
	s := c.spec("sh", "-c", "read go; head -c 1G /dev/zero | tail")
	s.Linux = &specs.Linux{Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(32 << 20))}}}
	c.must(c.Create(c.ctx, "x", c.bundle(s), &runc.CreateOpts{IO: p}))
	c.must(c.Start(c.ctx, "x"))
	events, err := c.Events(c.ctx, "x", time.Second)
	c.must(err)
	select {
	case <-events: // the first stats: events watches
	case <-time.After(clients.Deadline):
		t.Fatal("no stats")
	}
	io.WriteString(p.Stdin(), "\n")
	if e := types(drain(t, events)); !slices.Contains(e, "oom") || e[len(e)-1] != "mlrun.ended" {
		t.Errorf("events: %v", e)
	}
	c.status("x", "stopped")
}
