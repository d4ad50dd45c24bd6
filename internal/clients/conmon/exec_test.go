//go:build linux

package conmon

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/internal/clients"
)

// exec starts a conmon for one more process in the container id.
func (h *host) exec(id string, p *specs.Process, args ...string) *session {
	h.t.Helper()
	return h.legacyExec(id, p, append([]string{"--api-version"}, args...)...)
}

// legacyExec is exec as it was before conmon's interface had versions: there is one message, with the exit code.
func (h *host) legacyExec(id string, p *specs.Process, args ...string) *session {
	h.t.Helper()
	dir, err := os.MkdirTemp(h.dir, "e")
	if err != nil {
		h.t.Fatal(err)
	}
	b, err := json.Marshal(p)
	if err != nil {
		h.t.Fatal(err)
	}
	spec := filepath.Join(dir, "process.json")
	if err := os.WriteFile(spec, b, 0o600); err != nil {
		h.t.Fatal(err)
	}
	exits := filepath.Join(dir, "exits")
	if err := os.Mkdir(exits, 0o700); err != nil {
		h.t.Fatal(err)
	}
	return h.start(id, dir, append([]string{"--sync", "--full-attach", "--exec", "--exec-process-spec", spec, "--exit-dir", exits}, args...)...)
}

// result reads the exit code from the sync pipe, which conmon exits with, too.
func (s *session) result(code int) {
	s.h.t.Helper()
	if m := s.says(); m.Data == nil || *m.Data != code {
		s.h.t.Errorf("conmon tells %+v, want %d; and says %s", m, code, s.stderr)
	}
	s.wait()
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.h.t.Errorf("conmon exited with %d, want %d", got, code)
	}
}

// begin connects to a session of exec with --exec-attach, and lets it execute the process.
func (s *session) begin() *attached {
	s.h.t.Helper()
	s.startPipe.Write([]byte{0}) // conmon reads once at its start, and once before it executes the runtime
	var m message
	if err := s.attachPipe.Decode(&m); err != nil || m.Data == nil || *m.Data != 0 {
		s.h.t.Fatalf("the attach pipe: %+v, %v; conmon says %s", m, err, s.stderr)
	}
	a := s.attach(s.dir)
	s.startPipe.Write([]byte{0})
	s.created()
	return a
}

func TestExec(t *testing.T) {
	h := newHost(t)
	container := h.create("x", clients.Spec(h.dir, forever...))
	h.do("start", "x")
	shell := func(script string) *specs.Process { return clients.Process(h.dir, "sh", "-c", script) }

	s := h.exec("x", shell("echo out; echo err >&2; exit 5"))
	s.created()
	s.result(5)
	if log := s.log(); !strings.Contains(log, "stdout F out\n") || !strings.Contains(log, "stderr F err\n") {
		t.Errorf("the log is %q", log)
	}
	s = h.exec("x", shell("kill -KILL $$"))
	s.created()
	s.result(137)

	s = h.exec("x", shell(`echo ready; read x; echo "<$x>"; echo end >&2; exit 6`), "-i", "--exec-attach")
	a := s.begin()
	a.out.Expect(t, "ready\n")
	a.send(t, "word\n")
	s.result(6)
	if out, errs := a.out.All(t), a.err.All(t); out != "ready\n<word>\n" || errs != "end\n" {
		t.Errorf("exec printed %q, and to standard error %q", out, errs)
	}

	// What exec leaves is a part of the container.
	s = h.exec("x", shell(daemons+"read x; exit 3"), "-i", "--exec-attach")
	a = s.begin()
	pids := a.pids(t, 5)
	h.members("x", pids)
	a.send(t, "\n")
	s.result(3)
	h.members("x", pids)
	if clients.Ended(pids[0]) {
		t.Error("what exec has left was ended with it")
	}

	for name, test := range map[string]struct {
		p    *specs.Process
		text string
	}{
		"no program":     {clients.Process(h.dir, "no-such-program"), "executable file not found in $PATH"},
		"not executable": {clients.Process(h.dir, "/etc/passwd"), "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			s := h.exec("x", test.p)
			if m := s.says(); m.Data == nil || *m.Data >= 0 || !strings.HasPrefix(m.Message, "mlrun: ") || !strings.Contains(m.Message, test.text) {
				t.Errorf("conmon tells %+v", m)
			}
			s.wait()
		})
	}

	// The process of exec ends with the container.
	s = h.exec("x", clients.Process(h.dir, "sleep", "1000"))
	s.created()
	h.members("x", []int{s.pid, container.pid})
	h.do("kill", "x", "KILL")
	container.exits(137)
	s.result(137)
	h.gone(pids)
	s = h.exec("x", shell("true"))
	if m := s.says(); m.Data == nil || *m.Data >= 0 || !strings.Contains(m.Message, "container not running") {
		t.Errorf("conmon tells %+v", m)
	}
}

func TestExecLegacy(t *testing.T) {
	h := newHost(t)
	h.create("x", clients.Spec(h.dir, forever...))
	h.do("start", "x")
	s := h.legacyExec("x", clients.Process(h.dir, "sh", "-c", "echo out; exit 5"))
	if m := s.says(); m.ExitCode == nil || *m.ExitCode != 5 {
		t.Errorf("conmon tells %+v", m)
	}
	s.wait()
	if log := s.log(); log != "stdout F out\n" {
		t.Errorf("the log is %q", log)
	}
}

const onTerminal = `test -t 0 && test -t 1 && test -t 2 && echo on a terminal; read a; stty size; read b; echo "<$a$b>"; exit 4`

// converse talks to the program onTerminal.
func (s *session) converse(a *attached) {
	t := s.h.t
	t.Helper()
	a.out.Expect(t, "on a terminal\r\n")
	ctl, err := os.OpenFile(filepath.Join(s.dir, "ctl"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ctl.Close()
	if _, err := ctl.WriteString("1 37 91\n"); err != nil { // resize: height and width
		t.Error(err)
	}
	tty, err := os.Open(fmt.Sprintf("/proc/%d/fd/0", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	clients.Eventually(t, "the terminal has its size", func() bool {
		cmd := exec.Command("stty", "size")
		cmd.Stdin = tty
		out, err := cmd.CombinedOutput()
		return err == nil && string(out) == "37 91\n"
	})
	tty.Close()
	a.send(t, "x\n")
	a.out.Expect(t, "37 91\r\n")
	a.send(t, "y\n")
	a.out.Expect(t, "<xy>\r\n")
}

func TestTerminal(t *testing.T) {
	clients.Need(t, "stty", "to ask for the size of a terminal")
	h := newHost(t)
	spec := clients.Spec(h.dir, "sh", "-c", onTerminal)
	spec.Process.Terminal = true
	s := h.create("x", spec, "-t", "-i")
	a := s.attach(s.dir)
	h.do("start", "x")
	s.converse(a)
	s.exits(4)
	if log := s.log(); !strings.Contains(log, "stdout F on a terminal\r\n") {
		t.Errorf("the log is %q", log)
	}
	h.status("x", "stopped")

	// Ctrl-C on the terminal.
	spec = clients.Spec(h.dir, "sh", "-c", "echo ready; exec sleep 1000")
	spec.Process.Terminal = true
	s = h.create("y", spec, "-t", "-i")
	a = s.attach(s.dir)
	h.do("start", "y")
	a.out.Expect(t, "ready\r\n")
	a.send(t, "\x03")
	s.exits(128 + 2)
}

func TestExecTerminal(t *testing.T) {
	clients.Need(t, "stty", "to ask for the size of a terminal")
	h := newHost(t)
	h.create("x", clients.Spec(h.dir, forever...))
	h.do("start", "x")
	// conmon switches ONLCR on when it gets the terminal, while the process, which no start is waited with for, runs already.
	p := clients.Process(h.dir, "sh", "-c", "until stty -a | grep -q ' onlcr'; do sleep 0.01; done; "+onTerminal)
	p.Terminal = true
	s := h.exec("x", p, "-t", "-i", "--exec-attach")
	s.converse(s.begin())
	s.result(4)
}
