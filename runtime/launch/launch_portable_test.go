//go:build darwin || portable

package launch

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

func TestSteps(t *testing.T) {
	umask, nice := uint32(0o027), 3
	got := sh(t, Config{
		Dir: "/usr", Umask: &umask, Nice: &nice, Env: []string{"PATH=/usr/bin:/bin", "X=y z"},
		Rlimits: []Rlimit{{"RLIMIT_CORE", unix.RLIMIT_CORE, 0, 4096}, {"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, 64, 128}, {"RLIMIT_DATA", unix.RLIMIT_DATA, 1 << 30, 1 << 30}},
	}, `pwd; umask; nice; ulimit -Hc # in 512-byte blocks
 ulimit -Sn; ulimit -Hn; echo "$X"; ls /dev/fd/ | tr '\n' ' '; [ $(ps -o pgid= -p $$) = $$ ] && echo own group`)
	if want := "/usr\n0027\n3\n8\n64\n128\ny z\n0 1 2 3 own group"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestBeyond checks that nothing is started with less than was asked for.
func TestBeyond(t *testing.T) {
	adj := 1
	for _, c := range []Config{{OOMScoreAdj: &adj}, {NoNewPrivileges: true}, {Tasks: &Tasks{Max: 1}}, {Seccomp: &Seccomp{}}, {Sibling: true}, {Capabilities: &Capabilities{}}} {
		c.Args, c.Path, c.Terminal = []string{"true"}, "/usr/bin:/bin", -1
		p, err := Start(&c)
		if p != nil || err == nil || !strings.HasSuffix(err.Error(), syscall.ENOTSUP.Error()) {
			t.Errorf("%+v: %v, %v", c, p, err)
		}
	}
}

// TestEndedAtTheGate checks that the end of a process that waits at its gate is that of a program which does nothing about signals.
func TestEndedAtTheGate(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGALRM, unix.SIGKILL, unix.SIGXCPU} {
		p := start(t, Config{Args: []string{"true"}})
		if err := unix.Kill(p.PID, sig); err != nil {
			t.Fatal(err)
		}
		if st, _ := finish(t, p); !st.Signaled() || st.Signal() != sig {
			t.Errorf("%v: status %#x", sig, uint32(st))
		}
		if err := p.Exec(); err != nil {
			t.Errorf("%v: %v", sig, err)
		}
	}
}

// daemon starts a payload that leaves a daemon behind and stays, and returns the pid of that.
func daemon(t *testing.T) (*Process, int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pid")
	p := start(t, Config{
		Args: []string{"python3", "-c", "import os, sys, time\nif os.fork() == 0:\n\tos.setsid()\n\tif os.fork() == 0:\n\t\topen(sys.argv[1] + '.tmp', 'w').write(str(os.getpid()))\n\t\tos.rename(sys.argv[1] + '.tmp', sys.argv[1])\n\t\ttime.sleep(1000)\n\tos._exit(0)\ntime.sleep(1000)", file},
		Env:  []string{"PATH=" + os.Getenv("PATH"), proc.Mark("", proc.Self())},
		Path: os.Getenv("PATH"),
	})
	if err := p.Exec(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	eventually(t, "the daemon runs", func() bool {
		b, err := os.ReadFile(file)
		if err == nil {
			pid, err = strconv.Atoi(string(b))
		}
		return err == nil
	})
	return p, pid
}

func alive(pid int) bool {
	s, err := proc.Root.Stat(pid)
	return err == nil && !s.Ended()
}

// TestGuard checks that the guard ends everything when the supervisor goes, which closes its side.
func TestGuard(t *testing.T) {
	p, pid := daemon(t)
	p.Close()
	p.Wait()
	if alive(p.PID) || alive(pid) {
		t.Errorf("the payload lives: %v; its daemon lives: %v", alive(p.PID), alive(pid))
	}
	p.bury()
}

// TestGuardKilled checks that this is seen, and that the caller can end the payload then.
func TestGuardKilled(t *testing.T) {
	p, pid := daemon(t)
	if err := unix.Kill(p.Reaper, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e, err := p.Next(); err != io.EOF {
		t.Fatalf("event %+v, %v", e, err)
	}
	p.Wait()
	o := p.Orphans()
	eventually(t, "the payload has ended", func() bool {
		left, _ := o.Kill()
		return !left
	})
	if st, known := o.Payload(); !known || st.Signal() != unix.SIGKILL {
		t.Errorf("status %#x, %v", uint32(st), known)
	}
	p.Close()
	eventually(t, "the daemon has ended", func() bool {
		n, err := proc.Root.KillMarked(proc.Self())
		return n == 0 && err == nil
	})
	if alive(pid) {
		t.Error("the daemon lives")
	}
}

func TestWire(t *testing.T) {
	umask, nice := uint32(7), -3
	for _, c := range []*Config{
		{Args: []string{"a"}, Env: nil, Terminal: -1},
		{
			Args: []string{"a", "", "b c"}, Env: []string{"A=B"}, Path: "/x:", Dir: "/d", Rlimits: []Rlimit{{"RLIMIT_CORE", 4, 1, 1<<64 - 1}},
			SetUser: true, UID: 1<<32 - 1, GID: 3, Groups: []uint32{4, 5}, SetGroups: true, Umask: &umask, Nice: &nice, Terminal: 9,
		},
	} {
		var b bytes.Buffer
		if err := c.encode().send(&b); err != nil {
			t.Fatal(err)
		}
		whole := b.Bytes()
		m, err := receive(bytes.NewReader(whole))
		if err != nil {
			t.Fatal(err)
		}
		if got := decode(m); !reflect.DeepEqual(got, c) {
			t.Errorf("got %+v, want %+v", got, c)
		}
		for n := range whole { // a message that was cut is none
			if m, err := receive(bytes.NewReader(whole[:n])); err == nil {
				t.Errorf("%d bytes of %d: %+v", n, len(whole), m)
			}
			if n >= 8 {
				if got := decode(&message{b: bytes.Clone(whole[8:n])}); got != nil {
					t.Errorf("%d bytes of %d: %+v", n-8, len(whole)-8, got)
				}
			}
		}
	}
}

// TestStopsInARow checks that a stop is told which comes before anybody has seen that the one before was over.
func TestStopsInARow(t *testing.T) {
	p := start(t, Config{Args: []string{"sleep", "1000"}})
	if err := p.Exec(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := unix.Kill(p.PID, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for {
			e, err := p.Next()
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == Stopped {
				break
			}
		}
		if err := unix.Kill(p.PID, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	unix.Kill(p.PID, unix.SIGKILL)
	finish(t, p)
}
