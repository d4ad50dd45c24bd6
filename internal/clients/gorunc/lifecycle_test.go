//go:build linux

package gorunc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

func TestLifecycle(t *testing.T) {
	c := newClient(t)
	if all, err := c.List(c.ctx); err != nil || len(all) != 0 {
		t.Errorf("List without containers: %v, %v", all, err)
	}
	s := c.spec("sh", "-c", `echo ready; read line; echo "<$line>"; echo oops >&2; exit 3`)
	s.Annotations = map[string]string{"org.example.key": "value"}
	bundle, p, pidFile := c.bundle(s), c.pipes(), filepath.Join(c.dir, "pid")
	c.must(c.Create(c.ctx, "one", bundle, &runc.CreateOpts{IO: p, PidFile: pidFile}))
	pid, err := runc.ReadPidFile(pidFile)
	c.must(err)
	got, err := c.State(c.ctx, "one")
	c.must(err)
	if got.ID != "one" || got.Status != "created" || got.Pid != pid || got.Bundle != bundle || got.Annotations["org.example.key"] != "value" {
		t.Errorf("State after Create: %+v; pid file: %d; bundle: %s", got, pid, bundle)
	}
	if text := p.out.String() + p.err.String(); text != "" {
		t.Errorf("before Start it prints %q", text)
	}
	c.refused(c.Create(c.ctx, "one", bundle, nil), "container with given ID already exists")

	c.must(c.Start(c.ctx, "one"))
	p.out.Expect(t, "ready\n")
	if got := c.status("one", "running"); got.Pid != pid {
		t.Errorf("after Start the pid is %d, before %d", got.Pid, pid)
	}
	c.must(c.Create(c.ctx, "two", c.bundle(c.spec(forever...)), &runc.CreateOpts{IO: c.null()}))
	all, err := c.List(c.ctx)
	c.must(err)
	slices.SortFunc(all, func(a, b *runc.Container) int { return strings.Compare(a.ID, b.ID) })
	if len(all) != 2 || all[0].ID != "one" || all[0].Status != "running" || all[1].ID != "two" || all[1].Status != "created" || all[0].Pid != pid {
		t.Errorf("List: %+v", all)
	}
	c.refused(c.Start(c.ctx, "one"), "container")

	if _, err := io.WriteString(p.Stdin(), "hello\n"); err != nil {
		t.Error(err)
	}
	if out, errs := p.out.All(t), p.err.All(t); out != "ready\n<hello>\n" || errs != "oops\n" {
		t.Errorf("it printed %q, and to standard error %q", out, errs)
	}
	if got := c.status("one", "stopped"); got.Pid != 0 {
		t.Errorf("of a stopped container the pid is %d", got.Pid)
	}
	clients.Eventually(t, "the process is gone", func() bool { return clients.Ended(pid) })
	c.must(c.Delete(c.ctx, "one", nil))
	_, err = c.State(c.ctx, "one")
	c.refused(err, "does not exist")
	c.must(c.Delete(c.ctx, "two", nil)) // it is created
	if all, err := c.List(c.ctx); err != nil || len(all) != 0 {
		t.Errorf("List after Delete: %v, %v", all, err)
	}
}

// TestMissing asks for a container that does not exist.
func TestMissing(t *testing.T) {
	c := newClient(t)
	for name, call := range map[string]func() error{
		"State":  func() error { _, err := c.State(c.ctx, "no"); return err },
		"Start":  func() error { return c.Start(c.ctx, "no") },
		"Exec":   func() error { return c.Exec(c.ctx, "no", *clients.Process(c.dir, "true"), nil) },
		"Delete": func() error { return c.Delete(c.ctx, "no", nil) },
		"Kill":   func() error { return c.Kill(c.ctx, "no", 15, nil) },
		"Pause":  func() error { return c.Pause(c.ctx, "no") },
		"Resume": func() error { return c.Resume(c.ctx, "no") },
		"Ps":     func() error { _, err := c.Ps(c.ctx, "no"); return err },
		"Top":    func() error { _, err := c.Top(c.ctx, "no", "-ef"); return err },
		"Update": func() error {
			return c.Update(c.ctx, "no", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(1 << 30))}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			logged := len(c.logged())
			c.refused(call(), "no: container does not exist", "exit status")
			lines := c.logged()[logged:]
			if len(lines) != 1 || lines[0]["level"] != "error" || !strings.Contains(lines[0]["msg"], "container does not exist") {
				t.Errorf("logged: %v", lines)
			} else if _, err := time.Parse(time.RFC3339, lines[0]["time"]); err != nil {
				t.Error(err)
			}
		})
	}
	// These two read standard output alone, and have no error of the runtime to tell: the log has it.
	logged := len(c.logged())
	if s, err := c.Stats(c.ctx, "no"); err == nil {
		t.Errorf("Stats: %+v", s)
	}
	events, err := c.Events(c.ctx, "no", time.Second)
	c.must(err)
	if e := drain(t, events); len(e) > 0 {
		t.Errorf("Events: %+v", e)
	}
	if text := fmt.Sprint(c.logged()[logged:]); strings.Count(text, "no: container does not exist") != 2 {
		t.Errorf("logged: %s", text)
	}
	c.must(c.Delete(c.ctx, "no", &runc.DeleteOpts{Force: true}))
}

// TestInvalid creates what cannot be created.
func TestInvalid(t *testing.T) {
	c := newClient(t)
	c.refused(c.Create(c.ctx, "x", filepath.Join(c.dir, "nowhere"), nil), "no such file or directory")
	c.refused(c.Create(c.ctx, "x", c.bundle(c.spec("/no/such/program")), nil), "no such file or directory")
	c.refused(c.Create(c.ctx, "x", c.bundle(c.spec("no-such-program")), nil), "executable file not found in $PATH")
	s := c.spec("true")
	s.Process.Cwd = "relative"
	c.refused(c.Create(c.ctx, "x", c.bundle(s), nil), "process.cwd")
	s = c.spec("true")
	s.Linux = &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}}}
	c.refused(c.Create(c.ctx, "x", c.bundle(s), nil), "linux.namespaces[0].type")
	c.refused(c.Create(c.ctx, "../x", c.bundle(c.spec("true")), nil), "../x")
	for _, l := range c.logged() {
		if l["level"] != "error" || l["msg"] == "" || strings.Contains(l["msg"], "\n") {
			t.Errorf("logged: %v", l)
		}
	}
	if n := len(c.logged()); n != 6 {
		t.Errorf("%d lines are logged, want one for each of 6 errors: %v", n, c.logged())
	}
}

// TestCreateOptions passes all options of the command line that go-runc has.
func TestCreateOptions(t *testing.T) {
	c := newClient(t)
	c.Debug, c.SystemdCgroup, c.Rootless, c.ExtraArgs = true, true, new(true), []string{"--cgroup-manager", "disabled"}
	r, w, err := os.Pipe()
	c.must(err)
	defer r.Close()
	file := filepath.Join(c.dir, "out")
	c.must(c.Create(c.ctx, "x", c.bundle(c.spec("sh", "-c", "echo third >&3; exec sleep 1000")), &runc.CreateOpts{
		IO: c.null(), PidFile: filepath.Join(c.dir, "pid"), NoPivot: true, NoNewKeyring: true, ExtraFiles: []*os.File{w},
		ExtraArgs: []string{"--memory", "64M", "--report", file},
	}))
	w.Close()
	third := clients.Collect(r)
	c.must(c.Start(c.ctx, "x"))
	third.Expect(t, "third\n")
	stats, err := c.Stats(c.ctx, "x")
	c.must(err)
	if stats.Memory.Usage.Limit != 64<<20 {
		t.Errorf("--memory 64M: the limit is %d", stats.Memory.Usage.Limit)
	}
	c.must(c.Kill(c.ctx, "x", int(syscall.SIGKILL), nil))
	third.All(t)
	c.status("x", "stopped")
	var verdict struct {
		Reason   string
		ExitCode int
	}
	var b []byte
	clients.Eventually(t, "the verdict is there", func() bool { b, err = os.ReadFile(file); return err == nil && json.Valid(b) })
	c.must(json.Unmarshal(b, &verdict))
	if verdict.Reason != "killed" || verdict.ExitCode != 137 {
		t.Errorf("verdict: %s", b)
	}
	c.Rootless = new(false)
	c.must(c.Delete(c.ctx, "x", nil))

	// --detach belongs to run, and a pidfd is not passed on: both are refused, and nothing is created.
	c.refused(c.Create(c.ctx, "y", c.bundle(c.spec("true")), &runc.CreateOpts{Detach: true}), "--detach")
	socket, err := runc.NewTempPidfdSocket()
	c.must(err)
	defer socket.Close()
	c.refused(c.Create(c.ctx, "y", c.bundle(c.spec("true")), &runc.CreateOpts{PidfdSocket: socket}), "--pidfd-socket")
}

// TestExtraEnv sets a variable of mlrun itself, which the payload does not get.
func TestExtraEnv(t *testing.T) {
	c := newClient(t)
	p := c.pipes()
	_, err := c.Run(runc.WithExtraEnv(c.ctx, "EXTRA=1"), "x", c.bundle(c.spec("env")), &runc.CreateOpts{IO: p})
	c.must(err)
	c.must(p.CloseAfterStart())
	if out := p.out.All(t); strings.Contains(out, "EXTRA") || !strings.Contains(out, "TEST_DIR="+c.dir+"\n") {
		t.Errorf("the environment is %q", out)
	}
}

func TestDelete(t *testing.T) {
	c := newClient(t)
	container := c.start("x", c.spec("sh", "-c", `trap "" TERM; while :; do sleep 1000; done`))
	c.refused(c.Delete(c.ctx, "x", nil), "not stopped")
	c.status("x", "running")
	c.must(c.Delete(c.ctx, "x", &runc.DeleteOpts{Force: true}))
	if !clients.Ended(container.Pid) {
		t.Error("the process is alive after Delete")
	}
	_, err := c.State(c.ctx, "x")
	c.refused(err, "does not exist")
	c.must(c.Delete(c.ctx, "x", &runc.DeleteOpts{Force: true}))
	c.must(c.Delete(c.ctx, "x", &runc.DeleteOpts{ExtraArgs: []string{"--force"}}))
	c.refused(c.Delete(c.ctx, "x", &runc.DeleteOpts{}), "does not exist")
}

func TestKill(t *testing.T) {
	c := newClient(t)
	p := c.pipes()
	c.must(c.Create(c.ctx, "x", c.bundle(c.spec("sh", "-c", `
		trap "echo usr1" USR1
		(trap "echo child; exit" USR1; echo ready; while :; do sleep 0.01; done) &
		while :; do sleep 0.01; done`)), &runc.CreateOpts{IO: p}))
	c.must(c.Start(c.ctx, "x"))
	p.out.Expect(t, "ready\n")
	c.must(c.Kill(c.ctx, "x", int(syscall.SIGUSR1), nil))
	p.out.Expect(t, "usr1\n")
	if out := p.out.String(); strings.Contains(out, "child") {
		t.Errorf("without All the child got the signal: %q", out)
	}
	c.must(c.Kill(c.ctx, "x", int(syscall.SIGCONT), &runc.KillOpts{All: true}))
	c.must(c.Kill(c.ctx, "x", int(syscall.SIGKILL), &runc.KillOpts{All: true}))
	c.status("x", "stopped")
	p.out.All(t)
	c.refused(c.Kill(c.ctx, "x", int(syscall.SIGKILL), nil), "container not running")
	c.refused(c.Kill(c.ctx, "x", int(syscall.SIGKILL), &runc.KillOpts{All: true}), "container not running")
	c.refused(c.Kill(c.ctx, "x", 1000, nil), "1000")

	// All of a container whose child cares for the signal.
	p = c.pipes()
	c.must(c.Create(c.ctx, "y", c.bundle(c.spec("sh", "-c", `
		trap "echo usr1" USR1
		(trap "echo child; exit" USR1; echo ready; while :; do sleep 1000 & wait; done) &
		while :; do wait; done`)), &runc.CreateOpts{IO: p}))
	c.must(c.Start(c.ctx, "y"))
	p.out.Expect(t, "ready\n")
	c.must(c.Kill(c.ctx, "y", int(syscall.SIGUSR1), &runc.KillOpts{All: true}))
	p.out.Expect(t, "usr1\n")
	p.out.Expect(t, "child\n")

	// One that is created only.
	c.must(c.Create(c.ctx, "z", c.bundle(c.spec(forever...)), &runc.CreateOpts{IO: c.null()}))
	c.must(c.Kill(c.ctx, "z", int(syscall.SIGKILL), nil))
	c.status("z", "stopped")
}

func TestPauseResume(t *testing.T) {
	c := newClient(t)
	p := c.pipes()
	c.must(c.Create(c.ctx, "x", c.bundle(c.spec("sh", "-c", `while :; do echo tick; sleep 0.01; done`)), &runc.CreateOpts{IO: p}))
	c.refused(c.Pause(c.ctx, "x"), "container not running")
	c.must(c.Start(c.ctx, "x"))
	p.out.Expect(t, "tick\n")
	for range 2 {
		c.must(c.Pause(c.ctx, "x"))
		if s, err := c.State(c.ctx, "x"); err != nil || s.Status != "paused" || s.Pid == 0 {
			t.Errorf("after Pause: %+v, %v", s, err)
		}
		pids, err := c.Ps(c.ctx, "x")
		c.must(err)
		for _, pid := range pids {
			if b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat")); err != nil || !bytes.Contains(b, []byte(") T ")) {
				t.Errorf("process %d does not stand: %q, %v", pid, b, err)
			}
		}
		c.refused(c.Pause(c.ctx, "x"), "paused")
		c.refused(c.Exec(c.ctx, "x", *clients.Process(c.dir, "true"), nil), "paused")
		c.refused(c.Delete(c.ctx, "x", nil), "paused")
		c.must(c.Resume(c.ctx, "x"))
		if s, err := c.State(c.ctx, "x"); err != nil || s.Status != "running" {
			t.Errorf("after Resume: %+v, %v", s, err)
		}
		seen := len(p.out.String())
		clients.Eventually(t, "it goes on", func() bool { return len(p.out.String()) > seen })
	}
	c.refused(c.Resume(c.ctx, "x"), "not paused")
	c.must(c.Pause(c.ctx, "x"))
	c.must(c.Kill(c.ctx, "x", int(syscall.SIGKILL), nil))
	c.status("x", "stopped")
	c.refused(c.Pause(c.ctx, "x"), "container not running")
}

// TestCheckpointRestore shows that both are refused with one line, and change nothing.
func TestCheckpointRestore(t *testing.T) {
	c := newClient(t)
	before := c.start("x", c.spec(forever...))
	images := filepath.Join(c.dir, "images")
	one := func(err error, command string) {
		t.Helper()
		c.refused(err, "mlrun: ", command, "exit status")
		if n := strings.Count(strings.TrimSpace(err.Error()), "\n"); n != 0 {
			t.Errorf("%s: %d lines: %q", command, n+1, err)
		}
	}
	opts := runc.CheckpointOpts{
		ImagePath: images, WorkDir: c.dir, ParentPath: "../parent", AllowOpenTCP: true, AllowExternalUnixSockets: true, AllowTerminal: true,
		FileLocks: true, Cgroups: runc.Soft, EmptyNamespaces: []string{"network"}, LazyPages: true,
	}
	one(c.Checkpoint(c.ctx, "x", nil), "checkpoint")
	one(c.Checkpoint(c.ctx, "x", &opts, runc.LeaveRunning), "checkpoint")
	one(c.Checkpoint(c.ctx, "x", &opts, runc.PreDump), "checkpoint")
	p := c.pipes()
	code, err := c.Restore(c.ctx, "y", c.bundle(c.spec(forever...)), &runc.RestoreOpts{
		CheckpointOpts: opts, IO: p, Detach: true, PidFile: filepath.Join(c.dir, "pid"), NoPivot: true,
	})
	if code == 0 || err == nil {
		t.Errorf("Restore: %d, %v", code, err)
	}
	if text := p.err.All(t); !strings.HasPrefix(text, "mlrun: ") || !strings.Contains(text, "restore") || strings.Count(text, "\n") != 1 {
		t.Errorf("Restore prints %q", text)
	}
	if code, err := c.Restore(c.ctx, "y", c.bundle(c.spec("true")), nil); code == 0 || err == nil {
		t.Errorf("Restore: %d, %v", code, err)
	}
	if text := fmt.Sprint(c.logged()); strings.Count(text, "checkpoint") != 3 || strings.Count(text, "restore") != 2 {
		t.Errorf("logged: %s", text)
	}
	after, err := c.State(c.ctx, "x")
	c.must(err)
	if after.Status != "running" || after.Pid != before.Pid {
		t.Errorf("before: %+v, after: %+v", before, after)
	}
	_, err = c.State(c.ctx, "y")
	c.refused(err, "does not exist")
	for _, name := range []string{images, filepath.Join(c.dir, "pid")} {
		if _, err := os.Lstat(name); !os.IsNotExist(err) {
			t.Errorf("%s: %v, want that it does not exist", name, err)
		}
	}
}
