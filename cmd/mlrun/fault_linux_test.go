package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/internal/asnobody"
	"mlrun/internal/clients"
	"mlrun/proc"
)

// site is a state directory and a place for bundles, with everything in it deleted at the end.
type site struct {
	t   *testing.T
	dir string
	env []string
}

func newSite(t *testing.T) *site {
	s := &site{t: t, dir: t.TempDir()}
	s.env = promptly(append(os.Environ(), "XDG_RUNTIME_DIR="+s.dir))
	t.Cleanup(func() {
		for _, id := range strings.Fields(s.must("list", "-q")) {
			s.must("delete", "--force", id)
		}
	})
	return s
}

// promptly is an environment in which the race detector does not make every process sleep for a second at its end.
func promptly(env []string) []string {
	if os.Getenv("GORACE") != "" {
		return env
	}
	return append(env, "GORACE=atexit_sleep_ms=0")
}

// bundle writes a bundle that runs a shell script, and returns its directory.
func (s *site) bundle(script string, more ...string) string {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.dir, "bundle")
	if err != nil {
		s.t.Fatal(err)
	}
	args, _ := json.Marshal([]string{"sh", "-c", script})
	config := fmt.Sprintf(`{"ociVersion":"1.3.0","process":{"args":%s,"cwd":%q,"env":["PATH=%s"]}%s}`, args, dir, os.Getenv("PATH"), strings.Join(more, ""))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

func (s *site) command(args ...string) *exec.Cmd {
	c := exec.Command("mlrun", args...)
	c.Env = s.env
	return c
}

// try runs mlrun and returns what it wrote and its exit code. Output goes through files: who is left behind must not keep the
// test waiting.
func (s *site) try(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	var files [2]*os.File
	for i := range files {
		f, err := os.CreateTemp(s.t.TempDir(), "out")
		if err != nil {
			s.t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	c := s.command(args...)
	c.Stdout, c.Stderr = files[0], files[1]
	if err := c.Run(); err != nil && c.ProcessState == nil {
		s.t.Fatal(err)
	}
	out, _ := os.ReadFile(files[0].Name())
	errs, _ := os.ReadFile(files[1].Name())
	return string(out), string(errs), c.ProcessState.ExitCode()
}

func (s *site) must(args ...string) string {
	s.t.Helper()
	out, errs, code := s.try(args...)
	if code != 0 {
		s.t.Errorf("mlrun %v: exit code %d: %s", args, code, errs)
	}
	return out
}

// status is what mlrun state tells; "" when it fails.
func (s *site) state(id string) (st struct {
	Status string
	Pid    int
	MLRun  struct {
		Supervisor int
		Reason     string
		Processes  int
	}
}) {
	out, _, code := s.try("state", id)
	if code == 0 {
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			s.t.Fatal(err)
		}
	}
	return st
}

// pids reads the numbers in a file, once there are n.
func pids(t *testing.T, file string, n int) (ids []proc.ID) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d pids in %s", n, file), func() bool {
		b, _ := os.ReadFile(file)
		ids = nil
		for _, f := range strings.Fields(string(b)) {
			pid, _ := strconv.Atoi(f)
			if st, err := proc.Root.Stat(pid); err == nil {
				ids = append(ids, st.ID())
			}
		}
		return len(ids) == n
	})
	return ids
}

// gone waits until none of ids is there any more, for at most a second: the promise.
func gone(t *testing.T, ids []proc.ID) {
	t.Helper()
	end := time.Now().Add(time.Second)
	for _, id := range ids {
		for proc.Root.Alive(id) {
			if time.Now().After(end) {
				t.Errorf("process %d is left: %s", id.PID, proc.Root.Command(id.PID))
				unix.Kill(id.PID, unix.SIGKILL)
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// family writes the pids of four processes: a leader, a child, a process in a session of its own, and a daemon.
const family = `
echo $$ >> pids
sleep 1000 & echo $! >> pids
setsid sh -c 'echo $$ >> pids; exec sleep 1000' &
(setsid sh -c 'echo $$ >> pids; exec sleep 1000' &)
`

const limit32M = `,"linux":{"resources":{"memory":{"limit":33554432}}},"annotations":{"dev.mlrun.memory.grace":"100"}`

// overLimit goes over 32 MiB, far below the ceiling, and ignores SIGTERM.
const overLimit = `trap '' TERM; x=x; while [ ${#x} -lt 25000000 ]; do x=$x$x; done; `

func TestSupervisorKilled(t *testing.T) {
	s := newSite(t)
	stages := map[string]struct {
		script string
		n      int
	}{
		"created":  {family + "wait", 0},
		"running":  {family + "wait", 4},
		"in grace": {"trap '' TERM; " + family + overLimit + "echo > over; while :; do sleep 1000; done", 4},
	}
	for stage, c := range stages {
		for _, how := range []string{"foreground", "detached"} {
			if stage == "created" && how == "foreground" {
				continue
			}
			t.Run(stage+" "+how, func(t *testing.T) {
				id := strings.ReplaceAll(stage+"-"+how, " ", "-")
				dir := s.bundle(c.script, limit32M)
				var supervisor int
				switch {
				case how == "foreground":
					cmd := s.command("run", "--id", id, dir)
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					defer cmd.Wait()
					supervisor = cmd.Process.Pid
				case stage == "created":
					s.must("create", "--bundle", dir, id)
				default:
					s.must("run", "--detach", "--id", id, dir)
				}
				if supervisor == 0 {
					supervisor = s.state(id).MLRun.Supervisor
				}
				ids := pids(t, dir+"/pids", c.n)
				if stage == "created" {
					st, err := proc.Root.Stat(s.state(id).Pid)
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, st.ID())
				}
				if stage == "in grace" {
					// SIGTERM was sent when the children that do not ignore it are gone.
					eventually(t, "the grace period has begun", func() bool {
						left := 0
						for _, p := range ids {
							if proc.Root.Alive(p) {
								left++
							}
						}
						return left < len(ids) || fileExists(dir+"/over")
					})
				}
				if supervisor <= 0 {
					t.Fatal("no supervisor")
				}
				unix.Kill(supervisor, unix.SIGKILL)
				gone(t, ids)
				if st := s.state(id); st.Status != "stopped" || st.MLRun.Reason != "lost" {
					t.Errorf("state %+v, want stopped, lost", st)
				}
				if out := s.must("list"); !strings.Contains(out, id) {
					t.Errorf("list: %q", out)
				}
				if _, errs, code := s.try("kill", id); code != 1 || !strings.Contains(errs, "container not running") {
					t.Errorf("kill: %d, %s", code, errs)
				}
				s.must("delete", id)
			})
		}
	}
}

func fileExists(path string) bool { _, err := os.Stat(path); return err == nil }

func TestReaperKilled(t *testing.T) {
	s := newSite(t)
	dir := s.bundle(family + "wait")
	s.must("run", "--detach", "--id", "x", dir)
	ids := pids(t, dir+"/pids", 4)
	unix.Kill(reaperOf(t, s.state("x").Pid), unix.SIGKILL)
	gone(t, ids)
	eventually(t, "it is stopped", func() bool { return s.state("x").MLRun.Reason == "killed" })
	s.must("delete", "x")
}

// TestExecReaperKilled kills the reaper of a process that was executed in a container: nobody else would end what is below it.
func TestExecReaperKilled(t *testing.T) {
	s := newSite(t)
	dir := s.bundle(family + "wait")
	other := s.bundle(family + "wait")
	s.must("run", "--detach", "--id", "x", dir)
	ids := pids(t, dir+"/pids", 4)
	s.must("exec", "--detach", "--cwd", other, "x", "sh", "-c", family+"wait")
	executed := pids(t, other+"/pids", 4)
	ids = append(ids, executed...)
	unix.Kill(reaperOf(t, executed[0].PID), unix.SIGKILL)
	gone(t, ids)
	eventually(t, "it is stopped", func() bool { return s.state("x").MLRun.Reason == "killed" })
	s.must("delete", "x")
}

// TestExecClientKilled kills mlrun exec: what it has started is the container's, and goes on.
func TestExecClientKilled(t *testing.T) {
	s := newSite(t)
	dir := s.bundle("sleep 1000")
	other := s.bundle(family + "wait")
	s.must("run", "--detach", "--id", "x", dir)
	c := s.command("exec", "--cwd", other, "x", "sh", "-c", family+"wait")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ids := pids(t, other+"/pids", 4)
	c.Process.Kill()
	c.Wait()
	for _, id := range ids {
		if !proc.Root.Alive(id) {
			t.Errorf("process %d has ended", id.PID)
		}
	}
	s.must("delete", "--force", "x")
	gone(t, ids)
}

// TestReaperStopped ends a run whose reaper somebody has stopped.
func TestReaperStopped(t *testing.T) {
	s := newSite(t)
	dir := s.bundle(family + "wait")
	s.must("run", "--detach", "--id", "x", dir)
	ids := pids(t, dir+"/pids", 4)
	unix.Kill(reaperOf(t, s.state("x").Pid), unix.SIGSTOP)
	s.must("delete", "--force", "x")
	gone(t, ids)
}

// TestReaperStoppedByPayload ends all the same: nobody but mlrun can continue it then.
func TestReaperStoppedByPayload(t *testing.T) {
	if portable {
		t.Skip("the parent of the payload is mlrun itself")
	}
	s := newSite(t)
	c := s.command("limit", "--quiet", "64M", "--", "sh", "-c", "kill -STOP $PPID")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it waits for a process that is stopped")
		_ = c.Process.Kill()
		<-ended
	}
}

// TestCreatorKilled kills mlrun create at moments spread over its whole life.
func TestCreatorKilled(t *testing.T) {
	s := newSite(t)
	dir := s.bundle("sleep 1000")
	for i := range 20 {
		id := "c" + strconv.Itoa(i)
		cmd := s.command("create", "--bundle", dir, id)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 500 * time.Microsecond) // where it is by then does not matter: all of it must work
		cmd.Process.Kill()
		cmd.Wait()
		if _, errs, code := s.try("state", id); code != 0 && !strings.Contains(errs, "container does not exist") {
			t.Errorf("%s: state: %s", id, errs)
		}
		s.must("delete", "--force", id)
		if _, _, code := s.try("state", id); code == 0 {
			t.Errorf("%s is still there", id)
		}
	}
	if out := s.must("list", "-q"); out != "" {
		t.Errorf("left: %q", out)
	}
}

// TestSupervisorOfNobody starts a supervisor as one comes to start whose mlrun create was killed: it must leave the container alone, which others take for
// stopped and may have removed and made again.
func TestSupervisorOfNobody(t *testing.T) {
	s := newSite(t)
	s.must("create", "--bundle", s.bundle("exec sleep 1000"), "x")
	before := s.state("x")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := s.command("supervise", s.dir+"/mlrun", "x", "0")
	c.ExtraFiles = []*os.File{w}
	err = c.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(r)
	if err != nil || !strings.Contains(string(answer), "has ended") {
		t.Errorf("it says %q, %v", answer, err)
	}
	if c.Wait(); c.ProcessState.ExitCode() != 1 {
		t.Errorf("%v", c.ProcessState)
	}
	if after := s.state("x"); after != before {
		t.Errorf("state %+v, was %+v", after, before)
	}
	s.must("start", "x")
}

func TestTwoCreators(t *testing.T) {
	s := newSite(t)
	dir := s.bundle("sleep 1000")
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 6 {
		wg.Go(func() {
			_, errs, code := s.try("create", "--bundle", dir, "same")
			mu.Lock()
			defer mu.Unlock()
			if code == 0 {
				won++
			} else if code != 1 || !strings.Contains(errs, "container with given ID already exists") {
				t.Errorf("exit code %d: %s", code, errs)
			}
		})
	}
	wg.Wait()
	if st := s.state("same"); won != 1 || st.Status != "created" {
		t.Errorf("%d won, status %q", won, st.Status)
	}
}

func TestKillRacesExit(t *testing.T) {
	s := newSite(t)
	dir := s.bundle("exit 0")
	for i := range 10 {
		id := "r" + strconv.Itoa(i)
		s.must("create", "--bundle", dir, id)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, errs, code := s.try("start", id); code != 0 && !strings.Contains(errs, "not running") && !strings.Contains(errs, "cannot start") {
				t.Errorf("start: %s", errs)
			}
		})
		wg.Go(func() {
			if _, errs, code := s.try("kill", id, "KILL"); code != 0 && !strings.Contains(errs, "container not running") {
				t.Errorf("kill: %s", errs)
			}
		})
		wg.Wait()
		eventually(t, "it is stopped", func() bool { return s.state(id).MLRun.Reason != "" })
		s.must("delete", id)
	}
}

func TestDamagedStateIsReported(t *testing.T) {
	s := newSite(t)
	dir := s.bundle("exit 0")
	for name, content := range map[string]string{"truncated": `{"version":1,"state":{"id":"x`, "future": `{"version":7,"state":{}}`, "empty": ""} {
		s.must("run", "--keep", "--id", "bad", dir)
		s.must("run", "--keep", "--id", "good", dir)
		if err := os.WriteFile(s.dir+"/mlrun/bad/state.json", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"state", "bad"}, {"start", "bad"}, {"kill", "bad"}, {"delete", "bad"}} {
			if _, errs, code := s.try(args...); code != 1 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "mlrun delete --force") {
				t.Errorf("%s: %v: exit code %d, %q", name, args, code, errs)
			}
		}
		if out := s.must("list"); !strings.Contains(out, "bad") || !strings.Contains(out, "good") {
			t.Errorf("%s: list: %q", name, out)
		}
		s.must("delete", "--force", "bad")
		s.must("delete", "good")
	}
}

func TestUnwritableRoot(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("nothing is read-only for root; TestFaultsAsNobody runs this")
	}
	s := newSite(t)
	dir := s.bundle("exit 0")
	root := filepath.Join(s.dir, "ro")
	os.Mkdir(root, 0o500)
	for _, args := range [][]string{{"run", dir}, {"create", "--bundle", dir, "x"}} {
		if _, errs, code := s.try(append([]string{"--root", root + "/sub"}, args...)...); code != 1 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "permission denied") {
			t.Errorf("%v: exit code %d, %q", args, code, errs)
		}
	}
}

// TestDiskFull fills a small file system with the state directory on it.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("takes root to mount a file system")
	}
	s := newSite(t)
	dir := s.bundle(family + "wait")
	mount := filepath.Join(s.dir, "small")
	os.Mkdir(mount, 0o700)
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=64k,mode=700"); err != nil {
		clients.Missing(t, "to mount a tmpfs: "+err.Error())
	}
	t.Cleanup(func() { unix.Unmount(mount, unix.MNT_DETACH) })
	s.must("--root", mount+"/r", "run", "--detach", "--id", "before", dir)
	ids := pids(t, dir+"/pids", 4)
	fill := func() {
		f, err := os.Create(mount + "/fill")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
	}
	fill()
	for _, args := range [][]string{{"run", "--id", "x", dir}, {"create", "--bundle", dir, "x"}, {"run", "--detach", "--id", "x", dir}} {
		_, errs, code := s.try(append([]string{"--root", mount + "/r"}, args...)...)
		if code != 1 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "no space left on device") {
			t.Errorf("%v: exit code %d, %q", args, code, errs)
		}
	}
	if out := s.must("--root", mount+"/r", "list", "-q"); out != "before\n" {
		t.Errorf("list: %q", out)
	}
	// What cannot be recorded does not happen.
	is := func(status string, stopped bool) {
		t.Helper()
		if out := s.must("--root", mount+"/r", "list"); !strings.Contains(out, " "+status+" ") {
			t.Errorf("list: %q, want %s", out, status)
		}
		for _, id := range ids {
			if st, err := proc.Root.Stat(id.PID); err != nil || st.Stopped() != stopped {
				t.Errorf("process %d: %+v %v, want stopped: %v", id.PID, st, err, stopped)
			}
		}
	}
	full := func(args ...string) {
		t.Helper()
		if _, errs, code := s.try(append([]string{"--root", mount + "/r"}, args...)...); code != 1 || !strings.Contains(errs, "no space left on device") {
			t.Errorf("%v: exit code %d, %q", args, code, errs)
		}
	}
	full("pause", "before")
	is("running", false)
	full("update", "--memory", "1G", "before")
	os.Remove(mount + "/fill")
	s.must("--root", mount+"/r", "pause", "before")
	if out := s.must("--root", mount+"/r", "state", "before"); strings.Contains(out, "1073741824") {
		t.Errorf("the limit of an update that failed: %s", out)
	}
	fill()
	full("resume", "before")
	is("paused", true)
	os.Remove(mount + "/fill")
	s.must("--root", mount+"/r", "resume", "before")
	is("running", false)
	fill()
	s.must("--root", mount+"/r", "kill", "before", "KILL")
	gone(t, ids)
	s.must("--root", mount+"/r", "delete", "--force", "before")
}

// TestCreateMeetsDelete creates and deletes one id many times at once: what was deleted does not go on without a state.
func TestCreateMeetsDelete(t *testing.T) {
	s := newSite(t)
	dir := s.bundle("exit 0")
	for range 10 {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { s.try("create", "--bundle", dir, "same") })
			wg.Go(func() {
				if _, errs, code := s.try("delete", "--force", "same"); code != 0 {
					t.Errorf("delete --force: exit code %d, %q", code, errs)
				}
			})
		}
		wg.Wait()
		s.must("delete", "--force", "same")
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range files {
			if b, _ := os.ReadFile(f); bytes.HasPrefix(b, []byte("mlrun\x00supervise\x00"+s.dir+"/")) {
				if st, err := os.ReadFile(filepath.Dir(f) + "/stat"); err == nil && !bytes.Contains(st, []byte(") Z ")) {
					t.Errorf("%s is left: %s", filepath.Dir(f), st)
				}
			}
		}
	}
}

// TestReturnsAtOnce checks that a payload that dies on SIGTERM ends the run long before its grace period does.
func TestReturnsAtOnce(t *testing.T) {
	s := newSite(t)
	dir := s.bundle(`x=x; while :; do x=$x$x; done`, limit32M)
	if _, _, code := s.try("run", dir); code != 137 {
		t.Errorf("exit code %d, want 137 (and that before the grace period of 100 s)", code)
	}
}

// TestStuckReader lets nobody read standard error: neither the limit nor the end may wait for it.
func TestStuckReader(t *testing.T) {
	s := newSite(t)
	dir := s.bundle(`x=x; while :; do x=$x$x; done`, limit32M)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fd := int(w.Fd()) // which makes it blocking
	unix.SetNonblock(fd, true)
	for _, err = unix.Write(fd, make([]byte, 4096)); err == nil; {
		_, err = unix.Write(fd, make([]byte, 4096))
	}
	unix.SetNonblock(fd, false)
	c := s.command("run", "-v0.1", dir)
	c.Stderr = w
	if err := c.Run(); c.ProcessState == nil || c.ProcessState.ExitCode() != 137 {
		t.Errorf("%v", err)
	}
}

// TestNoMoreThreads takes from a supervisor the permission to make threads, as a payload does that leaves the user no process.
func TestNoMoreThreads(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("RLIMIT_NPROC does not hold root; TestFaultsAsNobody runs this")
	}
	s := newSite(t)
	dir := s.bundle("while [ ! -e go ]; do sleep 0.01; done; x=x; while :; do x=$x$x; done", `,"linux":{"resources":{"memory":{"limit":33554432}}}`,
		`,"annotations":{"dev.mlrun.memory.grace":"100ms"}`)
	s.must("run", "--detach", "--id", "x", dir)
	supervisor := s.state("x").MLRun.Supervisor
	had, same := 0, 0
	eventually(t, "it has its threads, and makes no more", func() bool {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", supervisor))
		if same++; len(tasks) != had {
			had, same = len(tasks), 0
		}
		return had >= 13 && same > 100
	})
	if err := unix.Prlimit(supervisor, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: 1, Max: 1}, nil); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { s.must("state", "x") })
	}
	wg.Wait()
	if err := os.WriteFile(dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the limit is enforced", func() bool { return s.state("x").MLRun.Reason == "memory-limit" })
}

// TestBothKilled kills mlrun and its reaper so that neither can do anything about it. What carries the mark of the run is ended
// when the container is deleted, and nothing else.
func TestBothKilled(t *testing.T) {
	s := newSite(t)
	dir := s.bundle(family + "wait")
	other := s.bundle(family + "wait")
	s.must("run", "--detach", "--id", "x", dir)
	s.must("run", "--detach", "--id", "y", other)
	ids, others := pids(t, dir+"/pids", 4), pids(t, other+"/pids", 4)
	st := s.state("x")
	both := []int{reaperOf(t, st.Pid), st.MLRun.Supervisor}
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGKILL} {
		for _, pid := range both {
			unix.Kill(pid, sig)
			eventually(t, "the signal has come", func() bool {
				s, err := proc.Root.Stat(pid)
				return err != nil || s.Stopped() || s.Ended()
			})
		}
	}
	if !portable { // there nothing ends the payload with its parent
		eventually(t, "it is stopped", func() bool { return s.state("x").Status == "stopped" })
	}
	left := 0
	for _, id := range ids {
		if proc.Root.Alive(id) {
			left++
		}
	}
	if left == 0 {
		t.Error("nothing was left to be found")
	}
	if portable {
		s.must("delete", "--force", "x")
	} else {
		s.must("delete", "x")
	}
	for _, id := range ids {
		if proc.Root.Alive(id) {
			t.Errorf("process %d is left", id.PID)
		}
	}
	for _, id := range others {
		if !proc.Root.Alive(id) {
			t.Errorf("process %d of another container was ended", id.PID)
		}
	}
}

// parentOf is a process of mlrun, which the caller may signal: never the test's own or init.
func parentOf(t *testing.T, pid int) int {
	t.Helper()
	st, err := proc.Root.Stat(pid)
	if err != nil {
		t.Fatal(err)
	}
	parent, err := proc.Root.Stat(st.PPID)
	if err != nil {
		t.Fatal(err)
	}
	if parent.PID == os.Getpid() || !strings.HasPrefix(parent.Comm, "mlrun") {
		t.Fatalf("the parent of process %d is %d, %s: not mlrun's", pid, parent.PID, parent.Comm)
	}
	return st.PPID
}

func TestFaultsAsNobody(t *testing.T) {
	asnobody.Run(t, "^Test(SupervisorKilled|ExecReaperKilled|ExecClientKilled|ReaperKilled|ReaperStopped|ReaperStoppedByPayload|CreatorKilled|SupervisorOfNobody|TwoCreators|KillRacesExit|DamagedStateIsReported|UnwritableRoot|ReturnsAtOnce|StuckReader|ForkStorm|BothKilled|NoMoreThreads)$")
}
