package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mlrun/group"
	"mlrun/internal/asnobody"
)

// mountKillsEnv is how often TestGroupMountKilled kills a server, in place of mountKills.
const (
	mountKillsEnv = "MLRUN_MOUNT_KILLS"
	mountKills    = 8
)

// mountSite is a tree with a run in one of its groups, and a directory that it is mounted on again and again.
type mountSite struct {
	*site
	mnt  string
	tree *group.Tree
	kept group.ID
	r    *rand.Rand
}

// TestGroupMountKilled kills mlrun group mount at random, or the shell that waits for its end, or both: at any moment from its start on, while processes are in groups by it.
// At once nobody is counted who was there by the files, a run is as before, and no group is left; the next mount finds the directory as it should be, and nobody takes it away again.
func TestGroupMountKilled(t *testing.T) {
	if ok, err := mayMount(); !ok {
		if err != nil {
			t.Fatal(err)
		}
		t.Skip("no fusermount3, or no /dev/fuse that this user may open")
	}
	kills := mountKills
	if text := os.Getenv(mountKillsEnv); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	s := &mountSite{site: newSite(t), r: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 7))}
	s.mnt = filepath.Join(s.dir, "mnt")
	if err := os.Mkdir(s.mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command("fusermount3", "-u", "-q", "-z", "--", s.mnt).Run() })
	n, err := strconv.ParseInt(strings.TrimSpace(s.must("group", "create", "--label", "kept", "--mproc", "50")), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	s.kept = group.ID(n)
	if s.tree, err = group.Open(filepath.Join(s.dir, "mlrun", "@groups")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.tree.Close() })
	run := s.command("group", "exec", "--quiet", "kept", "--", "sleep", "1000")
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = run.Process.Kill()
		_ = run.Wait()
	}()
	for end := time.Now().Add(time.Minute); s.count(t).Processes != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the run is not counted")
		}
	}
	var early, late int
	for round := range kills {
		if s.kill(t, round) {
			late++
		} else {
			early++
		}
		s.settled(t)
	}
	t.Logf("%d were killed before they had mounted, %d after that", early, late)
	// Nobody of all these rounds takes the last mount away.
	m := s.mount(t, filepath.Join(s.dir, "last"))
	m.await(t)
	if _, err := os.Stat(filepath.Join(s.mnt, "ctl")); err != nil {
		t.Error(err)
	}
	_ = m.Process.Signal(syscall.SIGTERM)
	if err := m.Wait(); err != nil {
		t.Errorf("the end of the last mount: %v", err)
	}
	if list, err := os.ReadDir(s.mnt); err != nil || len(list) > 0 {
		t.Errorf("the directory has %v, %v after the last mount", list, err)
	}
}

func TestGroupMountKilledAsNobody(t *testing.T) {
	asnobody.RunWithFUSE(t, "^TestGroupMountKilled$")
}

func (s *mountSite) count(t *testing.T) group.Counts {
	t.Helper()
	info, err := s.tree.Status(s.kept)
	if err != nil {
		t.Fatal(err)
	}
	return info.Counts
}

// settled looks at the tree at once: the kernel has told that the server is gone.
func (s *mountSite) settled(t *testing.T) {
	t.Helper()
	list, err := s.tree.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[1].ID != s.kept {
		t.Errorf("the groups are %+v, want that of the run", list)
	}
	if c := s.count(t); c.Processes != 1 || c.Groups != 0 {
		t.Errorf("counts %+v, want one process", c)
	}
}

// mounter is an mlrun group mount.
type mounter struct {
	*exec.Cmd
	s    *mountSite
	errs *os.File
}

func (s *mountSite) mount(t *testing.T, errs string) *mounter {
	t.Helper()
	m := &mounter{Cmd: s.command("group", "mount", s.mnt), s: s}
	var err error
	if m.errs, err = os.Create(errs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.errs.Close() })
	m.Stderr = m.errs
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	return m
}

// await waits until the files are there.
func (m *mounter) await(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if b, err := os.ReadFile(filepath.Join(m.s.mnt, "ctl")); err == nil && string(b) == "1\n" {
			return
		}
		if time.Now().After(end) {
			said, _ := os.ReadFile(m.errs.Name())
			_, err := os.Stat(m.s.mnt)
			t.Fatalf("after a minute there is no mount: %v; mlrun says %q", err, said)
		}
	}
}

// guard is the shell that waits for the end of the server, 0 when there is none.
func (m *mounter) guard() int {
	dir := fmt.Sprintf("/proc/%d/task/", m.Process.Pid)
	tasks, _ := os.ReadDir(dir)
	for _, task := range tasks {
		b, _ := os.ReadFile(dir + task.Name() + "/children")
		for _, pid := range strings.Fields(string(b)) {
			if line, _ := os.ReadFile("/proc/" + pid + "/cmdline"); bytes.HasPrefix(line, []byte("sh\x00-c\x00read")) {
				n, _ := strconv.Atoi(pid)
				return n
			}
		}
	}
	return 0
}

// kill mounts, lets processes move, or not, and kills. It tells whether there was a mount by then.
func (s *mountSite) kill(t *testing.T, round int) (mounted bool) {
	m := s.mount(t, filepath.Join(s.dir, fmt.Sprintf("mount%d", round)))
	defer os.Remove(m.errs.Name())
	if round%3 == 0 { // at any moment of its start
		time.Sleep(time.Duration(s.r.Int64N(int64(20 * time.Millisecond))))
		s.murder(m, m.guard())
		return false
	}
	m.await(t)
	guard := m.guard()
	if guard == 0 {
		t.Error("nobody waits for the end of the server")
	}
	for _, script := range []string{
		`exec 9<>"$1"/clone; (exec 8<>"$1"/clone; sleep 1000 & sleep 1000 & echo ready; wait) & read x; kill $!`,
		`exec 9<>"$1"/groups/` + fmt.Sprint(s.kept) + `/switch; sleep 1000 >/dev/null 2>&1 & echo ready; read x; kill $!`,
	} {
		c := exec.Command("sh", "-c", script, "sh", s.mnt)
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			in.Close()
			_, _ = io.Copy(io.Discard, out)
			_ = c.Wait()
		}()
		if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Errorf("who moves says %q", line)
		}
	}
	time.Sleep(time.Duration(s.r.Int64N(int64(5 * time.Millisecond))))
	s.murder(m, guard)
	return true
}

// murder kills a server, and before or after it its guard, if there is one and it is this one's turn.
func (s *mountSite) murder(m *mounter, guard int) {
	who := s.r.IntN(4)
	if guard != 0 && who == 1 {
		_ = syscall.Kill(guard, syscall.SIGKILL)
	}
	_ = m.Process.Kill()
	if guard != 0 && who == 2 {
		_ = syscall.Kill(guard, syscall.SIGKILL)
	}
	_ = m.Wait()
}
