package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mlrun/admission"
	"mlrun/internal/asnobody"
	"mlrun/proc"
	"mlrun/runtime"
)

const (
	gatedEach = 8 // static programs, and as many dynamic ones

	shortOfMemory = 50_000  // kB of 1,000,000 that are available,
	roomForOne    = 350_000 // and where a tenth is to stay free, and each and the driver reserve 100 MiB
	staticSource  = "package main\n\nimport \"os\"\n\nfunc main() {\n\tf, err := os.Create(os.Args[1])\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\tf.Close()\n}\n"
	gatedWait     = 60 * time.Second
)

// gatedSite is a directory with a make file for static and dynamic programs, each of which leaves a file, on a host whose memory the test says.
type gatedSite struct {
	t        *testing.T
	dir      string
	uid      int
	programs []string
}

func newGatedSite(t *testing.T, uid int) *gatedSite {
	t.Helper()
	s := &gatedSite{t: t, dir: t.TempDir(), uid: uid}
	for dir := s.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o777) // whose owner we are
	}
	source, static := filepath.Join(t.TempDir(), "main.go"), s.path("static")
	s.write(source, staticSource)
	build := exec.Command("go", "build", "-o", static, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	touch, err := exec.LookPath("touch")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.copy(self, "mlrun")
	for i := range 2 * gatedEach {
		name, from := "static"+strconv.Itoa(i), static
		if i%2 == 1 {
			name, from = "dynamic"+strconv.Itoa(i), touch
		}
		s.copy(from, name)
		s.programs = append(s.programs, name)
	}
	for _, dir := range []string{"out", "run", "host"} {
		if err := os.Mkdir(s.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(s.path(dir), uid, -1); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *gatedSite) path(name string) string { return filepath.Join(s.dir, name) }

func (s *gatedSite) write(path, text string) {
	s.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *gatedSite) copy(from, name string) {
	s.t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(s.path(name), b, 0o755)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// available says how many kB of memory the host has left.
func (s *gatedSite) available(kb int) {
	s.t.Helper()
	s.write(s.path("host/new"), fmt.Sprintf("MemTotal: 1000000 kB\nMemAvailable: %d kB\n", kb))
	if err := os.Rename(s.path("host/new"), s.path("host/meminfo")); err != nil {
		s.t.Fatal(err)
	}
	_ = os.Chmod(s.path("host"), 0o755)
}

// start runs mlrun admit --tree as the user. lines is what it says.
func (s *gatedSite) start(args ...string) (cmd *exec.Cmd, lines func() string) {
	s.t.Helper()
	cmd = exec.Command(s.path("mlrun"), append([]string{"admit", "--tree", "--verbose", "--reserve", "100M", "--report", "out/verdict"}, args...)...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+s.path("run"), admission.TestRoot+"="+s.path("host"))
	if s.uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.uid)}}
	}
	log, err := os.Create(filepath.Join(s.t.TempDir(), "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { log.Close() })
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return cmd, func() string {
		b, _ := io.ReadAll(io.NewSectionReader(log, 0, 1<<20))
		return string(b)
	}
}

func (s *gatedSite) until(what string, lines func() string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(gatedWait); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s: not within %v\n%s", what, gatedWait, lines())
		}
	}
}

// ran lists the programs that have run, and when.
func (s *gatedSite) ran() (when []time.Time) {
	for _, name := range s.programs {
		if info, err := os.Stat(s.path("out/" + name)); err == nil {
			when = append(when, info.ModTime())
		}
	}
	return when
}

// users are those that the tests run mlrun as.
func users() []int {
	if os.Getuid() == 0 {
		return []int{0, asnobody.ID}
	}
	return []int{os.Getuid()}
}

// drivers start all programs. Both read what to do from a fifo, without executing anything for it.
var drivers = []struct {
	name string
	args []string
	rule string // for one program
	all  int    // how many wait at once: make forks the next one when the one before has executed its program (vfork(2))
}{
	{"make", []string{"make", "-j8", "-s", "-f", "out/fifo"}, "all:: out/%[1]s\nout/%[1]s: ; @./%[1]s out/%[1]s\n", 1},
	{"sh", []string{"sh", "-c", ". out/fifo; wait"}, "./%[1]s out/%[1]s &\n", 2 * gatedEach},
}

// driven starts a driver where there is memory, and lets it go on when there is none.
func (s *gatedSite) driven(driver int) (cmd *exec.Cmd, lines func() string) {
	s.t.Helper()
	d := &drivers[driver]
	fifo := s.path("out/fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chown(fifo, s.uid, -1); err != nil {
		s.t.Fatal(err)
	}
	s.available(900_000)
	cmd, lines = s.start(append([]string{"10%", "--"}, d.args...)...)
	f, err := os.OpenFile(fifo, os.O_WRONLY, 0) // which returns when it reads
	if err != nil {
		s.t.Fatal(err)
	}
	s.available(shortOfMemory)
	for _, name := range s.programs {
		fmt.Fprintf(f, d.rule, name)
	}
	f.Close()
	s.until("its programs wait", lines, func() bool { return strings.Contains(lines(), fmt.Sprintf("; %d waiting", d.all)) })
	return cmd, lines
}

// Of static and dynamic programs none runs while memory is short. When it is back they are released one by one.
func TestExecGatePrograms(t *testing.T) {
	for _, uid := range users() {
		for driver, d := range drivers {
			t.Run(d.name+" of "+strconv.Itoa(uid), func(t *testing.T) {
				s := newGatedSite(t, uid)
				cmd, lines := s.driven(driver)
				none := time.Now().Add(300 * time.Millisecond)
				s.until("a while", lines, func() bool { return time.Now().After(none) })
				if n := len(s.ran()); n > 0 {
					t.Fatalf("%d programs ran without memory\n%s", n, lines())
				}
				s.available(roomForOne)
				if err := cmd.Wait(); err != nil {
					t.Fatalf("%v\n%s", err, lines())
				}
				when := s.ran()
				// One that make forks when the one before has ended already need not wait.
				held := strings.Count(lines(), "hold:")
				if len(when) != 2*gatedEach || held < d.all || strings.Count(lines(), "release:") != held {
					t.Fatalf("%d of %d ran, %d of them were held\n%s", len(when), 2*gatedEach, held, lines())
				}
				// Each is seen to have ended before the next one gets what was reserved for it.
				first, last := slices.MinFunc(when, time.Time.Compare), slices.MaxFunc(when, time.Time.Compare)
				if took := last.Sub(first); took < gatedEach*40*time.Millisecond {
					t.Errorf("all released within %v", took)
				}
				s.account(int64(held), 0)
			})
		}
	}
}

// account checks what the verdict says of the gate.
func (s *gatedSite) account(held, forced int64) {
	s.t.Helper()
	b, err := os.ReadFile(s.path("out/verdict"))
	if err != nil {
		s.t.Fatal(err)
	}
	var v runtime.Verdict
	if err := json.Unmarshal(b, &v); err != nil {
		s.t.Fatal(err)
	}
	g := v.ExecGate
	if g == nil || g.Held != held || g.Forced != forced || g.Execs <= held || g.LongestUS <= 0 || g.WaitedUS < g.LongestUS {
		s.t.Errorf("the verdict has %+v, want %d held and %d forced", g, held, forced)
	}
}

// When mlrun is killed, what waits does not run, and everything is ended.
func TestExecGateKilled(t *testing.T) {
	s := newGatedSite(t, os.Getuid())
	cmd, lines := s.driven(1)
	waiting := regexp.MustCompile(`hold: process (\d+)`).FindAllStringSubmatch(lines(), -1)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for _, m := range waiting {
		pid, _ := strconv.Atoi(m[1])
		s.until("process "+m[1]+" ends", lines, func() bool {
			st, err := proc.Root.Stat(pid)
			return err != nil || st.Ended()
		})
	}
	s.available(900_000)
	if n := len(s.ran()); n > 0 || len(waiting) != 2*gatedEach {
		t.Errorf("%d of %d ran\n%s", n, len(waiting), lines())
	}
	// The line is free.
	if out, err := exec.Command(s.path("mlrun"), "--root", s.path("run/mlrun"), "admit", "--timeout", "30s", "1%", "--", "true").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
