package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A storm is a payload whose processes fork, enter a session of their own and end, again and again without pause.
type storm struct {
	t     *testing.T
	dir   string // of its bundle
	alive int    // the other end of a fifo that each of its processes keeps open for writing
	word  []byte // what it is told, in memory that it shares
}

// Words to a storm.
const (
	goOn       = iota
	endPayload // its first process is to end
	endAll     // what mlrun has not ended, when the test is over: it would use up the processes of others
)

const (
	stormEnv  = "MLRUN_TEST_STORM" // "CHAINS FIFO FILE" makes the test binary the first process of one; FILE has the word
	stormLife = time.Minute        // it ends by itself after this long, so that nothing is left of a test that is killed,
	stormEnds = 20 * time.Second   // and mostly in half a second: without privileges mlrun has one part in 41 of the processors to end it with
)

func init() {
	var chains int
	var fifo, file string
	if n, _ := fmt.Sscan(os.Getenv(stormEnv), &chains, &fifo, &file); n < 3 {
		return
	}
	if _, err := unix.Open(fifo, unix.O_WRONLY, 0); err != nil {
		panic(err)
	}
	word, err := shared(file)
	if err != nil {
		panic(err)
	}
	end := time.Now().Add(stormLife)
	chase(chains, end.Unix(), &word[0])
	for word[0] == goOn && time.Now().Before(end) {
		time.Sleep(time.Millisecond)
	}
	os.Exit(0)
}

// shared maps the first page of a file.
func shared(file string) ([]byte, error) {
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

var stormClock unix.Timespec

// chase makes the chains, of processes with one thread that run nothing but this.
//
//go:nosplit
//go:norace
//go:nocheckptr
func chase(chains int, end int64, word *byte) {
	for range chains {
		pid, _, _ := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		for pid == 0 {
			syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
			syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&stormClock)), 0)
			child, _, e := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
			if stormClock.Sec > end || *word == endAll || e == 0 && child != 0 {
				syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
			}
		}
	}
}

// storm makes the bundle of a storm.
func (s *site) storm(chains int) *storm {
	s.t.Helper()
	dir := s.t.TempDir()
	fifo, file := filepath.Join(dir, "fifo"), filepath.Join(dir, "word")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(file, make([]byte, os.Getpagesize()), 0o600); err != nil {
		s.t.Fatal(err)
	}
	word, err := shared(file)
	if err != nil {
		s.t.Fatal(err)
	}
	alive, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	script := fmt.Sprintf(`%s="%d %s %s" exec %s`, stormEnv, chains, fifo, file, exe)
	st := &storm{s.t, s.bundle(script, `,"annotations":{"dev.mlrun.memory.grace":"100ms"}`), alive, word}
	s.t.Cleanup(func() {
		word[0] = endAll
		st.ends(stormLife)
		unix.Close(alive)
		unix.Munmap(word)
	})
	return st
}

// rages waits until it has begun.
func (s *storm) rages() {
	s.t.Helper()
	last := func() int {
		b, _ := os.ReadFile("/proc/loadavg")
		f := strings.Fields(string(b))
		n, _ := strconv.Atoi(f[len(f)-1])
		return n
	}
	eventually(s.t, "it has begun", func() bool {
		_, err := unix.Read(s.alive, make([]byte, 1))
		return err == unix.EAGAIN
	})
	first := last()
	eventually(s.t, "it forks", func() bool { n := last(); return n-first > 500 || n < first })
}

// ends waits until nothing is left of it.
func (s *storm) ends(limit time.Duration) bool {
	for bound := time.Now().Add(limit); time.Now().Before(bound); time.Sleep(time.Millisecond) {
		if n, err := unix.Read(s.alive, make([]byte, 1)); n == 0 && err == nil {
			return true
		}
	}
	return false
}

// calms checks that nothing is left of it soon.
func (s *storm) calms() {
	s.t.Helper()
	if !s.ends(stormEnds) {
		s.t.Errorf("it goes on after %v", stormEnds)
	}
}

// TestForkStorm ends storms in every way that a run can end.
func TestForkStorm(t *testing.T) {
	if portable {
		t.Skip("without a subreaper those who fork faster than they are looked for get away")
	}
	for how, end := range map[string]func(s *site, st *storm, mlrun *exec.Cmd){
		"kill":            func(s *site, _ *storm, _ *exec.Cmd) { s.must("kill", "storm", "KILL") },
		"mlrun is killed": func(_ *site, _ *storm, c *exec.Cmd) { c.Process.Kill() },
		"reaper is killed": func(s *site, _ *storm, _ *exec.Cmd) {
			var pid int
			eventually(s.t, "its pid is known", func() bool { pid = s.state("storm").Pid; return pid != 0 }) // mlrun waits for a processor, too
			unix.Kill(reaperOf(s.t, pid), unix.SIGKILL)
		},
		"payload ends":      func(_ *site, st *storm, _ *exec.Cmd) { st.word[0] = endPayload },
		"delete":            func(s *site, _ *storm, _ *exec.Cmd) { s.must("delete", "--force", "storm") },
		"mlrun has to stop": func(_ *site, _ *storm, c *exec.Cmd) { c.Process.Signal(unix.SIGTERM) },
	} {
		t.Run(how, func(t *testing.T) {
			s := newSite(t)
			st := s.storm(40)
			c := s.command("run", "--id", "storm", st.dir)
			c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			st.rages()
			end(s, st, c)
			st.calms()
			c.Wait()
		})
	}
}
