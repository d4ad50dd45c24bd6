package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/internal/asnobody"
	"mlrun/internal/clients"
	"mlrun/proc"
)

const deadline = time.Minute

// eventually waits until ok, which is asked again and again.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen in %v: %s", deadline, what)
		}
	}
}

// console is an interactive shell on a terminal.
type shell struct {
	t   *testing.T
	pty *os.File
	cmd *exec.Cmd

	mu     sync.Mutex
	output bytes.Buffer
	seen   int // what was before the last expected text
}

func startShell(t *testing.T) *shell {
	bash := clients.Need(t, "bash", "for its job control")
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		clients.Missing(t, "a pseudo-terminal: "+err.Error())
	}
	t.Cleanup(func() { pty.Close() })
	fd := int(pty.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	s := &shell{t: t, pty: pty, cmd: exec.Command(bash, "--norc", "--noprofile", "-i")}
	s.cmd.Env = append(os.Environ(), "PS1=ready> ", "HISTFILE=", "TERM=dumb", "XDG_RUNTIME_DIR="+t.TempDir())
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = tty, tty, tty
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go s.read()
	t.Cleanup(s.end)
	s.expect("ready> ")
	return s
}

func (s *shell) read() {
	buf := make([]byte, 4096)
	for {
		n, err := s.pty.Read(buf)
		s.mu.Lock()
		s.output.Write(buf[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// end hangs up: the shell, and the jobs that it has, get SIGHUP.
func (s *shell) end() {
	s.cmd.Process.Signal(syscall.SIGHUP)
	s.cmd.Process.Signal(syscall.SIGCONT)
	done := make(chan struct{})
	go func() { s.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		s.cmd.Process.Kill()
		<-done
	}
}

func (s *shell) send(format string, args ...any) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.pty, format, args...); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits for text after what was expected before, and returns what came in between.
func (s *shell) expect(text string) string {
	s.t.Helper()
	var between string
	for end := time.Now().Add(deadline); ; time.Sleep(2 * time.Millisecond) {
		s.mu.Lock()
		rest := s.output.String()[s.seen:]
		i := strings.Index(rest, text)
		if i >= 0 {
			between = rest[:i]
			s.seen += i + len(text)
		}
		s.mu.Unlock()
		if i >= 0 {
			return between
		}
		if time.Now().After(end) {
			s.t.Fatalf("no %q in %q", text, rest)
		}
	}
}

// prompt asks for prompts until text comes with one: a shell is told of a job when its last thread has stopped, and tells it then.
func (s *shell) prompt(text string) {
	s.t.Helper()
	eventually(s.t, "the shell says "+text, func() bool {
		s.send("\r")
		s.expect("ready> ")
		s.mu.Lock()
		defer s.mu.Unlock()
		return strings.Contains(s.output.String()[:s.seen], text)
	})
}

// foreground is the process group that has the terminal.
func (s *shell) foreground() int {
	pgrp, err := unix.IoctlGetInt(int(s.pty.Fd()), unix.TIOCGPGRP)
	if err != nil {
		s.t.Fatal(err)
	}
	return pgrp
}

// job starts a command line whose payload prints "pid N" first, and waits until it has the terminal or, without it, runs.
func (s *shell) job(line string) (pid int) {
	s.t.Helper()
	s.send("%s\r", line)
	s.expect("\r\n")
	s.expect("pid ")
	pid, err := strconv.Atoi(strings.TrimSpace(s.expect("\r\n")))
	if err != nil {
		s.t.Fatal(err)
	}
	return pid
}

func state(pid int) byte {
	st, err := proc.Root.Stat(pid)
	if err != nil {
		return 0
	}
	return st.State
}

const sleeper = `sh -c 'echo pid $$; exec sleep 1000'`

func TestTerminalInterrupt(t *testing.T) {
	s := startShell(t)
	pid := s.job("mlrun limit 100M -- " + sleeper)
	eventually(t, "the payload has the terminal", func() bool { return s.foreground() == pid })
	s.send("\x03")
	s.expect("ready> ")
	s.send("echo rc=$?\r")
	s.expect("rc=130\r\n")
	eventually(t, "the payload is gone", func() bool { return state(pid) == 0 })
	// A loop around mlrun ends with it.
	s.expect("ready> ")
	pid = s.job("for i in 1 2 3; do mlrun limit 100M -- " + sleeper + "; done")
	eventually(t, "the payload has the terminal", func() bool { return s.foreground() == pid })
	s.send("\x03")
	if between := s.expect("ready> "); strings.Contains(between, "pid ") {
		t.Errorf("the loop went on: %q", between)
	}
}

func TestTerminalLoopInScript(t *testing.T) {
	s := startShell(t)
	pid := s.job(`bash -c "for i in 1 2 3; do mlrun limit 100M -- sh -c 'echo pid \$\$; exec sleep 1000'; done"`)
	eventually(t, "the payload has the terminal", func() bool { return s.foreground() == pid })
	s.send("\x03")
	if between := s.expect("ready> "); strings.Contains(between, "pid ") {
		t.Errorf("the loop went on: %q", between)
	}
}

// TestTerminalLimit shows that a stop which is the meter's is not taken for one of the user's.
func TestTerminalLimit(t *testing.T) {
	s := startShell(t)
	for _, flags := range []string{"", "--on-breach kill-largest", "--grace 0", "--meter poll"} {
		s.send("mlrun limit -q %s 50M -- sh -c 'head -c 1G /dev/zero | tail >/dev/null'; echo rc=$?\r", flags)
		s.expect("rc=")
		s.expect("rc=")
		s.expect("37\r\n") // of 137: with kill-largest it is tail's
		s.expect("ready> ")
	}
	s.send("mlrun limit --on-breach freeze 50M -- sh -c 'head -c 1G /dev/zero | tail >/dev/null'; echo rc=$?\r")
	s.expect("Ctrl-C or a signal to mlrun ends it")
	s.send("\x03")
	s.expect("ready> ")
}

// TestTerminalSuspendStopped sends Ctrl-Z to a job that is stopped for its quota most of the time.
func TestTerminalSuspendStopped(t *testing.T) {
	if portable {
		t.Skip("without /proc nobody knows of a stop that came while everything was stopped")
	}
	s := startShell(t)
	pid := s.job("mlrun limit -q --cpus 0.05 100M -- sh -c 'echo pid $$; while :; do :; done'")
	eventually(t, "the payload has the terminal", func() bool { return s.foreground() == pid })
	for range 3 {
		eventually(t, "it is stopped for its quota", func() bool { return state(pid) == 'T' })
		s.send("\x1a")
		s.expect("Stopped")
		s.expect("ready> ")
		s.send("fg\r")
		eventually(t, "after fg the payload has the terminal and runs", func() bool { return s.foreground() == pid && state(pid) == 'R' })
	}
	s.send("\x03")
	s.expect("ready> ")
}

func TestTerminalSuspend(t *testing.T) {
	s := startShell(t)
	pid := s.job("mlrun limit 100M -- " + sleeper)
	eventually(t, "the payload has the terminal", func() bool { return s.foreground() == pid })
	for range 3 {
		s.send("\x1a")
		s.expect("Stopped")
		s.expect("ready> ")
		if st := state(pid); st != 'T' {
			t.Errorf("after Ctrl-Z the payload is in state %c", st)
		}
		s.send("fg\r")
		eventually(t, "after fg the payload has the terminal and runs", func() bool { return s.foreground() == pid && state(pid) == 'S' })
	}
	s.send("\x1a")
	s.expect("Stopped")
	s.expect("ready> ")
	s.send("bg\r")
	eventually(t, "after bg the payload runs", func() bool { return state(pid) == 'S' })
	if s.foreground() == pid {
		t.Error("a background job has the terminal")
	}
	s.send("kill %%1; wait; echo rc=$?\r")
	s.expect("rc=")
	eventually(t, "the payload is gone", func() bool { return state(pid) == 0 })
}

func TestTerminalSuspendInPipeline(t *testing.T) {
	s := startShell(t)
	pid := s.job("mlrun limit -q 100M -- " + sleeper + " | cat")
	s.send("\x1a")
	s.expect("Stopped")
	s.expect("ready> ")
	if st := state(pid); st != 'T' {
		t.Errorf("after Ctrl-Z the payload is in state %c", st)
	}
	s.send("fg\r")
	eventually(t, "after fg the payload runs", func() bool { return state(pid) == 'S' })
	s.send("\x03")
	s.expect("ready> ")
	eventually(t, "the payload is gone", func() bool { return state(pid) == 0 })
}

func TestTerminalInput(t *testing.T) {
	s := startShell(t)
	read := `sh -c 'echo pid $$; read x; echo "<$x>"; exit 7'`
	for _, line := range []string{
		"mlrun limit -q 100M -- " + read,
		"mlrun limit -q 100M -- " + read + " | cat", // from a pipeline, when the payload reads
		"bash -c \"mlrun limit -q 100M -- sh -c 'echo pid \\$\\$; read x; echo \\\"<\\$x>\\\"'\"",
	} {
		s.job(line)
		s.send("hello\r")
		s.expect("<hello>")
		s.expect("ready> ")
	}
	s.send("echo still here\r")
	s.expect("\r\nstill here\r\n")
}

func TestTerminalBackgroundReader(t *testing.T) {
	s := startShell(t)
	pid := s.job("mlrun limit -q 100M -- sh -c 'echo pid $$; read x; echo \"<$x>\"' &")
	// The payload stops first, then mlrun with it, and only then the shell has something to tell.
	monitor := supervisorOf(t, pid)
	eventually(t, "the reader is stopped in the background", func() bool { return state(pid) == 'T' && state(monitor) == 'T' })
	s.prompt("Stopped")
	s.send("fg\r")
	s.expect("mlrun limit")
	eventually(t, "it has the terminal", func() bool { return s.foreground() == pid })
	s.send("again\r")
	s.expect("<again>")
	s.expect("ready> ")
}

func TestTerminalIsGivenBack(t *testing.T) {
	s := startShell(t)
	pid := s.job("mlrun limit 100M -- " + sleeper)
	eventually(t, "the payload has the terminal", func() bool { return s.foreground() == pid })
	unix.Kill(pid, unix.SIGKILL)
	s.expect("ready> ")
	if pgrp := s.foreground(); pgrp != s.cmd.Process.Pid {
		t.Errorf("process group %d has the terminal, want the shell", pgrp)
	}
	s.send("echo rc=$?\r")
	s.expect("rc=137\r\n")
	// Without a job-control shell between, it must be mlrun that gives it back.
	s.expect("ready> ")
	s.send("%s", "sh -c \"mlrun limit -q 100M -- sh -c 'exit 3'; echo rc=\\$?; read x; echo \\\"<\\$x>\\\"\"\r")
	s.expect("rc=3\r\n")
	s.send("mine\r")
	s.expect("<mine>")
	s.expect("ready> ")
}

func TestTerminalNohup(t *testing.T) {
	s := startShell(t)
	s.send("cd $XDG_RUNTIME_DIR; nohup mlrun limit -q 100M -- sh -c 'echo pid $$ > pid; exec sleep 1000' > out 2>&1 < /dev/null &\r")
	s.expect("\r\n")
	s.expect("ready> ")
	s.send("until [ -s pid ]; do sleep 0.01; done; cat pid\r")
	s.expect("pid ")
	s.expect("pid ")
	pid := s.pidOf()
	s.send("kill -HUP %%1; kill -0 %%1 && echo alive\r")
	s.expect("alive\r\n")
	if st := state(pid); st != 'S' && st != 'R' {
		t.Errorf("after SIGHUP under nohup the payload is in state %c", st)
	}
	s.send("kill %%1; wait %%1; echo rc=$?\r")
	s.expect("rc=143\r\n")
}

// pidOf reads the rest of a line as a number.
func (s *shell) pidOf() int {
	s.t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(s.expect("\r\n")))
	if err != nil {
		s.t.Fatal(err)
	}
	return pid
}

func TestTerminalAsNobody(t *testing.T) {
	asnobody.Run(t, "^TestTerminal(Interrupt|Limit|Suspend|SuspendStopped|SuspendInPipeline|Input|IsGivenBack)$")
}
