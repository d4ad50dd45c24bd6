//go:build !portable

package launch

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mlrun/internal/emulated"
)

// forks prints how many processes it can fork before one fails.
const forks = `i=0; while [ $i -lt 60 ]; do echo $i; sleep 1000 >/dev/null 2>&1 & i=$((i+1)); done`

// asUser is a configuration for an ordinary user.
func asUser(c Config) Config {
	c.UID, c.GID = uint32(os.Getuid()), uint32(os.Getgid())
	if c.UID == 0 {
		c.SetUser, c.UID, c.GID = true, 65534, 65534
	}
	return c
}

// limited starts sh with a limit of tasks, or skips the test where there are no user namespaces.
func limited(t *testing.T, c Config, script string) (*Process, string) {
	t.Helper()
	out := t.TempDir() + "/out"
	if err := os.WriteFile(out, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	os.Chmod(out, 0o666)
	for _, dir := range []string{out[:strings.LastIndex(out, "/")], out[:strings.LastIndex(out[:strings.LastIndex(out, "/")], "/")]} {
		os.Chmod(dir, 0o755)
	}
	c = asUser(c)
	c.Path, c.Terminal, c.Env = "/usr/bin:/bin", -1, []string{"PATH=/usr/bin:/bin"}
	c.Args = []string{"sh", "-c", "exec >" + out + " 2>&1; " + script}
	p, err := Start(&c)
	var e *Error
	if errors.As(err, &e) && e.OfNamespace() && e.Errno != unix.EINVAL {
		t.Skip("no user namespaces here: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Exec(); err != nil {
		t.Fatal(err)
	}
	return p, out
}

// last is the last number that was printed.
func last(t *testing.T, out string) int {
	t.Helper()
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	n := -1
	for line := range strings.Lines(string(b)) {
		if i, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			n = i
		}
	}
	if n < 0 {
		t.Errorf("output %q", b)
	}
	return n
}

// end kills what is left of a process, and waits for it.
func end(t *testing.T, p *Process) {
	t.Helper()
	p.KillAll()
	finish(t, p)
}

// TestTasks counts what can be forked under two limits side by side while the user runs more than that elsewhere.
func TestTasks(t *testing.T) {
	emulated.Skip(t, "CLONE_NEWUSER")
	others, out := limited(t, Config{Tasks: &Tasks{Max: 1000}}, forks+`; echo done; wait`)
	defer end(t, others)
	eventually(t, "all are forked", func() bool { b, _ := os.ReadFile(out); return strings.Contains(string(b), "done") })
	for _, limit := range []int{10, 30, 1, 0} {
		p, out := limited(t, Config{Tasks: &Tasks{Max: uint64(limit)}}, forks)
		p.Hold()
		finishOrEnd(t, p)
		if got, want := last(t, out), max(limit-1, 0); got != want {
			t.Errorf("%d tasks: %d children were forked, want %d", limit, got, want)
		}
	}
}

// TestTasksJoin has a second process in the namespace of a first one: the limit holds for both together.
func TestTasksJoin(t *testing.T) {
	emulated.Skip(t, "CLONE_NEWUSER")
	first, out := limited(t, Config{Tasks: &Tasks{Max: 20}}, `for i in 1 2 3 4 5; do sleep 1000 >/dev/null 2>&1 & done; echo done; wait`)
	defer end(t, first)
	eventually(t, "all are forked", func() bool { b, _ := os.ReadFile(out); return strings.Contains(string(b), "done") })
	second, out := limited(t, Config{Tasks: &Tasks{Max: 20, PID: first.PID}}, forks)
	finishOrEnd(t, second)
	if got, want := last(t, out), 20-6-1; got != want {
		t.Errorf("%d children were forked beside 6 processes, want %d", got, want)
	}
}

// TestTasksUser checks that user and group look the same, that there are no capabilities, and that files are the user's.
func TestTasksUser(t *testing.T) {
	emulated.Skip(t, "CLONE_NEWUSER")
	p, out := limited(t, Config{Tasks: &Tasks{Max: 20}}, `id -u; id -g; grep CapEff /proc/self/status; f=$(mktemp); stat -c '%u %g' $f; rm $f`)
	finish(t, p)
	b, _ := os.ReadFile(out)
	uid, gid := strconv.Itoa(int(asUser(Config{}).UID)), strconv.Itoa(int(asUser(Config{}).GID))
	if want := uid + "\n" + gid + "\nCapEff:\t0000000000000000\n" + uid + " " + gid + "\n"; string(b) != want {
		t.Errorf("got %q, want %q", b, want)
	}
}

func TestTasksOfRoot(t *testing.T) {
	if _, err := Start(&Config{Args: []string{"true"}, SetUser: true, Tasks: &Tasks{Max: 1}, Terminal: -1}); err == nil {
		t.Error("a limit for root that the kernel does not hold was accepted")
	}
}

// finishOrEnd waits for the end of the payload, and kills what it leaves.
func finishOrEnd(t *testing.T, p *Process) {
	t.Helper()
	for {
		e, err := p.Next()
		if err != nil {
			t.Fatalf("the reaper ended before it was done: %v", err)
		}
		switch e.Kind {
		case Exited:
			p.KillAll()
		case Done:
			p.Wait()
			p.Close()
			return
		}
	}
}
