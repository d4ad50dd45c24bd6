//go:build linux

package gorunc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/console"
	"github.com/containerd/go-runc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"mlrun/internal/clients"
)

// terminal accepts the terminal that is sent to the socket. It must be called before the command that sends it is waited for.
func (c *client) terminal() (*runc.Socket, func() console.Console) {
	c.t.Helper()
	socket, err := runc.NewTempConsoleSocket()
	c.must(err)
	type result struct {
		console.Console
		error
	}
	got := make(chan result, 1)
	go func() {
		m, err := socket.ReceiveMaster()
		got <- result{m, err}
	}()
	c.t.Cleanup(func() { socket.Close() })
	return socket, func() console.Console {
		c.t.Helper()
		select {
		case r := <-got:
			c.must(r.error)
			c.t.Cleanup(func() { r.Close() })
			return r.Console
		case <-time.After(clients.Deadline):
			c.t.Fatal("no terminal came")
		}
		return nil
	}
}

const onTerminal = `test -t 0 && test -t 1 && test -t 2 && echo on a terminal; read a; stty size; read b; echo "<$a$b>"; exit 4`

// converse talks to the program onTerminal.
func converse(t *testing.T, m console.Console) {
	t.Helper()
	out := clients.Collect(m)
	out.Expect(t, "on a terminal\n") // package console has switched ONLCR off
	if err := m.Resize(console.WinSize{Width: 91, Height: 37}); err != nil {
		t.Error(err)
	}
	io.WriteString(m, "x\n")
	out.Expect(t, "37 91\n")
	io.WriteString(m, "y\n")
	out.Expect(t, "<xy>\n")
	out.All(t) // an error of read(2): nobody has the other side
}

func TestCreateTerminal(t *testing.T) {
	clients.Need(t, "stty", "to ask for the size of a terminal")
	c := newClient(t)
	s := c.spec("sh", "-c", onTerminal)
	s.Process.Terminal = true
	bundle := c.bundle(s)
	c.refused(c.Create(c.ctx, "x", bundle, nil), "--console-socket")
	socket, terminal := c.terminal()
	// Without IO this returns only if nothing of the container holds the output of create.
	c.must(c.Create(c.ctx, "x", bundle, &runc.CreateOpts{ConsoleSocket: socket}))
	m := terminal()
	c.must(c.Start(c.ctx, "x"))
	converse(t, m)
	c.status("x", "stopped")

	// A socket that nobody listens at.
	c.must(socket.Close())
	c.refused(c.Create(c.ctx, "y", bundle, &runc.CreateOpts{ConsoleSocket: socket}), "console socket", filepath.Dir(socket.Path()))
	if _, err := c.State(c.ctx, "y"); err == nil {
		t.Error("the container was created")
	}
}

func TestExec(t *testing.T) {
	c := newClient(t)
	container := c.start("x", c.spec(forever...))
	process := func(script string) specs.Process { return *clients.Process(c.dir, "sh", "-c", script) }

	// Foreground, without IO.
	c.must(c.Exec(c.ctx, "x", process("true"), nil))
	err := c.Exec(c.ctx, "x", process("echo out; echo err >&2; exit 7"), nil)
	c.refused(err, "out\nerr\n")
	exits(t, err, 7)
	exits(t, c.Exec(c.ctx, "x", process("kill -TERM $$"), nil), 128+15)

	// Foreground, with pipes, and told of the start.
	p, started := c.pipes(), make(chan int, 1)
	if err := c.Exec(c.ctx, "x", process("pwd; echo $0 >&2"), &runc.ExecOpts{IO: p, Started: started}); err != nil {
		t.Fatalf("%v: %s", err, p.err.All(t))
	}
	if out, errs := p.out.All(t), p.err.All(t); out != "/\n" || errs != "sh\n" {
		t.Errorf("exec printed %q, and to standard error %q", out, errs)
	}
	if pid, ok := <-started; !ok || pid <= 0 {
		t.Errorf("started: %d, %v", pid, ok)
	}
	p = c.pipes()
	io.WriteString(p.Stdin(), "word\n")
	exits(t, c.Exec(c.ctx, "x", process(`read a; echo "<$a>"; exit 9`), &runc.ExecOpts{IO: p}), 9)
	if out := p.out.All(t); out != "<word>\n" {
		t.Errorf("exec printed %q", out)
	}

	// What cannot be executed. The error goes to the log of this command.
	log := filepath.Join(c.dir, "exec-log")
	err = c.Exec(c.ctx, "x", *clients.Process(c.dir, "no-such-program"), &runc.ExecOpts{LogFile: log})
	c.refused(err, "executable file not found in $PATH")
	exits(t, err, 127)
	err = c.Exec(c.ctx, "x", *clients.Process(c.dir, "/etc/passwd"), &runc.ExecOpts{LogFile: log})
	c.refused(err, "permission denied")
	exits(t, err, 126)
	bad := process("true")
	bad.Cwd = "/no/such/directory"
	err = c.Exec(c.ctx, "x", bad, &runc.ExecOpts{LogFile: log})
	c.refused(err, "/no/such/directory")
	exits(t, err, 255)
	if b, err := os.ReadFile(log); bytes.Count(b, []byte{'\n'}) != 3 || !bytes.Contains(b, []byte("executable file not found in $PATH")) {
		t.Errorf("the log of exec: %q, %v", b, err)
	}

	// It is a part of the container, and ends with it.
	pidFile := filepath.Join(c.dir, "exec-pid")
	c.must(c.Exec(c.ctx, "x", *clients.Process(c.dir, "sleep", "1000"), &runc.ExecOpts{IO: c.null(), Detach: true, PidFile: pidFile}))
	pid, err := runc.ReadPidFile(pidFile)
	c.must(err)
	pids, err := c.Ps(c.ctx, "x")
	c.must(err)
	if !slices.Contains(pids, pid) || !slices.Contains(pids, container.Pid) {
		t.Errorf("processes %v, want %d and %d", pids, pid, container.Pid)
	}
	c.must(c.Kill(c.ctx, "x", int(syscall.SIGKILL), nil))
	c.status("x", "stopped")
	clients.Eventually(t, "the process of exec is gone", func() bool { return clients.Ended(pid) })
	err = c.Exec(c.ctx, "x", process("true"), nil)
	c.refused(err, "container not running")
	exits(t, err, 255)
	if n := len(c.logged()); n != 1 {
		t.Errorf("%d lines are logged, want that of the last error only: %v", n, c.logged())
	}
}

// exits wants the error of a command that exited with a code.
func exits(t *testing.T, err error, code int) {
	t.Helper()
	var e *runc.ExitError
	if !errors.As(err, &e) || e.Status != code {
		t.Errorf("error %v, want exit status %d", err, code)
	}
}

func TestExecTerminal(t *testing.T) {
	clients.Need(t, "stty", "to ask for the size of a terminal")
	c := newClient(t)
	c.start("x", c.spec(forever...))
	process := *clients.Process(c.dir, "sh", "-c", onTerminal)
	process.Terminal = true
	for _, detach := range []bool{true, false} {
		t.Run(fmt.Sprint("detach=", detach), func(t *testing.T) {
			socket, terminal := c.terminal()
			pidFile := filepath.Join(c.dir, "pid")
			ended := make(chan error, 1)
			go func() {
				ended <- c.Exec(c.ctx, "x", process, &runc.ExecOpts{ConsoleSocket: socket, Detach: detach, PidFile: pidFile})
			}()
			m := terminal()
			if detach {
				c.must(<-ended) // it holds nothing of exec's output
			}
			converse(t, m)
			if !detach {
				exits(t, <-ended, 4)
			}
			pid, err := runc.ReadPidFile(pidFile)
			c.must(err)
			clients.Eventually(t, "the process is gone", func() bool { return clients.Ended(pid) })
		})
	}
}

func TestRun(t *testing.T) {
	c := newClient(t)
	limited := c.spec("sh", "-c", "head -c 1G /dev/zero | tail")
	limited.Linux = &specs.Linux{Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(32 << 20))}}}
	for _, test := range []struct {
		name string
		spec *specs.Spec
		code int
	}{
		{"zero", c.spec("true"), 0},
		{"code", c.spec("sh", "-c", "exit 7"), 7},
		{"signal", c.spec("sh", "-c", "kill -KILL $$"), 128 + 9},
		{"memory limit", limited, 137},
		{"not found", c.spec("no-such-program"), 127},
		{"not executable", c.spec("/etc/passwd"), 126},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, started := c.pipes(), make(chan int, 1)
			code, err := c.Run(c.ctx, "x", c.bundle(test.spec), &runc.CreateOpts{IO: p, PidFile: filepath.Join(c.dir, "pid"), Started: started})
			if code != test.code {
				t.Errorf("Run: %d, %v; want %d", code, err, test.code)
			}
			if test.code == 0 {
				c.must(err)
			} else {
				exits(t, err, test.code)
			}
			if pid, ok := <-started; !ok || pid <= 0 {
				t.Errorf("started: %d, %v", pid, ok)
			}
			_, err = c.State(c.ctx, "x")
			c.refused(err, "does not exist") // nothing is kept
		})
	}
	if code, err := c.Run(c.ctx, "x", c.bundle(c.spec("true")), nil); code != 0 || err != nil {
		t.Errorf("Run without options: %d, %v", code, err)
	}
	// A signal to mlrun is passed on.
	started := make(chan int, 1)
	go func() {
		pid := <-started
		clients.Eventually(t, "it runs", func() bool {
			s, err := c.State(c.ctx, "y")
			return err == nil && s.Status == "running"
		})
		syscall.Kill(pid, syscall.SIGTERM)
	}()
	code, err := c.Run(c.ctx, "y", c.bundle(c.spec("sleep", "1000")), &runc.CreateOpts{IO: c.null(), Started: started})
	if code != 128+15 {
		t.Errorf("Run ended by SIGTERM: %d, %v", code, err)
	}
}

func TestRunDetach(t *testing.T) {
	c := newClient(t)
	pidFile := filepath.Join(c.dir, "pid")
	code, err := c.Run(c.ctx, "x", c.bundle(c.spec(forever...)), &runc.CreateOpts{IO: c.null(), Detach: true, PidFile: pidFile})
	if code != 0 || err != nil {
		t.Fatalf("Run: %d, %v", code, err)
	}
	pid, err := runc.ReadPidFile(pidFile)
	c.must(err)
	if s := c.status("x", "running"); s.Pid != pid {
		t.Errorf("pid %d, pid file %d", s.Pid, pid)
	}
	s := c.spec("sh", "-c", onTerminal)
	s.Process.Terminal = true
	socket, terminal := c.terminal()
	if code, err := c.Run(c.ctx, "y", c.bundle(s), &runc.CreateOpts{ConsoleSocket: socket, Detach: true}); code != 0 || err != nil {
		t.Fatalf("Run: %d, %v", code, err)
	}
	converse(t, terminal())
	c.status("y", "stopped")
}

// subreaper makes the test do what the shim of containerd does: it asks for pid files, and waits for these processes itself. The status is
// that of the process in a pid file.
func (c *client) subreaper() (wait func(pidFile string) unix.WaitStatus) {
	c.t.Helper()
	c.must(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	c.t.Cleanup(func() { // before c.end, which starts mlrun: what is a child by now is nobody else's
		defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
		clients.Eventually(c.t, "there are no children", func() bool {
			_, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			return err == unix.ECHILD
		})
	})
	return func(pidFile string) (status unix.WaitStatus) {
		c.t.Helper()
		pid, err := runc.ReadPidFile(pidFile)
		c.must(err)
		clients.Eventually(c.t, "the process ends", func() bool {
			got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
			c.must(err)
			return got == pid
		})
		return status
	}
}

func TestSubreaper(t *testing.T) {
	c := newClient(t)
	wait := c.subreaper()
	init, exec := filepath.Join(c.dir, "init"), filepath.Join(c.dir, "exec")
	for _, test := range []struct {
		script string
		status unix.WaitStatus
	}{{"exit 0", 0}, {"exit 7", 7 << 8}, {"kill -KILL $$", 9}, {"exec sleep 1000", 15}} {
		p := c.pipes()
		c.must(c.Create(c.ctx, "x", c.bundle(c.spec("sh", "-c", "read line; "+test.script)), &runc.CreateOpts{IO: p, PidFile: init}))
		c.must(c.Start(c.ctx, "x"))
		c.must(c.Exec(c.ctx, "x", *clients.Process(c.dir, "sh", "-c", "exit 5"), &runc.ExecOpts{IO: c.null(), Detach: true, PidFile: exec}))
		if status := wait(exec); status != 5<<8 {
			t.Errorf("exec ended with status %#x", status)
		}
		if s := c.status("x", "running"); s.Pid == 0 {
			t.Error("no pid")
		}
		if test.status == 15 {
			c.must(c.Kill(c.ctx, "x", 15, nil))
		}
		io.WriteString(p.Stdin(), "\n")
		if status := wait(init); status != test.status {
			t.Errorf("%s: it ended with status %#x, want %#x", test.script, status, test.status)
		}
		c.status("x", "stopped")
		c.must(c.Delete(c.ctx, "x", nil))
	}
}

// TestSubreaperWaitsLate has a caller that takes its time: a zombie is no process that runs.
func TestSubreaperWaitsLate(t *testing.T) {
	c := newClient(t)
	wait := c.subreaper()
	init, exec := filepath.Join(c.dir, "init"), filepath.Join(c.dir, "exec")
	p := c.pipes()
	c.must(c.Create(c.ctx, "x", c.bundle(c.spec("sh", "-c", "read line; exit 7")), &runc.CreateOpts{IO: p, PidFile: init}))
	c.must(c.Start(c.ctx, "x"))
	c.must(c.Exec(c.ctx, "x", *clients.Process(c.dir, "sh", "-c", "exit 5"), &runc.ExecOpts{IO: c.null(), Detach: true, PidFile: exec}))
	c.refused(c.Delete(c.ctx, "x", nil), "not stopped")
	io.WriteString(p.Stdin(), "\n")
	if s := c.status("x", "stopped"); s.Pid != 0 {
		t.Errorf("pid %d", s.Pid)
	}
	c.refused(c.Kill(c.ctx, "x", 9, nil), "container not running")
	c.must(c.Delete(c.ctx, "x", nil))
	if status := wait(init); status != 7<<8 {
		t.Errorf("it ended with status %#x", status)
	}
	if status := wait(exec); status != 5<<8 {
		t.Errorf("exec ended with status %#x", status)
	}
}
