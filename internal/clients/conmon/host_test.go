//go:build linux

package conmon

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/internal/asnobody"
	"mlrun/internal/clients"
)

func TestMain(m *testing.M) { clients.Main(m) }

// TestAsNobody runs all of it once more as an ordinary user.
func TestAsNobody(t *testing.T) {
	clients.Need(t, "conmon", "to monitor containers")
	clients.Mlrun(t) // that user cannot build it
	asnobody.Run(t, ".")
}

// forever is a program that ends by a signal only.
var forever = []string{"sh", "-c", "while :; do sleep 1000; done"}

// host is a directory for containers, and the programs.
type host struct {
	t                       *testing.T
	conmon, mlrun           string
	dir, root, exits, socks string
	preserve                []*os.File // what start passes on from descriptor 3 on, and closes
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, conmon: clients.Need(t, "conmon", "to monitor containers"), mlrun: clients.Mlrun(t), dir: clients.Dir(t)}
	h.root, h.exits, h.socks = filepath.Join(h.dir, "root"), filepath.Join(h.dir, "exits"), filepath.Join(h.dir, "socks")
	for _, dir := range []string{h.exits, h.socks} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		out, _ := h.try("list", "--quiet")
		for _, id := range strings.Fields(out) {
			if out, err := h.try("delete", "--force", id); err != nil {
				t.Errorf("delete: %v: %s", err, out)
			}
		}
		if left, _ := os.ReadDir(h.root); len(left) > 0 {
			t.Errorf("left in the state directory: %v", left)
		}
	})
	return h
}

// try executes mlrun and returns what it prints.
func (h *host) try(args ...string) (string, error) {
	out, err := exec.Command(h.mlrun, append([]string{"--root", h.root}, args...)...).CombinedOutput()
	return string(out), err
}

// do executes mlrun, which must succeed.
func (h *host) do(args ...string) string {
	h.t.Helper()
	out, err := h.try(args...)
	if err != nil {
		h.t.Fatalf("mlrun %v: %v: %s", args, err, out)
	}
	return out
}

// state is a part of what mlrun state prints.
type state struct {
	Status string
	Pid    int
	MLRun  struct {
		Supervisor int
		Reason     string
		ExitCode   int
		Verdict    struct {
			Memory struct {
				PeakUpper  int64
				PeakSource string
			}
		}
	}
}

func (h *host) state(id string) (s state) {
	h.t.Helper()
	if err := json.Unmarshal([]byte(h.do("state", id)), &s); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// status waits for a status, and with "stopped" for the verdict too: it comes after the end of the payload.
func (h *host) status(id, want string) (s state) {
	h.t.Helper()
	clients.Eventually(h.t, id+" is "+want, func() bool {
		s = h.state(id)
		return s.Status == want && (want != "stopped" || s.MLRun.Reason != "")
	})
	return s
}

// session is a conmon, and the container or the process of exec that it monitors.
type session struct {
	h       *host
	id, dir string
	cmd     *exec.Cmd
	ended   chan struct{} // cmd has been waited for
	sync    *json.Decoder
	stderr  *clients.Output
	pid     int // from the sync pipe, and the pid file

	attachPipe *json.Decoder // of exec
	startPipe  *os.File
}

// message is a line of the sync pipe.
type message struct {
	Data     *int
	ExitCode *int `json:"exit_code"`
	Message  string
}

// start starts a conmon for the container id, in a directory that is its bundle or has what belongs to exec. It does not wait for what conmon
// says.
func (h *host) start(id, dir string, args ...string) *session {
	h.t.Helper()
	s := &session{h: h, id: id, dir: dir, ended: make(chan struct{})}
	s.cmd = exec.Command(h.conmon, append([]string{
		"-r", h.mlrun, "--runtime-arg=--root=" + h.root, "-b", dir, "-c", id, "-u", filepath.Base(dir), "-n", id,
		"-p", filepath.Join(dir, "pidfile"), "-P", filepath.Join(dir, "conmon-pidfile"), "--exit-dir", h.exits,
		"-l", "k8s-file:" + filepath.Join(dir, "log"),
	}, args...)...)
	s.cmd.Env = os.Environ()
	s.cmd.ExtraFiles, h.preserve = h.preserve, nil
	reader := func(name string) *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { r.Close() })
		s.pass(name, w)
		r.SetReadDeadline(time.Now().Add(clients.Deadline))
		return r
	}
	s.sync = json.NewDecoder(reader("_OCI_SYNCPIPE"))
	for _, arg := range args {
		if arg == "--exec-attach" {
			s.attachPipe = json.NewDecoder(reader("_OCI_ATTACHPIPE"))
			r, w, err := os.Pipe()
			if err != nil {
				h.t.Fatal(err)
			}
			h.t.Cleanup(func() { w.Close() })
			s.pass("_OCI_STARTPIPE", r)
			s.startPipe = w
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	s.cmd.Stderr, s.stderr = w, clients.Collect(r)
	err = s.cmd.Start()
	for _, f := range append(s.cmd.ExtraFiles, w) {
		f.Close()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	go func() { s.cmd.Wait(); close(s.ended) }()
	h.t.Cleanup(func() {
		h.try("delete", "--force", id)
		select {
		case <-s.ended:
		case <-time.After(clients.Deadline):
			h.t.Errorf("conmon for %s does not end: %s", id, s.stderr)
			s.cmd.Process.Kill()
		}
		r.Close()
	})
	return s
}

// pass hands a descriptor over by its number in the environment.
func (s *session) pass(name string, f *os.File) {
	s.cmd.Env = append(s.cmd.Env, fmt.Sprintf("%s=%d", name, 3+len(s.cmd.ExtraFiles)))
	s.cmd.ExtraFiles = append(s.cmd.ExtraFiles, f)
}

// says reads the next line of the sync pipe.
func (s *session) says() (m message) {
	s.h.t.Helper()
	if err := s.sync.Decode(&m); err != nil {
		s.h.t.Fatalf("the sync pipe: %v; conmon says %s", err, s.stderr)
	}
	return m
}

// created reads the pid from the sync pipe, which must be that of the pid file.
func (s *session) created() {
	s.h.t.Helper()
	m := s.says()
	if m.Data == nil || *m.Data <= 0 {
		s.h.t.Fatalf("conmon tells %+v; and says %s", m, s.stderr)
	}
	s.pid = *m.Data
	if b, err := os.ReadFile(filepath.Join(s.dir, "pidfile")); err != nil || string(b) != strconv.Itoa(s.pid) {
		s.h.t.Errorf("the pid file: %q, %v; conmon tells %d", b, err, s.pid)
	}
}

// create makes conmon create a container. With --sync conmon is a child of the test.
func (h *host) create(id string, spec *specs.Spec, args ...string) *session {
	h.t.Helper()
	s := h.start(id, clients.Bundle(h.t, h.dir, spec), append([]string{"--api-version", "--sync", "--full-attach"}, args...)...)
	s.created()
	if got := h.state(id); got.Status != "created" || got.Pid != s.pid {
		h.t.Errorf("after create: %+v; conmon tells pid %d", got, s.pid)
	}
	return s
}

// exits waits for the end of conmon, which must tell code in the exit file and by its own exit code.
func (s *session) exits(code int) {
	s.h.t.Helper()
	s.wait()
	if got := s.cmd.ProcessState.ExitCode(); got != code&0xff {
		s.h.t.Errorf("%s: conmon exited with %d, want %d; it says %s", s.id, got, code, s.stderr)
	}
	s.h.exitFile(s.id, code)
}

// wait waits for the end of conmon.
func (s *session) wait() {
	s.h.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(clients.Deadline):
		s.h.t.Fatalf("%s: conmon does not end; it says %s", s.id, s.stderr)
	}
}

func (h *host) exitFile(id string, code int) {
	h.t.Helper()
	if b, err := os.ReadFile(filepath.Join(h.exits, id)); err != nil || string(b) != strconv.Itoa(code) {
		h.t.Errorf("%s: the exit file: %q, %v; want %d", id, b, err, code)
	}
}

// log returns the log without its times: "stdout F text" for a whole line, P for a part of one.
func (s *session) log() string {
	s.h.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		s.h.t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^\S+ `).ReplaceAllString(string(b), "")
}

// attached is a connection to the attach socket.
type attached struct {
	*net.UnixConn
	out, err *clients.Output
}

// The first byte of each packet says where the rest is from.
const fromStdout, fromStderr = 2, 3

// attach connects to the attach socket in a directory.
func (s *session) attach(dir string) *attached {
	s.h.t.Helper()
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: filepath.Join(dir, "attach"), Net: "unixpacket"})
	if err != nil {
		s.h.t.Fatal(err)
	}
	s.h.t.Cleanup(func() { conn.Close() })
	outR, outW, err := os.Pipe()
	if err != nil {
		s.h.t.Fatal(err)
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		s.h.t.Fatal(err)
	}
	a := &attached{UnixConn: conn, out: clients.Collect(outR), err: clients.Collect(errR)}
	go func() {
		defer outW.Close()
		defer errW.Close()
		for b := make([]byte, 64<<10); ; {
			n, err := conn.Read(b)
			if err != nil || n == 0 {
				return
			}
			switch b[0] {
			case fromStdout:
				outW.Write(b[1:n])
			case fromStderr:
				errW.Write(b[1:n])
			}
		}
	}()
	return a
}

func (a *attached) send(t *testing.T, text string) {
	t.Helper()
	if _, err := a.Write([]byte(text)); err != nil {
		t.Error(err)
	}
}
