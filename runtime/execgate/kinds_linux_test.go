package execgate

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// modeEnv makes the test binary, a static program, do something else.
const modeEnv = "MLRUN_EXECGATE_MODE"

// mode carries it out.
func mode(name string) {
	arg := os.Getenv(modeEnv + "_ARG")
	switch name {
	case "note": // that it ran
		f, err := os.OpenFile(arg, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
		if err != nil {
			panic(err)
		}
		_, _ = f.WriteString(name + " " + strconv.Itoa(os.Getuid()) + " " + strconv.Itoa(os.Geteuid()) + "\n")
	case "thread": // executes a program from another thread than the first one
		elsewhere := func() {
			runtime.LockOSThread()
			_ = syscall.Exec("/bin/sleep", []string{"sleep", arg}, nil)
		}
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() != os.Getpid() {
				elsewhere()
			}
			go elsewhere() // while this one keeps the first thread
			select {}
		}()
		select {}
	case "execveat":
		fd, err := unix.Open("/bin/echo", unix.O_RDONLY, 0)
		if err != nil {
			panic(err)
		}
		empty, argv, envv := []byte{0}, []*byte{unsafe.StringData("echo\x00"), unsafe.StringData("out\x00"), nil}, []*byte{nil}
		_, _, e := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])), uintptr(unsafe.Pointer(&argv[0])),
			uintptr(unsafe.Pointer(&envv[0])), unix.AT_EMPTY_PATH, 0)
		panic(e)
	case "x32": // the kernel tells of a call before it looks whether it has it
		path := []byte("/nowhere\x00")
		_, _, e := unix.RawSyscall(1<<30|520, uintptr(unsafe.Pointer(&path[0])), 0, 0)
		_, _ = os.Stdout.WriteString(e.Error() + "\n")
	}
}

// setuid makes the command a copy of a program that is set-user-ID: of root, or of somebody else when that is who tests.
func (s *scene) setuid(program string) string {
	s.t.Helper()
	b, err := os.ReadFile(program)
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.dir, "setuid-"+filepath.Base(program))
	if err := os.WriteFile(path, b, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(path, 12345, 12345); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o755|os.ModeSetuid); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// Programs of all kinds wait, and none of them runs before it is let in.
func TestKinds(t *testing.T) {
	s := newScene(t, Config{}, 0)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(s.dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho script >>ran\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	note := modeEnv + "=note " + modeEnv + "_ARG=ran; export " + modeEnv + " " + modeEnv + "_ARG"
	commands := []string{
		"/bin/echo dynamic >>ran",
		"/bin/sh " + script,
		script, // its interpreter is executed by the kernel, within the same call
		s.setuid("/bin/true"),
	}
	p, run := s.shell()
	for i, c := range commands {
		run(c)
		s.waiting(i + 1)
	}
	p2 := s.start(note + "; " + self + "; " + s.setuid(self))
	s.waiting(len(commands) + 1)
	if got := s.lines("ran"); len(got) > 0 {
		t.Errorf("%q ran", got)
	}
	run("")
	s.room.set(1 << 40)
	s.end(p)
	if st := s.end(p2); st.ExitStatus() != 0 {
		t.Errorf("status %#x", uint32(st))
	}
	b, _ := os.ReadFile(filepath.Join(s.dir, "ran"))
	uid := strconv.Itoa(os.Getuid())
	// The set-user-ID program is still that of its caller: no_new_privs.
	for _, want := range []string{"dynamic\n", "script\n", "note " + uid + " " + uid + "\n"} {
		if n := strings.Count(string(b), want); n == 0 || want != "dynamic\n" && n != 2 {
			t.Errorf("%q: %d times in %q", want, n, b)
		}
	}
	if got := s.gate.Stats(); got.Held < int64(len(commands))+1 {
		t.Errorf("%+v", got)
	}
}

// helper runs the test binary below the gate.
func (s *scene) helper(name, arg string) string {
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	return modeEnv + "=" + name + " " + modeEnv + "_ARG=" + arg + " exec " + self
}

func TestExecveat(t *testing.T) {
	s := newScene(t, Config{}, 1)
	if st := s.end(s.start(s.helper("execveat", "") + " >out")); st.ExitStatus() != 0 {
		t.Fatalf("status %#x", uint32(st))
	}
	if got := s.lines("out"); len(got) != 1 || got[0] != "out" || s.gate.Stats().Execs < 3 {
		t.Errorf("%q, %+v", got, s.gate.Stats())
	}
}

// A pledge is the process's, whichever of its threads executes the program.
func TestThread(t *testing.T) {
	s := newScene(t, Config{Reserve: 1 << 30}, 1<<32)
	p := s.start(s.helper("thread", "1000"))
	s.until("it runs", func() bool {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/comm")
		return string(b) == "sleep\n"
	})
	looks := time.Now().Add(3 * sweepEvery)
	s.until("a while", func() bool { return time.Now().After(looks) })
	if pledged := s.room.pledged(); pledged < 1<<29 || pledged > 1<<30 {
		t.Errorf("%d bytes are pledged", pledged)
	}
	p.KillAll()
	s.end(p)
	s.until("nothing is pledged", func() bool { return s.room.pledged() == 0 })
}

// The calls of the other architectures of the machine are told of, too.
func TestX32(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("there is no x32 on " + runtime.GOARCH)
	}
	s := newScene(t, Config{}, 1)
	p := s.start("true; " + s.helper("x32", "") + " >out")
	s.end(p)
	// sh itself and the helper, and the call: whatever the kernel says to it.
	if st := s.gate.Stats(); st.Execs < 3 || len(s.lines("out")) == 0 {
		t.Errorf("%+v, %q", st, s.lines("out"))
	}
}

func Test386(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("there is no i386 on " + runtime.GOARCH)
	}
	s := newScene(t, Config{}, 1)
	source, program := filepath.Join(s.dir, "main.go"), filepath.Join(s.dir, "program")
	const text = `package main; import "syscall"; func main() { panic(syscall.Exec("/bin/echo", []string{"echo", "out"}, nil)) }`
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", program, source)
	build.Env = append(os.Environ(), "GOARCH=386", "CGO_ENABLED=0", "GOCACHE="+filepath.Join(s.dir, "cache"))
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("no program of 32 bits: %v: %s", err, out)
	}
	if err := exec.Command(program).Run(); err != nil {
		t.Skipf("this kernel runs no programs of 32 bits: %v", err)
	}
	before := s.gate.Stats().Execs
	s.end(s.start("exec " + program + " >out"))
	if got := s.gate.Stats().Execs - before; got < 3 || len(s.lines("out")) != 1 {
		t.Errorf("%d execs, %q", got, s.lines("out"))
	}
}
