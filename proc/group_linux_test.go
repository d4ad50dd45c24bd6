//go:build !portable

package proc_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
	"mlrun/runtime/launch"
)

// threadsEnv makes the test binary a process with threads, which have entries in /proc.
const threadsEnv = "MLRUN_TEST_THREADS"

// joinEnv makes it join a process group.
const joinEnv = "MLRUN_TEST_JOIN"

func TestMain(m *testing.M) {
	if file := os.Getenv(threadsEnv); file != "" {
		manyThreads(file)
	}
	if id, err := strconv.Atoi(os.Getenv(joinEnv)); err == nil {
		if err := unix.Setpgid(0, id); err != nil {
			panic(err)
		}
		for {
			unix.Pause()
		}
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
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen in a minute: %s", what)
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

// TestTally counts the CPU time of processes that have ended, whoever has waited for them, and of one that runs, and tasks.
func TestTally(t *testing.T) {
	const busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
	done := filepath.Join(t.TempDir(), "done")
	_, g := sh(t, "("+busy+"); ("+busy+" &); sleep 1000 & : >"+done+"; exec sleep 1000")
	eventually(t, "two processes are left", func() bool {
		_, err := os.Stat(done)
		g.Update(time.Now())
		return err == nil && g.Living() == 2 && g.Tally().Tasks == 2
	})
	ended := g.Tally()
	if ended.CPU < 20*time.Millisecond || ended.Tasks != 2 {
		t.Errorf("of processes that have ended: %v, tasks %d", ended.CPU, ended.Tasks)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ready")
	_, g = run(t, []string{threadsEnv + "=" + file}, exe)
	eventually(t, "threads are tasks", func() bool { return g.Tally().Tasks > 3 })
	_, g = sh(t, "while :; do :; done")
	before := g.Tally().CPU
	eventually(t, "CPU time of what runs grows by less than the kernel's parts", func() bool {
		d := g.Tally().CPU - before
		return d > 0 && d%(10*time.Millisecond) != 0
	})
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

	f := g.Freeze(10*time.Second, nil)
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
	f = g.Freeze(10*time.Second, nil)
	f.Thaw(true)
	for _, id := range g.Members() {
		eventually(t, "everything goes on", func() bool { s, err := proc.Root.Stat(id.PID); return err == nil && !s.Stopped() })
	}
}

// TestThawOutrunsTheStop thaws before the stop was acted on: what is pending then must not stop anybody later.
func TestThawOutrunsTheStop(t *testing.T) {
	_, g := sh(t, "setsid sh -c 'while :; do :; done' & exec sleep 1000")
	eventually(t, "two processes", func() bool { g.Update(time.Now()); return g.Size() == 2 })
	for range 300 {
		g.Freeze(0, nil).Thaw(false)
	}
	for _, id := range g.Members() {
		if id != g.Leader() {
			eventually(t, "it goes on", func() bool { s, err := proc.Root.Stat(id.PID); return err == nil && s.State == 'R' })
		}
	}
}

func TestFreezeOutrunsForks(t *testing.T) {
	_, g := sh(t, "while :; do /bin/true & setsid /bin/true & done")
	for range 20 {
		eventually(t, "a complete freeze", func() bool {
			g.Update(time.Now())
			f := g.Freeze(time.Second, nil)
			defer f.Thaw(true)
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
	got := func(name string) bool { v := value(name); return v != "" && v != "0" } // the shell truncates first, then writes
	eventually(t, "both got it", func() bool { return got("a") && got("b") })
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

// TestJoin takes in a process below a reaper of its own, with what it starts, until that is gone.
func TestJoin(t *testing.T) {
	_, g := sh(t, "exec sleep 1000")
	p, _ := sh(t, "setsid sleep 1000 & sleep 1000 & wait")
	eventually(t, "its children", func() bool {
		n := 0
		pids, _ := proc.Root.PIDs()
		for _, pid := range pids {
			if s, err := proc.Root.Stat(pid); err == nil && s.PPID == p.PID {
				n++
			}
		}
		return n == 2
	})
	id, err := g.Join(p.Reaper, p.PID)
	if err != nil || id.PID != p.PID {
		t.Fatalf("%v, %v", id, err)
	}
	eventually(t, "all are members, and one has left", func() bool { g.SignalAll(0); return g.Size() == 4 && g.Escaped() > 0 })
	if n := g.Escaped(); n != 1 {
		t.Errorf("%d have escaped, want the session: the process group of who joined is our own", n)
	}
	g.SignalAll(unix.SIGKILL)
	eventually(t, "it has ended", func() bool { return !proc.Root.Alive(id) })
	g.Leave(id)
	p.Reap()
	g.Gone(p.Reaper)
	eventually(t, "nobody is left", func() bool { g.SignalAll(0); return g.Size() == 0 || g.Living() == 0 })
	if _, err := g.Join(1<<30, 1<<30); err == nil {
		t.Error("a process that does not exist has joined")
	}
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

// TestJoinedGroupIsNotOurs lets the payload move to a process group of somebody else in the same session.
func TestJoinedGroupIsNotOurs(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "1000")
	other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { other.Process.Kill(); other.Wait() }()
	_, g := run(t, []string{joinEnv + "=" + strconv.Itoa(other.Process.Pid)}, exe)
	eventually(t, "it is seen in the other group", func() bool {
		s, err := proc.Root.Stat(g.Leader().PID)
		return err == nil && s.PGRP == other.Process.Pid
	})
	eventually(t, "it counts as escaped", func() bool {
		g.SignalAll(0)
		return g.Escaped() == 1
	})
	if n := g.Size(); n != 1 {
		t.Errorf("%d members, want the payload alone", n)
	}
	g.SignalAll(unix.SIGKILL)
	eventually(t, "the payload has ended", func() bool { return !proc.Root.Alive(g.Leader()) })
	if st, err := proc.Root.Stat(other.Process.Pid); err != nil || st.Ended() {
		t.Error("the process of somebody else was ended, too")
	}
}

func TestKillMarked(t *testing.T) {
	me := proc.Self()
	start := func(env ...string) *exec.Cmd {
		c := exec.Command("sleep", "1000")
		c.Env = env
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Process.Kill(); c.Wait() })
		return c
	}
	mark := proc.Mark("", me)
	marked, inner := start(mark), start("A=b", mark+":1-2", "C=d")
	plain := start("A=b", mark+"0")
	eventually(t, "both are found", func() bool {
		ids, err := proc.Root.Marked(me)
		return err == nil && len(ids) == 2
	})
	if n, err := proc.Root.KillMarked(me); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, c := range []*exec.Cmd{marked, inner} {
		if err := c.Wait(); c.ProcessState.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
			t.Error(err)
		}
	}
	if st, err := proc.Root.Stat(plain.Process.Pid); err != nil || st.Ended() {
		t.Error("a process of another run was ended")
	}
}

// TestWrap has the numbers of processes start anew while a group forks, as often as there are processes in it: nobody is missed.
func TestWrap(t *testing.T) {
	const file = "/proc/sys/kernel/ns_last_pid"
	most, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(most)))
	if err != nil || n > 1<<16 {
		t.Skipf("pid_max is %d: there would be too many numbers between", n)
	}
	for before := range 8 {
		if err := os.WriteFile(file, []byte(strconv.Itoa(n-3-before)), 0); err != nil {
			t.Skip("setting the number of the next process takes CAP_CHECKPOINT_RESTORE: ", err)
		}
		done := filepath.Join(t.TempDir(), "done")
		_, g := sh(t, "(sleep 0.2 &); (setsid sleep 1000 &); (sleep 1000 &); : >"+done+"; exec sleep 1000")
		eventually(t, "three processes are left", func() bool {
			_, err := os.Stat(done)
			g.Update(time.Now())
			return err == nil && g.Living() == 3
		})
	}
}
