package fuse

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/internal/asnobody"
	"mlrun/internal/emulated"
)

// notes is a file system of a directory "dir" with a file "note", which has what was written to it last.
type notes struct {
	text  []byte
	by    Caller
	opens int
}

const (
	nodeDir  = 2
	nodeNote = 3
)

func (n *notes) Attr(_ Caller, node uint64) (Attr, error) {
	switch node {
	case Root, nodeDir:
		return Attr{Node: node, Dir: true, Perm: 0o755, UID: uint32(os.Getuid())}, nil
	case nodeNote:
		return Attr{Node: node, Perm: 0o644, UID: uint32(os.Getuid())}, nil
	}
	return Attr{}, unix.ENOENT
}

func (n *notes) Lookup(c Caller, dir uint64, name string) (Attr, error) {
	switch {
	case dir == Root && name == "dir":
		return n.Attr(c, nodeDir)
	case dir == nodeDir && name == "note":
		return n.Attr(c, nodeNote)
	}
	return Attr{}, unix.ENOENT
}

func (n *notes) List(_ Caller, dir uint64) (list []Entry, err error) {
	if dir == Root {
		return []Entry{{"dir", nodeDir, true}}, nil
	}
	for i := range 1000 { // more than one request takes
		list = append(list, Entry{fmt.Sprintf("name-%d", i), uint64(100 + i), false})
	}
	return list, nil
}

func (n *notes) Open(Caller, uint64, int) (any, error) { n.opens++; return n, nil }

func (n *notes) Content(c Caller, _ any) ([]byte, error) {
	if string(n.text) == "who\n" {
		return fmt.Appendf(nil, "%d %d", c.UID, c.PID), nil
	}
	return n.text, nil
}

func (n *notes) Write(c Caller, _ any, data []byte) error {
	switch string(data) {
	case "quota\n":
		return fmt.Errorf("wrapped: %w", unix.EDQUOT)
	case "other\n":
		return errors.New("no errno")
	}
	n.text, n.by = bytes.Clone(data), c
	return nil
}

func (n *notes) Release(any) { n.opens-- }

// TestMain serves notes in a process of its own: one that waits for an answer of itself cannot even end.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FUSE_TEST_DIR"); dir != "" {
		s, err := Mount(dir, &notes{}, Options{Name: "notes", Path: os.Getenv("FUSE_TEST_PATH"), Lock: os.Getenv("FUSE_TEST_LOCK")})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("mounted", s.guard.process.Pid)
		fmt.Println(s.Serve())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serve serves notes on a directory in another process.
func serve(t *testing.T, dir string) (server *exec.Cmd, guard int) {
	t.Helper()
	emulated.Skip(t, "FUSE")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FUSE_TEST_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		free(t, dir)
	})
	b := make([]byte, 4096)
	n, _ := out.Read(b)
	if _, err := fmt.Sscanf(string(b[:n]), "mounted %d", &guard); err != nil {
		missing(t, errors.New(string(b[:n])))
	}
	return cmd, guard
}

// free waits until a directory is no mount.
func free(t *testing.T, dir string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		list, err := os.ReadDir(dir)
		if err == nil && len(list) == 0 || errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the mount is still there: %v", err)
		}
	}
}

// mounted serves notes on a new directory in another process.
func mounted(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	serve(t, dir)
	return dir
}

func mountOn(t *testing.T, dir string) *Server {
	t.Helper()
	emulated.Skip(t, "FUSE")
	s, err := Mount(dir, &notes{}, Options{Name: "notes"})
	if err != nil {
		missing(t, err)
	}
	return s
}

// missing skips a test for want of FUSE, and fails it where that has to be.
func missing(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("MLRUN_REQUIRE_CLIENTS") != "" {
		t.Fatal(err)
	}
	if errors.Is(err, ErrNoProgram) || strings.Contains(err.Error(), "/dev/fuse") || strings.Contains(err.Error(), "fuse device not found") {
		t.Skip("no FUSE here: ", err)
	}
	t.Fatal(err)
}

func TestAsNobody(t *testing.T) {
	asnobody.RunWithFUSE(t, "^Test(Files|Errors|Killed|Umount|Late|Early|Twice)$")
}

func TestFiles(t *testing.T) {
	dir := mounted(t)
	note := filepath.Join(dir, "dir", "note")
	if err := os.WriteFile(note, []byte("text\n"), 0o600); err != nil { // O_CREATE and O_TRUNC
		t.Fatal(err)
	}
	if b, err := os.ReadFile(note); err != nil || string(b) != "text\n" {
		t.Errorf("read %q, %v", b, err)
	}
	if list, err := os.ReadDir(filepath.Join(dir, "dir")); err != nil || len(list) != 1000 || list[999].IsDir() {
		t.Errorf("%d entries, %v; want 1000", len(list), err)
	}
	st, err := os.Stat(note)
	if err != nil || st.Mode() != 0o644 {
		t.Errorf("stat %v, %v", st, err)
	}
	if err := os.WriteFile(note, []byte("who\n"), 0); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(note); err != nil {
		t.Error(err)
	} else {
		var uid, tid int
		fmt.Sscan(string(b), &uid, &tid)
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid)); err != nil || uid != os.Getuid() {
			t.Errorf("the caller is %q, want user %d and a thread of process %d", b, os.Getuid(), os.Getpid())
		}
	}
	long := bytes.Repeat([]byte("x"), MaxWrite)
	if err := os.WriteFile(note, long, 0); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(note); err != nil || !bytes.Equal(b, long) {
		t.Errorf("%d bytes, %v; want %d", len(b), err, len(long))
	}
}

func TestErrors(t *testing.T) {
	dir := mounted(t)
	note := filepath.Join(dir, "dir", "note")
	for _, c := range []struct {
		do   func() error
		want error
	}{
		{func() error { return os.WriteFile(note, []byte("quota\n"), 0) }, unix.EDQUOT},
		{func() error { return os.WriteFile(note, []byte("other\n"), 0) }, unix.EIO},
		{func() error { _, err := os.Open(filepath.Join(dir, "nothing")); return err }, unix.ENOENT},
		{func() error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o600) }, unix.ENOSYS},
		{func() error { return os.Mkdir(filepath.Join(dir, "new"), 0o700) }, unix.ENOSYS},
		{func() error { return os.Remove(note) }, unix.ENOSYS},
		{func() error { return os.Rename(note, note+"2") }, unix.ENOSYS},
		{func() error { return os.Chmod(note, 0o777) }, unix.EPERM},
		{func() error { return unix.Setxattr(note, "user.x", []byte("y"), 0) }, unix.EOPNOTSUPP},
	} {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("error %v, want %v", err, c.want)
		}
	}
}

// TestUmount unmounts from outside, and then by Close, with a file open.
func TestUmount(t *testing.T) {
	dir := t.TempDir()
	start := func() (*Server, chan error) {
		s, ended := mountOn(t, dir), make(chan error, 1)
		go func() { ended <- s.Serve() }()
		return s, ended
	}
	s, ended := start()
	if err := run(s.guard.program, []string{}, nil, "-u", "--", dir); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error("after it was unmounted: ", err)
	}
	s, ended = start()
	// Not by package os, which has the file polled: the server would have to answer that while its own poller waits for it.
	fd, err := unix.Open(filepath.Join(dir, "dir", "note"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := unix.Read(fd, make([]byte, 1)); err != unix.ENOTCONN && err != unix.ECONNABORTED {
		t.Errorf("read after the end: %v", err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("%v, %v: want an empty directory", list, err)
	}
	if n := s.fs.(*notes).opens; n != 0 {
		t.Errorf("%d files were not released", n)
	}
}

// TestKilled kills a server with SIGKILL while a file is open: its guard unmounts. When both are killed, the next Mount does.
func TestKilled(t *testing.T) {
	for _, both := range []bool{false, true} {
		dir := t.TempDir()
		cmd, guard := serve(t, dir)
		f, err := os.Open(filepath.Join(dir, "dir", "note"))
		if err != nil {
			t.Fatal(err)
		}
		if both {
			if err := syscall.Kill(guard, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			gone(t, guard)
		}
		cmd.Process.Kill()
		cmd.Wait()
		if both {
			if !Dead(dir) {
				t.Error("the mount is not dead: nothing to repair")
			}
			s := mountOn(t, dir)
			go s.Serve()
			if err := unix.Access(filepath.Join(dir, "dir", "note"), unix.R_OK); err != nil {
				t.Error(err)
			}
			s.Close()
		}
		free(t, dir)
		f.Close()
	}
}

// slow is a fusermount3 that waits for a file go when it is called with an argument, and makes the files waits before and done after that.
type slow string

func newSlow(t *testing.T, arg string) slow {
	t.Helper()
	program, err := find(os.Getenv("PATH"))
	if err != nil {
		missing(t, err)
	}
	dir := t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
[ "$1" = %s ] || exec %s "$@"
: >%[3]s/waits
until test -e %[3]s/go; do sleep 0.01; done
%[2]s "$@"
: >%[3]s/done
`, arg, program, dir)
	if err := os.WriteFile(filepath.Join(dir, Program), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return slow(dir)
}

// command is a server that mounts by it.
func (s slow) command(t *testing.T, dir, path string) *exec.Cmd {
	emulated.Skip(t, "FUSE")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FUSE_TEST_DIR="+dir, "FUSE_TEST_PATH="+path, "FUSE_TEST_LOCK="+filepath.Join(string(s), "lock"))
	return cmd
}

func (s slow) wait(t *testing.T, file string) {
	t.Helper()
	eventually(t, file+" is there", func() bool { _, err := os.Stat(filepath.Join(string(s), file)); return err == nil })
}

func (s slow) allow(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(s), "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute still not: %s", what)
		}
	}
}

// TestLate has the guard of a server that was killed unmount late: what the next server mounts stays.
func TestLate(t *testing.T) {
	dir, s := t.TempDir(), newSlow(t, "-u")
	first := s.command(t, dir, string(s))
	out, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4096)
	n, _ := out.Read(line)
	if !bytes.HasPrefix(line[:n], []byte("mounted")) {
		missing(t, errors.New(string(line[:n])))
	}
	first.Process.Kill()
	first.Wait()
	s.wait(t, "waits")
	second, said := s.command(t, dir, os.Getenv("PATH")), &bytes.Buffer{}
	second.Stderr = said
	file := filepath.Join(t.TempDir(), "out")
	if second.Stdout, err = os.Create(file); err != nil {
		t.Fatal(err)
	}
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		second.Process.Kill()
		second.Wait()
		free(t, dir)
	}()
	// It waits, or has mounted too early.
	mounted := func() bool { b, _ := os.ReadFile(file); return len(b) > 0 }
	eventually(t, "the second one waits", func() bool { return mounted() || opened(second.Process.Pid, filepath.Join(string(s), "lock")) })
	s.allow(t)
	s.wait(t, "done")
	eventually(t, "the second one has mounted", mounted)
	if _, err := os.Stat(filepath.Join(dir, "dir", "note")); err != nil {
		t.Errorf("what the second one has mounted is not there: %v; it says %s", err, said)
	}
}

// opened tells whether a process has a file open.
func opened(pid int, file string) bool {
	list, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range list {
		if to, _ := os.Readlink(fd); to == file {
			return true
		}
	}
	return false
}

// TestEarly kills a server while fusermount3 mounts: what that has mounted then is unmounted as well.
func TestEarly(t *testing.T) {
	dir, s := t.TempDir(), newSlow(t, "-o")
	cmd := s.command(t, dir, string(s))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "waits")
	cmd.Process.Kill()
	cmd.Wait()
	s.allow(t)
	s.wait(t, "done")
	free(t, dir)
}

// TestTwice mounts on a directory that is mounted: what is there stays.
func TestTwice(t *testing.T) {
	dir, lock := t.TempDir(), filepath.Join(t.TempDir(), "lock")
	emulated.Skip(t, "FUSE")
	s, err := Mount(dir, &notes{}, Options{Name: "notes", Lock: lock})
	if err != nil {
		missing(t, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	defer func(d time.Duration) { lockPatience = d }(lockPatience)
	lockPatience = 0
	if _, err := Mount(dir+"/../"+filepath.Base(dir), &notes{}, Options{Name: "notes", Lock: lock}); err == nil || !strings.Contains(err.Error(), dir+": is mounted already") {
		t.Errorf("mounted twice: %v", err)
	}
	if err := unix.Access(filepath.Join(dir, "dir", "note"), unix.F_OK); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Close(), <-ended); err != nil {
		t.Error(err)
	}
	lockPatience = time.Minute
	again, err := Mount(dir, &notes{}, Options{Name: "notes", Lock: lock})
	if err != nil {
		t.Fatal(err)
	}
	go again.Serve()
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		if time.Now().After(end) {
			t.Fatal("a process that was killed is still there")
		}
	}
}

// FuzzMessage hands arbitrary messages to a server: none may crash it.
func FuzzMessage(f *testing.F) {
	for op := range uint32(54) {
		b := make([]byte, inHeader+64)
		order.PutUint32(b, uint32(len(b)))
		order.PutUint32(b[4:], op)
		order.PutUint64(b[16:], uint64(op%4))
		order.PutUint64(b[inHeader:], 1)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Server{fs: &notes{}, files: map[uint64]*open{1: {file: 1}, 2: {dir: true}}}
		r, err := parse(b)
		if err != nil {
			return
		}
		for range 2 {
			out, answer, err := s.handle(r)
			if err != nil && out != nil && answer {
				t.Errorf("both an answer and the error %v", err)
			}
			if e := errno(err); e >= 512 {
				t.Errorf("errno %d", e)
			}
		}
		s.end()
	})
}
