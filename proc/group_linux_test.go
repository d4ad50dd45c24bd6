package proc_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
	"mlrun/runtime/launch"
)

// threadsEnv makes the test binary a process with threads, which have entries in /proc.
const threadsEnv = "MLRUN_TEST_THREADS"

func TestMain(m *testing.M) {
	if file := os.Getenv(threadsEnv); file != "" {
		manyThreads(file)
	}
	if err := errors.Join(launch.CloseOnExec(), launch.BecomeSubreaper()); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func manyThreads(file string) {
	for range 8 {
		go func() { unix.Pause() }() // blocks a thread
	}
	for {
		if n, _ := os.ReadDir("/proc/self/task"); len(n) > 8 {
			os.WriteFile(file, nil, 0o644)
			unix.Pause()
		}
		time.Sleep(time.Millisecond)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen in 20 s: %s", what)
		}
	}
}

// run starts a payload and its group; both end with the test.
func run(t *testing.T, env []string, args ...string) (*launch.Process, *proc.Group) {
	t.Helper()
	p, err := launch.Start(&launch.Config{Args: args, Env: append(env, "PATH=/usr/bin:/bin"), Path: "/usr/bin:/bin", Terminal: -1})
	if err != nil {
		t.Fatal(err)
	}
	g, err := proc.NewGroup(proc.Root, p.Reaper, p.PID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		p.Close() // the reaper kills everything
		p.Wait()
	})
	if err := p.Exec(); err != nil {
		t.Fatal(err)
	}
	return p, g
}

func sh(t *testing.T, script string) (*launch.Process, *proc.Group) {
	return run(t, nil, "sh", "-c", script)
}

func TestGroupFindsDescendants(t *testing.T) {
	for name, script := range map[string]string{
		"children":      "sleep 1000 & sleep 1000 & wait",
		"grandchildren": "sh -c 'sleep 1000 & wait' & wait",
		"own session":   "setsid sleep 1000 & setsid sleep 1000 & wait",
		"daemon":        "(setsid sh -c 'sleep 1000 & exec sleep 1000' &) ; exec sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			_, g := sh(t, script)
			eventually(t, "three processes", func() bool {
				g.Update(time.Now())
				return g.Size() == 3
			})
			if escaped := g.Escaped(); (escaped > 0) != strings.Contains(script, "setsid") {
				// setsid(1) may have forked already and not have called setsid(2).
				eventually(t, "escapes are noticed", func() bool {
					g.Update(time.Now())
					return g.Escaped() > 0
				})
			}
		})
	}
}

func TestGroupOfThreads(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ready")
	_, g := run(t, []string{threadsEnv + "=" + file}, exe)
	eventually(t, "the threads run", func() bool {
		g.Update(time.Now())
		_, err := os.Stat(file)
		return err == nil
	})
	g.Update(time.Now())
	if n := g.Size(); n != 1 {
		t.Errorf("%d processes, want 1: threads are no members", n)
	}
}

func TestFreeze(t *testing.T) {
	_, g := sh(t, "setsid sleep 1000 & sleep 1000 & wait")
	eventually(t, "three processes", func() bool { g.Update(time.Now()); return g.Size() == 3 })
	// One is stopped by somebody else, and stays so.
	var other proc.ID
	for _, id := range g.Members() {
		if id != g.Leader() {
			other = id
		}
	}
	unix.Kill(other.PID, unix.SIGSTOP)
	eventually(t, "it is stopped", func() bool { s, _ := proc.Root.Stat(other.PID); return s.Stopped() })

	f := g.Freeze(10 * time.Second)
	if !f.Complete() {
		t.Fatal("not everything was stopped")
	}
	for _, id := range g.Members() {
		if s, err := proc.Root.Stat(id.PID); err != nil || !s.Stopped() {
			t.Errorf("process %d is in state %c", id.PID, s.State)
		}
	}
	f.Thaw(false)
	for _, id := range g.Members() {
		eventually(t, "it goes on", func() bool {
			s, err := proc.Root.Stat(id.PID)
			return err == nil && s.Stopped() == (id == other)
		})
	}
	f = g.Freeze(10 * time.Second)
	f.Thaw(true)
	for _, id := range g.Members() {
		eventually(t, "everything goes on", func() bool { s, err := proc.Root.Stat(id.PID); return err == nil && !s.Stopped() })
	}
}

func TestFreezeOutrunsForks(t *testing.T) {
	_, g := sh(t, "while :; do /bin/true & setsid /bin/true & done")
	for range 20 {
		eventually(t, "a complete freeze", func() bool {
			g.Update(time.Now())
			f := g.Freeze(time.Second)
			defer f.Thaw(true)
			if !f.Complete() {
				return false
			}
			last, _ := os.ReadFile("/proc/" + strconv.Itoa(g.Leader().PID) + "/stat")
			time.Sleep(2 * time.Millisecond) // long enough for a shell that runs to use CPU time
			now, _ := os.ReadFile("/proc/" + strconv.Itoa(g.Leader().PID) + "/stat")
			return string(last) == string(now)
		})
	}
}

func TestSignalAllOnce(t *testing.T) {
	dir := t.TempDir()
	count := func(name string) string {
		return "n=0; trap 'n=$((n+1)); echo $n > " + dir + "/" + name + "' USR1; echo 0 > " + dir + "/" + name + "; while :; do read x < " + dir + "/fifo; done"
	}
	if err := unix.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(dir+"/fifo", os.O_RDWR, 0) // readers block, and are interrupted by signals
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	_, g := run(t, []string{"A=" + count("a"), "B=" + count("b")}, "sh", "-c", `setsid sh -c "$A" & exec sh -c "$B"`)
	value := func(name string) string { b, _ := os.ReadFile(dir + "/" + name); return strings.TrimSpace(string(b)) }
	eventually(t, "both have their traps", func() bool { return value("a") == "0" && value("b") == "0" })
	if denied := g.SignalAll(unix.SIGUSR1); len(denied) > 0 {
		t.Errorf("denied: %v", denied)
	}
	eventually(t, "both got it", func() bool { return value("a") != "0" && value("b") != "0" })
	if a, b := value("a"), value("b"); a != "1" || b != "1" {
		t.Errorf("signals got: %s and %s, want one each", a, b)
	}
}

func TestReleasedGroupIsNotSignalled(t *testing.T) {
	p, g := sh(t, "exit 0")
	if e, err := p.Next(); err != nil || e.Kind != launch.Exited {
		t.Fatalf("%+v, %v", e, err)
	}
	g.Release()
	p.Reap()
	if err := g.SignalGroup(unix.SIGTERM); !errors.Is(err, proc.ErrGone) {
		t.Errorf("signal to a process group that is not ours: %v", err)
	}
	if err := g.SignalLeader(unix.SIGTERM); !errors.Is(err, proc.ErrGone) {
		t.Errorf("signal to a pid that is not ours: %v", err)
	}
}

func TestHandle(t *testing.T) {
	p, g := sh(t, "exec sleep 1000")
	id := g.Leader()
	if id.PID != p.PID || !proc.Root.Alive(id) {
		t.Fatalf("leader %v", id)
	}
	if _, err := proc.OpenID(proc.Root, proc.ID{PID: id.PID, Start: id.Start + 1}); !errors.Is(err, proc.ErrGone) {
		t.Errorf("a process with another start time: %v", err)
	}
	h, err := proc.OpenID(proc.Root, id)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has ended", func() bool { return !proc.Root.Alive(id) })
	p.Reap()
	eventually(t, "it is reaped", func() bool { return errors.Is(h.Signal(0), proc.ErrGone) })
}

func TestMembersOfOthersAreNotOurs(t *testing.T) {
	_, g := sh(t, "sleep 1000 & wait")
	_, other := sh(t, "sleep 1000 & wait")
	eventually(t, "two processes each", func() bool {
		g.Update(time.Now())
		other.Update(time.Now())
		return g.Size() == 2 && other.Size() == 2
	})
	for _, a := range g.Members() {
		for _, b := range other.Members() {
			if a == b {
				t.Errorf("process %d belongs to both", a.PID)
			}
		}
	}
}
