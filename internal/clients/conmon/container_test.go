//go:build linux

package conmon

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/internal/clients"
)

func TestLifecycle(t *testing.T) {
	h := newHost(t)
	s := h.create("x", clients.Spec(h.dir, "sh", "-c", `echo out; echo err >&2; cat; printf end; exit 7`), "-i")
	a := s.attach(s.dir)
	h.do("start", "x")
	a.out.Expect(t, "out\n")
	a.err.Expect(t, "err\n")
	if got := h.state("x"); got.Status != "running" || got.Pid != s.pid {
		t.Errorf("after start: %+v; conmon tells pid %d", got, s.pid)
	}
	a.send(t, "one\n")
	a.out.Expect(t, "one\n")
	b := s.attach(s.dir) // a second one
	a.send(t, "two\n")
	a.out.Expect(t, "two\n")
	b.out.Expect(t, "two\n")
	if err := a.CloseWrite(); err != nil { // the end of standard input
		t.Error(err)
	}
	if out := a.out.All(t); out != "out\none\ntwo\nend" {
		t.Errorf("it printed %q", out)
	}
	s.exits(7)
	if !clients.Ended(s.pid) {
		t.Error("the process is alive")
	}
	log := s.log()
	for _, line := range []string{"stdout F out\n", "stderr F err\n", "stdout F one\n", "stdout F two\n", "stdout P end\n"} {
		if !strings.Contains(log, line) {
			t.Errorf("no %q in the log %q", line, log)
		}
	}
	if got := h.status("x", "stopped"); got.MLRun.Reason != "exited" || got.MLRun.ExitCode != 7 {
		t.Errorf("at the end: %+v", got)
	}
	h.do("delete", "x")
}

// limited is a container that exceeds its memory limit, with so many seconds of grace.
func limited(dir, grace string) *specs.Spec {
	s := clients.Spec(dir, "sh", "-c", "head -c 1G /dev/zero | tail")
	s.Linux = &specs.Linux{Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(32 << 20))}}}
	s.Annotations = map[string]string{"dev.mlrun.memory.grace": grace}
	return s
}

func TestExitCodes(t *testing.T) {
	h := newHost(t)
	kill := func(signal string) func(*session) {
		return func(s *session) {
			clients.Eventually(t, "it runs", func() bool { return strings.Contains(s.log(), "ready") })
			h.do("kill", s.id, signal)
		}
	}
	ready := []string{"sh", "-c", "echo ready; while :; do sleep 1000 & wait; done"}
	for i, test := range []struct {
		name   string
		spec   *specs.Spec
		then   func(*session)
		code   int // what conmon tells
		reason string
		mlrun  int // what mlrun tells
	}{
		{name: "zero", spec: clients.Spec(h.dir, "true"), code: 0, reason: "exited", mlrun: 0},
		{name: "seven", spec: clients.Spec(h.dir, "sh", "-c", "exit 7"), code: 7, reason: "exited", mlrun: 7},
		{name: "255", spec: clients.Spec(h.dir, "sh", "-c", "exit 255"), code: 255, reason: "exited", mlrun: 255},
		{name: "its own signal", spec: clients.Spec(h.dir, "sh", "-c", "kill -USR1 $$"), code: 128 + 10, reason: "signaled", mlrun: 138},
		{name: "kill", spec: clients.Spec(h.dir, ready...), then: kill("TERM"), code: 128 + 15, reason: "killed", mlrun: 143},
		{name: "kill KILL", spec: clients.Spec(h.dir, ready...), then: kill("KILL"), code: 128 + 9, reason: "killed", mlrun: 137},
		{name: "memory limit, no grace", spec: limited(h.dir, "0"), code: 128 + 9, reason: "memory-limit", mlrun: 137},
		// conmon sees the SIGTERM that the grace begins with.
		{name: "memory limit", spec: limited(h.dir, "5"), code: 128 + 15, reason: "memory-limit", mlrun: 137},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := "x" + strconv.Itoa(i)
			s := h.create(id, test.spec)
			h.do("start", id)
			if test.then != nil {
				test.then(s)
			}
			s.exits(test.code)
			if got := h.status(id, "stopped"); got.MLRun.Reason != test.reason || got.MLRun.ExitCode != test.mlrun {
				t.Errorf("mlrun tells %+v", got)
			}
			if m := h.state(id).MLRun.Verdict.Memory; (m.PeakUpper == 0) != (m.PeakSource == "none") {
				t.Errorf("used no memory, or nothing is known: %+v", m)
			}
			h.do("delete", id)
		})
	}
}

// TestShort has containers that end as soon as they can.
func TestShort(t *testing.T) {
	h := newHost(t)
	for i := range 20 {
		id := "x" + strconv.Itoa(i)
		s := h.create(id, clients.Spec(h.dir, "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i)))
		h.do("start", id)
		s.exits(i)
		if log := s.log(); log != fmt.Sprintf("stdout F %d\n", i) {
			t.Errorf("the log is %q", log)
		}
		h.do("delete", id)
	}
}

// TestFails creates what cannot be created: conmon passes on what mlrun says.
func TestFails(t *testing.T) {
	h := newHost(t)
	bad := clients.Spec(h.dir, "true")
	bad.Linux = &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}}}
	terminal := clients.Spec(h.dir, "true")
	terminal.Process.Terminal = true
	for name, test := range map[string]struct {
		spec *specs.Spec
		text string
	}{
		"no program":         {clients.Spec(h.dir, "no-such-program"), "executable file not found in $PATH"},
		"no file":            {clients.Spec(h.dir, "/no/such/program"), "no such file or directory"},
		"not supported":      {bad, "linux.namespaces[0].type"},
		"no terminal for it": {terminal, "--console-socket"},
	} {
		t.Run(name, func(t *testing.T) {
			s := h.start("x", clients.Bundle(t, h.dir, test.spec), "--api-version", "--sync", "--full-attach")
			m := s.says()
			if m.Data == nil || *m.Data != -1 || !strings.HasPrefix(m.Message, "mlrun: ") || !strings.Contains(m.Message, test.text) {
				t.Errorf("conmon tells %+v", m)
			}
			s.wait()
			if s.cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("conmon: %v", s.cmd.ProcessState)
			}
			if out, err := h.try("state", "x"); err == nil || !strings.Contains(out, "does not exist") {
				t.Errorf("state: %s", out)
			}
		})
	}
}

// TestDaemon has a conmon that is no child of its caller, a directory of sockets, and a command to execute at the end.
func TestDaemon(t *testing.T) {
	h := newHost(t)
	note := filepath.Join(h.dir, "note")
	bundle := clients.Bundle(t, h.dir, clients.Spec(h.dir, "sh", "-c", "read x; setsid sleep 1000 & exit 3"))
	s := h.start("x", bundle, "--api-version", "-i", "--socket-dir-path", h.socks,
		"--exit-command", "/bin/sh", "--exit-command-arg", "-c", "--exit-command-arg", `"$0" --root "$1" delete "$2" && echo deleted >"$3"`,
		"--exit-command-arg", h.mlrun, "--exit-command-arg", h.root, "--exit-command-arg", "x", "--exit-command-arg", note)
	s.created()
	s.wait() // it has forked
	b, err := os.ReadFile(filepath.Join(s.dir, "conmon-pidfile"))
	if err != nil {
		t.Fatal(err)
	}
	conmon, err := strconv.Atoi(string(b))
	if err != nil || clients.Ended(conmon) {
		t.Fatalf("conmon, pid %q, does not run: %v", b, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil || !strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", conmon)) {
		t.Errorf("the container is no child of conmon, pid %d: %s, %v", conmon, status, err)
	}
	a := s.attach(filepath.Join(h.socks, filepath.Base(s.dir)))
	h.do("start", "x")
	a.send(t, "\n")
	clients.Eventually(t, "conmon has ended", func() bool { return clients.Ended(conmon) })
	h.exitFile("x", 3)
	if b, err := os.ReadFile(note); string(b) != "deleted\n" {
		t.Errorf("the exit command wrote %q, %v", b, err)
	}
	if out, err := h.try("state", "x"); err == nil || !strings.Contains(out, "does not exist") {
		t.Errorf("after delete by the exit command: %s", out)
	}
}

// TestDeleteForce takes the container away from its conmon.
func TestDeleteForce(t *testing.T) {
	h := newHost(t)
	for _, started := range []bool{false, true} {
		s := h.create("x", clients.Spec(h.dir, forever...))
		if started {
			h.do("start", "x")
		}
		h.do("delete", "--force", "x")
		s.exits(137)
	}
}

// TestOptions passes what conmon passes on to the runtime.
func TestOptions(t *testing.T) {
	h := newHost(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h.preserve = []*os.File{w}
	s := h.create("x", clients.Spec(h.dir, "sh", "-c", "echo third >&3"), "--no-pivot", "--no-new-keyring", "--systemd-cgroup",
		"--runtime-arg=--log-format=json", "--runtime-arg=--log="+filepath.Join(h.dir, "mlrun-log"), "--runtime-opt=--preserve-fds=1")
	third := clients.Collect(r)
	h.do("start", "x")
	s.exits(0)
	if text := third.All(t); text != "third\n" {
		t.Errorf("descriptor 3 got %q", text)
	}
	if b, err := os.ReadFile(filepath.Join(h.dir, "mlrun-log")); len(b) > 0 {
		t.Errorf("mlrun logged %s, %v", b, err)
	}
}

// TestSignals sends signals to conmon, which passes them on, and its timeout.
func TestSignals(t *testing.T) {
	h := newHost(t)
	s := h.create("x", clients.Spec(h.dir, "sh", "-c", `trap "exit 9" TERM; echo ready; while :; do sleep 1000 & wait; done`))
	h.do("start", "x")
	clients.Eventually(t, "it runs", func() bool { return strings.Contains(s.log(), "ready") })
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.exits(9)
	if got := h.status("x", "stopped"); got.MLRun.ExitCode != 9 {
		t.Errorf("mlrun tells %+v", got)
	}

	s = h.create("y", clients.Spec(h.dir, forever...), "--timeout", "1")
	h.do("start", "y")
	s.exits(-1)
	if got := h.status("y", "stopped"); got.MLRun.Reason != "signaled" || got.MLRun.ExitCode != 137 {
		t.Errorf("mlrun tells %+v", got)
	}
}

// TestConmonKilled shows that a container goes on without its conmon, and is still a whole one.
func TestConmonKilled(t *testing.T) {
	h := newHost(t)
	s := h.create("x", clients.Spec(h.dir, "sh", "-c", `trap "exit 9" TERM; setsid sleep 1000 & while :; do wait; done`))
	h.do("start", "x")
	s.cmd.Process.Kill()
	s.wait()
	if got := h.state("x"); got.Status != "running" || got.Pid != s.pid {
		t.Errorf("without conmon: %+v", got)
	}
	h.do("exec", "x", "true")
	h.do("kill", "x", "TERM")
	if got := h.status("x", "stopped"); got.MLRun.ExitCode != 9 {
		t.Errorf("mlrun tells %+v", got)
	}
	h.do("delete", "x")
}

// pids reads pids, one a line, from an attached session that has printed n of them.
func (a *attached) pids(t *testing.T, n int) (pids []int) {
	t.Helper()
	clients.Eventually(t, fmt.Sprintf("%d processes tell their pids", n), func() bool { return strings.Count(a.out.String(), "\n") >= n })
	for _, word := range strings.Fields(a.out.String()) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// daemons is a script whose processes hide as well as they can, each from the one before, and tell their pids.
const daemons = `
	sleep 1000 & echo $!
	setsid sh -c 'echo $$; exec sleep 1000' &
	(env -i PATH="$PATH" setsid sh -c 'echo $$; exec sleep 1000' &)
	(setsid env -i PATH="$PATH" sh -c 'echo $$; (setsid sleep 1000 & echo $!)' &)
`

// TestLeavesNothing has daemons, which conmon inherits. They end with the container, whatever ends that.
func TestLeavesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*session, *attached)
		code int
	}{
		"exit":   {func(s *session, a *attached) { a.send(s.h.t, "\n") }, 3},
		"kill":   {func(s *session, _ *attached) { s.h.do("kill", s.id, "KILL") }, 137},
		"delete": {func(s *session, _ *attached) { s.h.do("delete", "--force", s.id) }, 137},
		"SIGKILL to the supervisor": {func(s *session, _ *attached) {
			syscall.Kill(s.h.state(s.id).MLRun.Supervisor, syscall.SIGKILL)
		}, 137},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			s := h.create("x", clients.Spec(h.dir, "sh", "-c", daemons+"read x; exit 3"), "-i")
			a := s.attach(s.dir)
			h.do("start", "x")
			pids := a.pids(t, 5)
			h.members("x", pids)
			test.end(s, a)
			s.exits(test.code)
			h.gone(pids)
		})
	}
}

// members waits until mlrun ps lists pids.
func (h *host) members(id string, pids []int) {
	h.t.Helper()
	clients.Eventually(h.t, fmt.Sprintf("%v are in the container", pids), func() bool {
		var all []int
		if err := json.Unmarshal([]byte(h.do("ps", "--format", "json", id)), &all); err != nil {
			h.t.Fatal(err)
		}
		return !slices.ContainsFunc(pids, func(pid int) bool { return !slices.Contains(all, pid) && !clients.Ended(pid) })
	})
}

// gone waits until no process of pids is alive.
func (h *host) gone(pids []int) {
	h.t.Helper()
	clients.Eventually(h.t, fmt.Sprintf("%v are gone", pids), func() bool {
		return !slices.ContainsFunc(pids, func(pid int) bool { return !clients.Ended(pid) })
	})
}
