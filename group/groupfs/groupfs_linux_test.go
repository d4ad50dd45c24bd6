package groupfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/group"
	"mlrun/group/fuse"
	"mlrun/internal/asnobody"
	"mlrun/internal/emulated"
)

// TestMain serves a tree in a process of its own: one that waits for an answer of itself cannot even end.
func TestMain(m *testing.M) {
	if dir := os.Getenv("GROUPFS_TEST_DIR"); dir != "" {
		go func() {
			_, _ = os.Stdin.Read(make([]byte, 1))
			os.Exit(2)
		}()
		if err := serveHere(dir, os.Getenv("GROUPFS_TEST_TREE")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serveHere(dir, tree string) error {
	t, err := group.Open(tree)
	if err != nil {
		return err
	}
	defer t.Close()
	f := New(t, func(s string) { fmt.Fprintln(os.Stderr, s) })
	s, err := fuse.Mount(dir, f, fuse.Options{Name: "groups", AllowOther: os.Getenv("GROUPFS_TEST_EVERYBODY") == "true"})
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	err = s.Serve()
	f.Close()
	return errors.Join(err, s.Close())
}

func TestAsNobody(t *testing.T) {
	asnobody.RunWithFUSE(t, "^Test(Examples|Errors|Follow|Ended|Caller|Killed|Moves|Writes|Gone)$")
}

// mount is a tree, and where another process has it mounted.
type mount struct {
	dir    string
	tree   *group.Tree
	server *exec.Cmd
	log    *bytes.Buffer
}

func newMount(t *testing.T) *mount {
	t.Helper()
	return newMountFor(t, false)
}

// newMountFor is newMount for everybody, or for this user only.
func newMountFor(t *testing.T, everybody bool) *mount {
	t.Helper()
	emulated.Skip(t, "FUSE")
	top, err := os.MkdirTemp("", "groupfs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	if everybody {
		if err := os.Chmod(top, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m := &mount{dir: filepath.Join(top, "mnt"), log: &bytes.Buffer{}}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(top, "groups")
	if m.tree, err = group.Open(state); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.tree.Close() })
	m.server = exec.Command(os.Args[0])
	m.server.Env = append(os.Environ(), "GROUPFS_TEST_DIR="+m.dir, "GROUPFS_TEST_TREE="+state, fmt.Sprintf("GROUPFS_TEST_EVERYBODY=%v", everybody))
	m.server.Stderr = m.log
	if _, err := m.server.StdinPipe(); err != nil { // its end is that of the test
		t.Fatal(err)
	}
	out, err := m.server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.server.Process.Kill()
		m.server.Wait()
		m.unmounted(t)
		if t.Failed() {
			t.Logf("log of the server:\n%s", m.log)
		}
	})
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "mounted\n" {
		missing(t, errors.New(line))
	}
	return m
}

// missing skips a test for want of FUSE, and fails it where that has to be.
func missing(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("MLRUN_REQUIRE_CLIENTS") == "" && (strings.Contains(err.Error(), "/dev/fuse") || strings.Contains(err.Error(), "fuse device not found") ||
		strings.Contains(err.Error(), fuse.ErrNoProgram.Error())) {
		t.Skip("no FUSE here: ", err)
	}
	t.Fatal(err)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute still not: %s", what)
		}
	}
}

// unmounted waits until the directory is no mount.
func (m *mount) unmounted(t *testing.T) {
	t.Helper()
	eventually(t, "the directory is free", func() bool {
		list, err := os.ReadDir(m.dir)
		return err == nil && len(list) == 0 || errors.Is(err, os.ErrNotExist)
	})
}

func (m *mount) path(names ...string) string {
	return filepath.Join(append([]string{m.dir}, names...)...)
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// shell is sh, with a script that ends when its input does.
type shell struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start starts a program with pipes, in the directory of the mount.
func (m *mount) start(t *testing.T, args ...string) *shell {
	t.Helper()
	return m.begin(t, &shell{Cmd: exec.Command(args[0], args[1:]...)}, nil)
}

// line is the next line that a program prints.
func (s *shell) line(t *testing.T) string {
	t.Helper()
	text, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatalf("output ends: %v", err)
	}
	return strings.TrimSuffix(text, "\n")
}

// say has a shell read a line, and returns the line that it answers.
func (s *shell) say(t *testing.T, line string) string {
	t.Helper()
	if _, err := fmt.Fprintln(s.in, line); err != nil {
		t.Fatal(err)
	}
	return s.line(t)
}

func (m *mount) count(t *testing.T, id string) (c group.Counts, there bool) {
	t.Helper()
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	info, err := m.tree.Status(group.ID(n))
	if errors.Is(err, group.ErrNotExist) {
		return c, false
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Counts, true
}

// gone waits until a group is gone.
func (m *mount) gone(t *testing.T, id string) {
	t.Helper()
	eventually(t, "group "+id+" is gone", func() bool { _, there := m.count(t, id); return !there })
}

const examples = "../../examples/groups/"

// TestExamples runs the examples: one process makes a group with a label, another one finds it by that and joins it.
func TestExamples(t *testing.T) {
	m := newMount(t)
	first := m.start(t, "sh", abs(t, examples+"create"), m.dir, "mygroup", "sh")
	id := first.say(t, "cat mnt/ctl")
	if got, want := read(t, m.path("groups", id, "ctl")), id+"\n"; got != want || id == "1" {
		t.Fatalf("ctl has %q, want %q, and no group 1", got, want)
	}
	second := m.start(t, "sh", abs(t, examples+"attach"), m.dir, "mygroup", "sh")
	if got := second.say(t, "cat mnt/ctl"); got != id {
		t.Errorf("the second process is in group %s, want %s", got, id)
	}
	eventually(t, "both are counted", func() bool { c, _ := m.count(t, id); return c.Processes == 2 })
	lines := strings.Split(read(t, m.path("groups", id, "status")), "\n")
	if lines[0] != "mygroup" || lines[1] != "1" || lines[2] != "mlim 1 0" || lines[3] != "mproc 20 2" || !strings.HasPrefix(lines[4], "mpage none ") {
		t.Errorf("status %q", lines)
	}
	if lines[4] == "mpage none 0" {
		t.Error("the memory of two shells is no page")
	}
	out, err := exec.Command("sh", abs(t, examples+"attach"), m.dir, "other", "sh").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no group has the label other") {
		t.Errorf("attach to a label that there is not: %v, %q", err, out)
	}
	for _, s := range []*shell{second, first} {
		s.in.Close()
		s.Wait()
	}
	m.gone(t, id)
}

func abs(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestErrors has what is refused, with the errno and the text of the error file.
func TestErrors(t *testing.T) {
	m := newMount(t)
	s := m.start(t, "sh")
	id := s.say(t, "exec 9<>mnt/clone; cat <&9")
	ctl := m.path("groups", id, "ctl")
	if err := os.WriteFile(ctl, []byte("label was\nmproc 7\nmlim 1\nmpage 1000000\n"), 0); err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(read(t, m.path("groups", id, "status")), "mproc 7 ")
	for _, c := range []struct {
		text string
		want error
		says string
	}{
		{"mproc -5\n", unix.EINVAL, "mproc"},
		{"mproc 99999999999999999999\n", unix.EINVAL, "want at most"},
		{"mproc 2147483648\n", unix.EINVAL, "want at most"},
		{"mpage 9223372036854775807\n", unix.EINVAL, "want at most"},
		{"mproc 1e3\n", unix.EINVAL, "1e3"},
		{"mproc\n", unix.EINVAL, "mproc"},
		{"frob 1\n", unix.EINVAL, `command "frob"`},
		{"\n", unix.EINVAL, "command"},
		{"label a\x01b\n", unix.EINVAL, "U+0001"},
		{"label a\rb\n", unix.EINVAL, "U+000D"},
		{"label a\x00b\n", unix.EINVAL, "U+0000"},
		{"label \xff\n", unix.EINVAL, "UTF-8"},
		{"label 17\n", unix.EINVAL, "number"},
		{"label one\ntwo\n", unix.EINVAL, `line 2: `},
		{"label new\nmproc 8\nmproc x\n", unix.EINVAL, "line 3: mproc"},
		{"label " + strings.Repeat("x", 1<<20) + "\n", unix.EINVAL, "at most 4096"},
		{strings.Repeat("mproc 8\n", 600), unix.EINVAL, "at most 4096"},
	} {
		if err := os.WriteFile(ctl, []byte(c.text), 0); !errors.Is(err, c.want) {
			t.Errorf("%.40q: error %v, want %v", c.text, err, c.want)
		}
		if got := read(t, m.path("groups", id, "error")); !strings.Contains(got, c.says) || strings.Count(got, "\n") != 1 {
			t.Errorf("%.40q: the error file has %q, want %q", c.text, got, c.says)
		}
	}
	if after, _, _ := strings.Cut(read(t, m.path("groups", id, "status")), "mproc 7 "); after != before || !strings.HasPrefix(after, "was\n") {
		t.Errorf("what was refused has changed the group from %q to %q", before, after)
	}
	for _, c := range []struct {
		do   func() error
		want error
	}{
		{func() error { return os.WriteFile(m.path("groups", "1", "ctl"), []byte("mproc 5\n"), 0) }, unix.EPERM},
		{func() error { _, err := os.ReadFile(m.path("groups", "999", "ctl")); return err }, unix.ENOENT},
		{func() error { _, err := os.ReadFile(m.path("groups", "01", "ctl")); return err }, unix.ENOENT},
		{func() error { _, err := os.ReadFile(m.path("groups", "-1", "ctl")); return err }, unix.ENOENT},
		{func() error { _, err := os.ReadFile(m.path("groups", "99999999999999999999", "ctl")); return err }, unix.ENOENT},
		{func() error { return os.WriteFile(m.path("groups", id, "status"), []byte("x"), 0) }, unix.EACCES},
		{func() error { return os.Mkdir(m.path("groups", "77"), 0o755) }, unix.ENOSYS},
		{func() error { return os.Remove(ctl) }, unix.ENOSYS},
	} {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("error %v, want %v", err, c.want)
		}
	}
	// mlim 1: a second group below is over it, and so is a process over mproc 1.
	child := m.start(t, "sh")
	below := child.say(t, "exec 9<>mnt/groups/"+id+"/clone; cat <&9")
	third := m.start(t, "sh")
	if got := third.say(t, "(exec 9<>mnt/groups/"+id+"/clone) 2>&1 | grep -c 'quota'"); got != "1" {
		t.Errorf("a group over mlim: %s lines of EDQUOT", got)
	}
	if got := read(t, m.path("groups", id, "error")); !strings.Contains(got, "clone: process") || !strings.Contains(got, "mlim") {
		t.Errorf("the error file has %q", got)
	}
	if err := os.WriteFile(m.path("groups", below, "ctl"), []byte("mproc 1"), 0); err != nil {
		t.Fatal(err)
	}
	if got := third.say(t, "(exec 9<>mnt/groups/"+below+"/switch) 2>&1 | grep -c 'quota'"); got != "1" {
		t.Errorf("a process over mproc: %s lines of EDQUOT", got)
	}
	if got := third.say(t, "cat mnt/ctl"); got != "1" {
		t.Errorf("who was refused is in group %s, want 1", got)
	}
}

// TestFollow counts what is forked after a move, in sessions of their own and without parents, and not what was forked before.
func TestFollow(t *testing.T) {
	m := newMount(t)
	s := m.start(t, "sh")
	before, err := strconv.Atoi(s.say(t, "sleep 1000 >/dev/null 2>&1 & echo $!"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Kill(before, unix.SIGKILL)
	id := s.say(t, "exec 9<>mnt/clone; cat <&9")
	eventually(t, "the shell alone is counted", func() bool { c, _ := m.count(t, id); return c.Processes == 1 })
	s.say(t, "sleep 1000 >/dev/null 2>&1 & (setsid sh -c 'sleep 1000 & sleep 1000 & wait' >/dev/null 2>&1 &); echo ok")
	eventually(t, "all that were forked since are counted", func() bool { c, _ := m.count(t, id); return c.Processes == 5 })
	// The open file and then the shell are gone: the group lives with the others.
	s.say(t, "exec 9>&-; echo ok")
	s.in.Close()
	s.Wait()
	eventually(t, "the shell is not counted any more", func() bool { c, there := m.count(t, id); return there && c.Processes == 4 })
	n, _ := strconv.ParseInt(id, 10, 64)
	if _, err := m.tree.End(group.ID(n)); err != nil {
		t.Fatal(err)
	}
	m.gone(t, id)
	if err := unix.Kill(before, 0); err != nil {
		t.Errorf("who was forked before the move has been ended, too: %v", err)
	}
}

// TestEnded lets a group exceed its processes, and its memory: what has moved last is ended, all of it, and nobody else.
func TestEnded(t *testing.T) {
	m := newMount(t)
	keep := m.start(t, "sh")
	id := keep.say(t, "exec 9<>mnt/clone; cat <&9")
	n, _ := strconv.ParseInt(id, 10, 64)
	victim := group.KillNewest
	if err := m.tree.Set(group.ID(n), group.Change{Victim: &victim}); err != nil {
		t.Fatal(err)
	}
	if got := keep.say(t, "echo mproc 5 >mnt/ctl && echo ok"); got != "ok" {
		t.Fatal(got)
	}
	bad := m.start(t, "sh", "-c", "exec 9<>mnt/groups/"+id+"/switch; for i in 1 2 3 4 5 6 7 8; do (sleep 1000 & sleep 1000 & wait) & done; wait")
	if err := bad.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("who is over the limit of processes ended with %v", err)
	}
	eventually(t, "only the other process is left", func() bool { c, _ := m.count(t, id); return c.Processes == 1 })
	if got := keep.say(t, "echo mpage 16384 >mnt/ctl && echo ok"); got != "ok" {
		t.Fatal(got)
	}
	bad = m.start(t, "sh", "-c", "exec 9<>mnt/groups/"+id+"/switch; x=0123456789abcdef; while :; do x=$x$x; done")
	if err := bad.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("who is over the limit of memory ended with %v", err)
	}
	if got := keep.say(t, "cat mnt/ctl"); got != id {
		t.Errorf("the other one is in group %s, want %s", got, id)
	}
}

// TestCaller switches between groups: the root directory is that of who looks.
func TestCaller(t *testing.T) {
	m := newMount(t)
	s, other := m.start(t, "sh"), m.start(t, "sh")
	if got := s.say(t, "cat mnt/ctl"); got != "1" {
		t.Errorf("before any move the group is %s", got)
	}
	a := s.say(t, "exec 9<>mnt/clone; cat mnt/ctl")
	b := s.say(t, "exec 8<>mnt/clone; cat mnt/ctl") // below a
	if got := s.say(t, "sed -n 2p mnt/status"); got != a || a == b {
		t.Errorf("the parent of %s is %s, want %s", b, got, a)
	}
	for _, want := range []string{a, b, "1", a} {
		if got := s.say(t, "exec 7<>mnt/groups/"+want+"/switch; cat mnt/ctl"); got != want {
			t.Errorf("after a switch to %s the group is %s", want, got)
		}
	}
	if got := other.say(t, "cat mnt/ctl"); got != "1" {
		t.Errorf("somebody else is in group %s", got)
	}
	if got := s.say(t, "sh -c 'setsid sh -c \"cat mnt/ctl\"'"); got != a {
		t.Errorf("a process in a session of its own is in group %s, want %s", got, a)
	}
	eventually(t, "one is counted", func() bool { c, _ := m.count(t, a); return c.Processes == 1 })
	s.say(t, "exec 8>&-; echo ok") // b has nobody by now
	m.gone(t, b)
	if got := other.say(t, "ls mnt mnt/groups | tr '\\n' ' '; echo"); !strings.Contains(got, "clone ctl error groups status switch") || !strings.Contains(got, "1 "+a+" ") {
		t.Errorf("the list is %q", got)
	}
}

// TestKilled kills the server with SIGKILL: the mount is gone, and the groups of those who have moved.
func TestKilled(t *testing.T) {
	m := newMount(t)
	s := m.start(t, "sh")
	id := s.say(t, "exec 9<>mnt/clone; cat <&9")
	m.server.Process.Kill()
	m.server.Wait()
	m.unmounted(t)
	m.gone(t, id)
	if got := s.say(t, "echo alive"); got != "alive" {
		t.Errorf("who had moved says %q", got)
	}
}

// TestMoves has processes move at random, and compares the counts with what they should be at the end.
func TestMoves(t *testing.T) {
	m := newMount(t)
	shells := make([]*shell, 6)
	for i := range shells {
		shells[i] = m.start(t, "sh")
	}
	var ids []string
	for _, s := range shells[:3] {
		ids = append(ids, s.say(t, "exec 9<>mnt/clone; cat <&9"))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	want := map[string]int64{}
	for round := range 12 {
		for _, s := range shells {
			to := ids[rnd.IntN(len(ids))]
			if got := s.say(t, "exec 7<>mnt/groups/"+to+"/switch; cat mnt/ctl"); got != to {
				t.Fatalf("round %d: in group %s, want %s", round, got, to)
			}
			if round == 11 {
				want[to]++
			}
		}
	}
	for _, id := range ids {
		eventually(t, "the count of group "+id+" is right", func() bool { c, _ := m.count(t, id); return c.Processes == want[id] })
	}
}

// openCtl opens the file ctl of a group for writing, until the test is over.
func (m *mount) openCtl(t *testing.T, id string) (fd int) {
	t.Helper()
	fd, err := unix.Open(m.path("groups", id, "ctl"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestWrites writes at random, through the mount.
func TestWrites(t *testing.T) {
	m := newMount(t)
	s := m.start(t, "sh")
	id := s.say(t, "exec 9<>mnt/clone; cat <&9")
	fd := m.openCtl(t, id)
	n := 5000
	if testing.Short() {
		n = 500
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range n {
		text := arbitrary(rnd)
		if _, err := unix.Write(fd, text); err != nil && err != unix.EINVAL {
			t.Fatalf("%q: %v", text, err)
		}
	}
	if got := s.say(t, "cat mnt/ctl"); got != id {
		t.Errorf("group %s, want %s", got, id)
	}
}

// arbitrary is a command, more or less. Limits are large enough for who is in the group.
func arbitrary(r *rand.Rand) []byte {
	words := []string{"label", "mlim", "mproc", "mpage", " ", " ", "\n", "none", "-1", "0x10", "1000000", "999999", "18446744073709551616", "\x00", "\x7f", "é", "\xff",
		"abc", strings.Repeat("z", 130), "\t", "mproc 2000", "label ok"}
	var b []byte
	for range 1 + r.IntN(5) {
		b = append(b, words[r.IntN(len(words))]...)
	}
	return b
}
