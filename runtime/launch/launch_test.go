//go:build linux || darwin

package launch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/internal/asnobody"
	"mlrun/internal/emulated"
)

func TestMain(m *testing.M) {
	if err := errors.Join(CloseOnExec(), BecomeSubreaper()); err != nil && !emulated.Here() {
		panic(err)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, c Config) *Process {
	t.Helper()
	if c.Path == "" {
		c.Path = "/usr/local/bin:/usr/bin:/bin"
	}
	c.Terminal = -1
	p, err := Start(&c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// finish follows p to its end and returns the payload's exit status.
func finish(t *testing.T, p *Process) (syscall.WaitStatus, Event) {
	t.Helper()
	var status syscall.WaitStatus
	for {
		e, err := p.Next()
		if err != nil {
			t.Fatalf("the reaper ended before it was done: %v", err)
		}
		switch e.Kind {
		case Exited:
			status = e.Status
			p.Reap()
		case Done:
			p.Close()
			p.Wait()
			return status, e
		}
	}
}

func sh(t *testing.T, c Config, script string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	c.Args = []string{"sh", "-c", "exec >" + out + " 2>&1; " + script}
	if c.UID != 0 {
		os.Chmod(filepath.Dir(out), 0o777)
		os.Chmod(filepath.Dir(filepath.Dir(out)), 0o755)
	}
	p := start(t, c)
	if err := p.Exec(); err != nil {
		t.Fatal(err)
	}
	if st, _ := finish(t, p); st.ExitStatus() != 0 {
		b, _ := os.ReadFile(out)
		t.Fatalf("exit status %v, output %q", st, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestExitStatus(t *testing.T) {
	for script, want := range map[string]func(syscall.WaitStatus) bool{
		"exit 0":        func(s syscall.WaitStatus) bool { return s.Exited() && s.ExitStatus() == 0 },
		"exit 7":        func(s syscall.WaitStatus) bool { return s.Exited() && s.ExitStatus() == 7 },
		"kill -TERM $$": func(s syscall.WaitStatus) bool { return s.Signaled() && s.Signal() == syscall.SIGTERM },
	} {
		p := start(t, Config{Args: []string{"sh", "-c", script}})
		if err := p.Exec(); err != nil {
			t.Fatal(err)
		}
		if st, _ := finish(t, p); !want(st) {
			t.Errorf("%s: status %#x", script, uint32(st))
		}
	}
}

// TestEager checks that the payload does not wait, and that Exec tells all the same what came of it.
func TestEager(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, Config{Args: []string{"sh", "-c", "echo runs >" + fifo + "; exit 7"}, Eager: true})
	if b, err := os.ReadFile(fifo); string(b) != "runs\n" {
		t.Errorf("before Exec: %q, %v", b, err)
	}
	if err := p.Exec(); err != nil {
		t.Error(err)
	}
	if st, _ := finish(t, p); st.ExitStatus() != 7 {
		t.Errorf("status %#x", uint32(st))
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	p = start(t, Config{Args: []string{file}, Eager: true})
	var e *ExecError
	if err := p.Exec(); !errors.As(err, &e) || e.Errno != unix.ENOEXEC {
		t.Errorf("a file that is no program: %v", err)
	}
	finish(t, p)
}

func TestUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing the user needs root")
	}
	got := sh(t, Config{SetUser: true, UID: 65534, GID: 65533, Groups: []uint32{7, 8}}, "id -u; id -g; id -G")
	if want := "65534\n65533\n65533 7 8"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAsNobody(t *testing.T) {
	asnobody.Run(t, "^Test(Failures|ExitStatus|StepsApply|DaemonStaysInReach|Tasks|TasksJoin|TasksUser|Steps|Guard|GuardKilled|EndedAtTheGate)$")
}

func TestFailures(t *testing.T) {
	dir := t.TempDir()
	plain, script := filepath.Join(dir, "plain"), filepath.Join(dir, "script")
	os.WriteFile(plain, []byte("data"), 0o644)
	os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o755)
	os.WriteFile(filepath.Join(dir, "text"), []byte("neither script nor ELF"), 0o755)
	closed := filepath.Join(dir, "closed")
	os.Mkdir(closed, 0)
	for _, c := range []struct {
		conf     Config
		errno    syscall.Errno
		notFound bool
		text     string
	}{
		{Config{Args: []string{"no-such-program"}}, unix.ENOENT, true, `exec: "no-such-program": executable file not found in $PATH`},
		{Config{Args: []string{"no-such-program"}, Path: closed + "/x:/usr/bin:/bin"}, unix.ENOENT, true, `exec: "no-such-program": executable file not found in $PATH`},
		{Config{Args: []string{"/no/such"}}, unix.ENOENT, true, `exec: "/no/such": no such file or directory`},
		{Config{Args: []string{plain}}, unix.EACCES, false, `exec: "` + plain + `": permission denied`},
		{Config{Args: []string{"plain"}, Path: dir}, unix.EACCES, false, `exec: "plain": permission denied`},
		{Config{Args: []string{script}}, unix.ENOENT, false, `exec: "` + script + `": exists, but its interpreter does not: no such file or directory`},
		{Config{Args: []string{dir + "/text"}}, unix.ENOEXEC, false, `exec: "` + dir + `/text": exec format error`},
		{Config{Args: []string{"true"}, Dir: "/no/where"}, unix.ENOENT, false, `cwd "/no/where": no such file or directory`},
		{Config{Args: []string{"true"}, Rlimits: []Rlimit{{"RLIMIT_CORE", unix.RLIMIT_CORE, 2, 1}}}, unix.EINVAL, false, `rlimit RLIMIT_CORE: invalid argument`},
	} {
		if c.conf.Path == "" {
			c.conf.Path = "/usr/bin:/bin"
		}
		c.conf.Terminal = -1
		p, err := Start(&c.conf)
		if err == nil {
			err = p.Exec()
			finish(t, p)
		}
		if err == nil || err.Error() != c.text || !errors.Is(err, c.errno) {
			t.Errorf("%v: error %q, want %q", c.conf.Args, err, c.text)
		}
		var ee *ExecError
		if errors.As(err, &ee) && ee.NotFound() != c.notFound {
			t.Errorf("%v: not found %v, want %v", c.conf.Args, ee.NotFound(), c.notFound)
		}
	}
}

func TestJobControl(t *testing.T) {
	p := start(t, Config{Args: []string{"sleep", "1000"}})
	if err := p.Exec(); err != nil {
		t.Fatal(err)
	}
	next := func(want EventKind) Event {
		e, err := p.Next()
		if err != nil || e.Kind != want {
			t.Fatalf("event %+v, %v; want %v", e, err, want)
		}
		return e
	}
	unix.Kill(-p.PID, unix.SIGTSTP)
	if e := next(Stopped); e.Status.StopSignal() != unix.SIGTSTP {
		t.Errorf("stopped by %v", e.Status.StopSignal())
	}
	unix.Kill(-p.PID, unix.SIGCONT)
	next(Continued)
	unix.Kill(-p.PID, unix.SIGTERM)
	next(Exited)
	// The ended payload keeps its pid until Reap.
	if err := unix.Kill(p.PID, 0); err != nil {
		t.Error("the payload was reaped before Reap")
	}
	p.Reap()
	next(Done)
	p.Close()
	p.Wait()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen in a minute: %s", what)
		}
	}
}
