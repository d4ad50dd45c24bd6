//go:build linux

package gorunc

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/go-runc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"mlrun/internal/asnobody"
	"mlrun/internal/clients"
)

func TestMain(m *testing.M) {
	runc.Monitor = monitor{}
	clients.Main(m)
}

// monitor waits for a process when go-runc asks how it ended, as that of containerd does. The default one waits as soon as a process is
// started, which closes the pipe that Stats and Events read from: what a fast process has printed may be lost.
type monitor struct{}

func (monitor) Start(c *exec.Cmd) (chan runc.Exit, error) { return nil, c.Start() }

// StartLocked keeps the thread that the parent-death signal depends on until the process has ended.
func (monitor) StartLocked(c *exec.Cmd) (chan runc.Exit, error) {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.Start()
		started <- err
		for err == nil {
			if unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) != unix.EINTR {
				return
			}
		}
	}()
	return nil, <-started
}

func (monitor) Wait(c *exec.Cmd, _ chan runc.Exit) (int, error) {
	err := c.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// TestAsNobody runs all of it once more as an ordinary user.
func TestAsNobody(t *testing.T) {
	clients.Mlrun(t) // that user cannot build it
	asnobody.Run(t, ".")
}

// forever is a program that ends by a signal only.
var forever = []string{"sh", "-c", "while :; do sleep 1000; done"}

// client is go-runc with mlrun as its runtime, and a state directory of its own.
type client struct {
	*runc.Runc
	t   *testing.T
	ctx context.Context
	dir string
}

func newClient(t *testing.T) *client {
	t.Helper()
	mlrun := clients.Mlrun(t)
	dir := clients.Dir(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*clients.Deadline) // t.Context ends before the cleanup
	c := &client{
		Runc: &runc.Runc{
			Command: mlrun, Root: filepath.Join(dir, "root"), Log: filepath.Join(dir, "log"), LogFormat: runc.JSON,
			PdeathSignal: syscall.SIGKILL, Setpgid: true,
		},
		t: t, ctx: ctx, dir: dir,
	}
	t.Cleanup(func() {
		defer cancel()
		c.end()
	})
	return c
}

// end removes what is there, and checks that nothing is.
func (c *client) end() {
	ctx, cancel := context.WithTimeout(context.Background(), clients.Deadline)
	defer cancel()
	all, err := c.List(ctx)
	if err != nil {
		c.t.Errorf("list: %v", err)
	}
	for _, container := range all {
		if err := c.Delete(ctx, container.ID, &runc.DeleteOpts{Force: true}); err != nil {
			c.t.Errorf("delete: %v", err)
		}
	}
	if left, _ := os.ReadDir(c.Root); len(left) > 0 {
		c.t.Errorf("left in the state directory: %v", left)
	}
}

func (c *client) spec(args ...string) *specs.Spec { return clients.Spec(c.dir, args...) }

func (c *client) bundle(s *specs.Spec) string { return clients.Bundle(c.t, c.dir, s) }

// must fails the test for an error.
func (c *client) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// refused wants an error that contains each text.
func (c *client) refused(err error, texts ...string) {
	c.t.Helper()
	if err == nil {
		c.t.Errorf("no error, want one with %q", texts)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			c.t.Errorf("error %q, want %q in it", err, text)
		}
	}
}

// status wants the status of a container, which it may have to wait for.
func (c *client) status(id, want string) *runc.Container {
	c.t.Helper()
	var s *runc.Container
	clients.Eventually(c.t, id+" is "+want, func() bool {
		var err error
		s, err = c.State(c.ctx, id)
		c.must(err)
		return s.Status == want
	})
	return s
}

// null is no input and no output. Without any of it go-runc waits until the container has closed its output.
func (c *client) null() runc.IO {
	c.t.Helper()
	null, err := runc.NewNullIO()
	c.must(err)
	c.t.Cleanup(func() { null.Close() })
	return null
}

// start creates a container without output, and starts it.
func (c *client) start(id string, s *specs.Spec) *runc.Container {
	c.t.Helper()
	c.must(c.Create(c.ctx, id, c.bundle(s), &runc.CreateOpts{IO: c.null()}))
	c.must(c.Start(c.ctx, id))
	return c.status(id, "running")
}

// pipes are the three standard streams; what comes is collected.
type pipes struct {
	runc.IO
	out, err *clients.Output
}

func (c *client) pipes() *pipes {
	c.t.Helper()
	p, err := runc.NewPipeIO(os.Getuid(), os.Getgid())
	c.must(err)
	c.t.Cleanup(func() { p.Close() })
	return &pipes{IO: p, out: clients.Collect(p.Stdout()), err: clients.Collect(p.Stderr())}
}

// CloseAfterStart closes the ends of the pipes that go-runc has handed over, so that their readers see the end of the container.
func (p *pipes) CloseAfterStart() error { return p.IO.(runc.StartCloser).CloseAfterStart() }

// logged are the lines of the log.
func (c *client) logged() []map[string]string {
	c.t.Helper()
	b, err := os.ReadFile(c.Log)
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	var lines []map[string]string
	for line := range strings.Lines(string(b)) {
		var l map[string]string
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			c.t.Fatalf("log line %q: %v", line, err)
		}
		lines = append(lines, l)
	}
	return lines
}
