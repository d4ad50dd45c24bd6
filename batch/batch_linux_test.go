package batch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mlrun/internal/asnobody"
	"mlrun/proc"
	"mlrun/runtime/launch"
)

// This binary is also the program that Run starts for each job.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == WorkerArg {
		if err := Work(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const patience = time.Minute

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// open is a gate through which everybody goes.
type open struct{}

func (open) Admit(context.Context, Claim, func()) (Ticket, error) { return nil, nil }

// verdicts is an output.
type verdicts struct {
	mu   sync.Mutex
	text bytes.Buffer
	fail error
}

func (v *verdicts) Write(b []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fail != nil {
		return 0, v.fail
	}
	return v.text.Write(b)
}

func (v *verdicts) String() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.text.String()
}

// line is what the tests want to know of a line of the output.
type line struct {
	Head
	Version  int
	ID       string
	Reason   string
	Error    string
	ExitCode int
	Memory   struct{ Limit, Peak int64 }
}

func (v *verdicts) lines(t *testing.T) (list []line) {
	t.Helper()
	for text := range strings.Lines(v.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil || l.Version != 1 || l.ID != l.Job || !strings.HasSuffix(text, "}\n") {
			t.Fatalf("%q: %v", text, err)
		}
		list = append(list, l)
	}
	return list
}

// finals are the final verdicts by job; there is one for each.
func (v *verdicts) finals(t *testing.T) map[string]line {
	t.Helper()
	m := map[string]line{}
	for _, l := range v.lines(t) {
		if _, twice := m[l.Job]; twice && l.Final {
			t.Errorf("%s has two final verdicts", l.Job)
		}
		if l.Final {
			m[l.Job] = l
		}
	}
	return m
}

// scene is a batch of a test.
type scene struct {
	t    *testing.T
	cfg  Config
	out  *verdicts
	dir  string
	ints chan os.Signal
}

func newScene(t *testing.T, list string) *scene {
	s := &scene{t: t, out: &verdicts{}, dir: t.TempDir(), ints: make(chan os.Signal, 4)}
	s.cfg = Config{
		Source: strings.NewReader(list), Total: -1, Policy: Policy{Budget: 256 << 20, Jobs: 4, Grow: 2, Max: 256 << 20}, Grace: 5 * time.Second,
		Gate: open{}, Output: s.out, Interrupts: s.ints,
	}
	return s
}

func (s *scene) run(log *Log) (Summary, error) {
	if s.cfg.List == nil {
		s.cfg.List = NewList(s.cfg.Policy, s.dir, log, nil)
	}
	sum, err := Run(s.cfg)
	s.nothingLeft()
	return sum, err
}

// nothingLeft checks that no process is left that works in the directory of the scene.
func (s *scene) nothingLeft() {
	s.t.Helper()
	eventually(s.t, "nothing is left", func() bool { return len(s.processes()) == 0 })
}

func (s *scene) processes() (list []int) {
	pids, err := proc.Root.PIDs()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, pid := range pids {
		if wd, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd"); err == nil && strings.HasPrefix(wd, s.dir) {
			list = append(list, pid)
		}
	}
	return list
}

func (s *scene) await(file string) {
	s.t.Helper()
	eventually(s.t, file+" is there", func() bool {
		b, err := os.ReadFile(filepath.Join(s.dir, file))
		return err == nil && len(b) > 0
	})
}

func TestRun(t *testing.T) {
	s := newScene(t, `{"id":"ok","args":["sh","-c","echo $X $PWD; echo err >&2"],"env":["X=1"],"cwd":".","stdout":"out","stderr":"err"}
{"id":"three","args":["sh","-c","exit 3"],"memory":"64M"}

{"args":["no-such-program"]}
{"id":"dir","args":["true"],"cwd":"no/such"}
{"id":"file","args":["true"],"stdout":"no/such"}
{"id":"late","args":["sleep","100"],"cwd":".","timeout":"50ms"}
{"id":"both","args":["sh","-c","echo a; echo b >&2"],"stdout":"both","stderr":"both"}
`)
	peaks := map[string]int64{}
	s.cfg.Record = func(program string, peak int64) { peaks[program] = max(peaks[program], peak) }
	sum, err := s.run(nil)
	if err != nil || sum.Succeeded != 2 || sum.Failed != 5 || sum.NotRun || sum.Killed != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
	for id, want := range map[string]struct {
		reason string
		code   int
		line   int
		by     Basis
	}{
		"ok": {"exited", 0, 1, ByShare}, "three": {"exited", 3, 2, ByMemory}, "line-4": {"launch-failed", 127, 4, ByShare},
		"dir": {"launch-failed", 1, 5, ByShare}, "file": {"launch-failed", 1, 6, ByShare}, "late": {"wall-limit", 137, 7, ByShare}, "both": {"exited", 0, 8, ByShare},
	} {
		l := s.out.finals(t)[id]
		if l.Reason != want.reason || l.ExitCode != want.code || l.Line != want.line || l.LimitBy != want.by || l.Attempt != 1 || len(l.Spec) != 16 {
			t.Errorf("%s: %+v, want %+v", id, l, want)
		}
		if l.Memory.Limit != l.Reserved || l.Reserved != 64<<20 {
			t.Errorf("%s: limit %d, reserved %d", id, l.Memory.Limit, l.Reserved)
		}
		if (l.Error != "") != (want.reason == "launch-failed") {
			t.Errorf("%s: error %q", id, l.Error)
		}
	}
	for file, want := range map[string]string{"out": "1 " + s.dir + "\n", "err": "err\n", "both": "a\nb\n"} {
		if b, err := os.ReadFile(filepath.Join(s.dir, file)); string(b) != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", file, b, err, want)
		}
	}
	if peaks["sh"] <= 0 || peaks["no-such-program"] != 0 {
		t.Errorf("recorded: %v", peaks)
	}
}

const hungry = `"args":["sh","-c","head -c 100M /dev/zero | tail -c 100M | wc -c >&2"],"stderr":"count"`

func TestRetry(t *testing.T) {
	s := newScene(t, `{"id":"grows","memory":"16M","retries":4,`+hungry+`}
{"id":"gives-up","memory":"16M","retries":1,`+hungry+`}
{"id":"not-at-all","memory":"16M",`+hungry+`}
{"id":"other","args":["sh","-c","exit 1"],"memory":"16M","retries":3}
{"id":"reserved","memory":"16M","reservation":"40M","retries":2,`+hungry+`}
`)
	s.cfg.Policy.Max = 200 << 20
	sum, err := s.run(nil)
	if err != nil || sum.Succeeded != 1 || sum.Failed != 4 || sum.Repeated != 6 {
		t.Errorf("%+v, %v", sum, err)
	}
	got := map[string][]string{}
	for _, l := range s.out.lines(t) {
		got[l.Job] = append(got[l.Job], fmt.Sprintf("%d %v %s %d %d", l.Attempt, l.Final, l.Reason, l.Memory.Limit>>20, l.Reserved>>20))
	}
	for id, want := range map[string][]string{
		"grows":      {"1 false memory-limit 16 16", "2 false memory-limit 32 32", "3 false memory-limit 64 64", "4 true exited 128 128"},
		"gives-up":   {"1 false memory-limit 16 16", "2 true memory-limit 32 32"},
		"not-at-all": {"1 true memory-limit 16 16"},
		"other":      {"1 true exited 16 16"},
		"reserved":   {"1 false memory-limit 16 40", "2 false memory-limit 32 40", "3 true memory-limit 64 64"},
	} {
		if !slices.Equal(got[id], want) {
			t.Errorf("%s: %q, want %q", id, got[id], want)
		}
	}
}

// waiting is a job that says that it runs and waits; with a handler for SIGTERM.
func waiting(id, trap string) string {
	return fmt.Sprintf(`{"id":%q,"args":["sh","-c","trap %s TERM; setsid sleep 1000 & echo $$ >%s.pid; while :; do sleep 0.01; done"],"cwd":".","memory":"32M"}`+"\n", id, trap, id)
}

func TestInterrupt(t *testing.T) {
	s := newScene(t, waiting("default", "-")+waiting("polite", "'exit 0'")+waiting("stubborn", "''")+waiting("fourth", "-")+
		`{"id":"never","args":["touch","never"],"cwd":"."}`)
	s.cfg.Grace = 200 * time.Millisecond
	s.cfg.Policy.Jobs = 4
	go func() {
		for _, id := range []string{"default", "polite", "stubborn", "fourth"} {
			s.await(id + ".pid")
		}
		s.ints <- syscall.SIGTERM
	}()
	sum, err := s.run(nil)
	if err != nil || sum.Killed != 4 || sum.Succeeded+sum.Failed != 0 || sum.Signal != syscall.SIGTERM || !sum.NotRun {
		t.Errorf("%+v, %v", sum, err)
	}
	codes := map[string]int{"default": 143, "fourth": 143, "polite": 0, "stubborn": 137}
	finals := s.out.finals(t)
	for id, code := range codes {
		if l := finals[id]; l.Reason != "killed" || l.ExitCode != code {
			t.Errorf("%s: %+v", id, l)
		}
	}
	if len(finals) != len(codes) {
		t.Errorf("%d verdicts", len(finals))
	}
}

func TestSecondInterrupt(t *testing.T) {
	s := newScene(t, waiting("stubborn", "''"))
	s.cfg.Grace = time.Hour
	go func() {
		s.await("stubborn.pid")
		s.ints <- syscall.SIGINT
		s.ints <- syscall.SIGINT
	}()
	sum, err := s.run(nil)
	if l := s.out.finals(t)["stubborn"]; err != nil || sum.Killed != 1 || l.Reason != "killed" || l.ExitCode != 137 {
		t.Errorf("%+v, %v: %+v", sum, err, l)
	}
}

func TestFailFast(t *testing.T) {
	s := newScene(t, waiting("long", "-")+`{"id":"fails","args":["sh","-c","while ! test -s long.pid; do sleep 0.01; done; exit 1"],"cwd":"."}`)
	s.cfg.FailFast = true
	sum, err := s.run(nil)
	if f := s.out.finals(t); err != nil || sum.Failed != 1 || sum.Killed != 1 || f["long"].Reason != "killed" || f["fails"].ExitCode != 1 {
		t.Errorf("%+v, %v: %+v", sum, err, f)
	}
}

func TestOutputFails(t *testing.T) {
	s := newScene(t, waiting("long", "-")+`{"id":"first","args":["sh","-c","while ! test -s long.pid; do sleep 0.01; done"],"cwd":"."}`)
	s.out.fail = syscall.EPIPE
	sum, err := s.run(nil)
	if !errors.Is(err, syscall.EPIPE) || sum.Killed != 1 || sum.Succeeded != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	// Of the last verdict, too.
	s = newScene(t, `{"args":["true"]}`)
	s.out.fail = syscall.ENOSPC
	if _, err := s.run(nil); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
}

// TestLost kills the process that supervises a job, and the reaper of the job with it.
func TestLost(t *testing.T) {
	for _, both := range []bool{false, true} {
		t.Run(fmt.Sprint("both ", both), func(t *testing.T) {
			if both && !launch.Adopts {
				t.Skip("the parent of the job is its worker")
			}
			s := newScene(t, waiting("lost", "''")+waiting("other", "-"))
			var worker, reaper proc.ID
			go func() {
				s.await("lost.pid")
				b, _ := os.ReadFile(filepath.Join(s.dir, "lost.pid"))
				pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
				st, _ := proc.Root.Stat(pid)
				up, _ := proc.Root.Stat(st.PPID)
				worker = up.ID()
				if launch.Adopts {
					top, _ := proc.Root.Stat(up.PPID)
					reaper, worker = up.ID(), top.ID()
				}
				if both {
					syscall.Kill(worker.PID, syscall.SIGSTOP) // it must not see the end of its reaper
					syscall.Kill(reaper.PID, syscall.SIGKILL)
				}
				syscall.Kill(worker.PID, syscall.SIGKILL)
				eventually(t, "the job is lost", func() bool { return strings.Contains(s.out.String(), `"lost"`) })
				if left := s.left(); left > 0 {
					t.Errorf("%d processes of the job are left when its verdict is there", left)
				}
				s.ints <- syscall.SIGTERM
			}()
			sum, err := s.run(nil)
			if f := s.out.finals(t); err != nil || sum.Failed != 1 || sum.Killed != 1 || f["lost"].Reason != "lost" || f["lost"].Error == "" {
				t.Errorf("%+v, %v: %+v", sum, err, f)
			}
		})
	}
}

// left are the processes of the job that was lost.
func (s *scene) left() (n int) {
	for _, pid := range s.processes() {
		if b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ"); bytes.Contains(b, []byte("LOST=1")) {
			n++
		}
	}
	return n
}

// TestResume ends a batch at several moments and goes on with what its output says, until all is done. Each job has one final verdict that counts.
func TestResume(t *testing.T) {
	const jobs = 40
	var list strings.Builder
	for i := range jobs {
		fmt.Fprintf(&list, `{"id":"j%d","args":["sh","-c","sleep 0.0%d; exit %d"]}`+"\n", i, 1+i%3, i%2)
	}
	var log string
	rounds := 0
	for done := 0; done < jobs; rounds++ {
		if rounds > 200 {
			t.Fatal("it does not come to an end")
		}
		s := newScene(t, list.String())
		l, err := ReadLog(strings.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(30+20*rounds)*time.Millisecond, func() { s.ints <- syscall.SIGTERM; s.ints <- syscall.SIGTERM })
		if _, err := s.run(l); err != nil {
			t.Fatal(err)
		}
		timer.Stop()
		text := s.out.String()
		if rounds%2 == 1 && len(text) > 10 {
			text = text[:len(text)-10] + "\n" // torn, and mended by the next writer
		}
		log += text
		counted := map[string]int{}
		for line := range strings.Lines(log) {
			var v struct {
				Job, Reason string
				Final       bool
			}
			if json.Unmarshal([]byte(line), &v) == nil && v.Final && v.Reason != "killed" {
				counted[v.Job]++
			}
		}
		for id, n := range counted {
			if n != 1 {
				t.Fatalf("%s has %d final verdicts", id, n)
			}
		}
		done = len(counted)
	}
	if rounds < 2 {
		t.Errorf("only %d rounds", rounds)
	}
	s := newScene(t, list.String())
	l, _ := ReadLog(strings.NewReader(log))
	if sum, err := s.run(l); err != nil || sum.Done != jobs || sum.Lost != jobs/2 || s.out.String() != "" {
		t.Errorf("%+v, %v: %s", sum, err, s.out)
	}
}

// TestStream starts jobs while the list goes on, and passes over what is no job.
func TestStream(t *testing.T) {
	s := newScene(t, "")
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	s.cfg.Source = rd
	var invalid []Problem
	s.cfg.Invalid = func(p Problem) { invalid = append(invalid, p) }
	go func() {
		defer wr.Close()
		fmt.Fprintln(wr, `{"id":"a","args":["sh","-c","echo >a"],"cwd":"."}`)
		s.await("a") // it runs before there is more
		fmt.Fprintf(wr, "{\"id\":\"b\",\"arg\":1}\n{\"id\":\"a\",\"args\":[\"true\"]}\n{\"id\":\"c\",\"args\":[\"true\"]}")
	}()
	sum, err := s.run(nil)
	f := s.out.finals(t)
	if err != nil || sum.Succeeded != 2 || sum.Failed != 2 || sum.Invalid != 2 || len(f) != 4 || len(invalid) != 3 {
		t.Errorf("%+v, %v: %+v %v", sum, err, f, invalid)
	}
	for _, n := range []int{2, 3} {
		if l := f[lineID(n)]; l.Reason != "invalid" || l.Line != n || l.ExitCode != 2 || l.Error == "" {
			t.Errorf("line %d: %+v", n, l)
		}
	}
}

// many is a list that is made while it is read.
type many struct{ left, at int }

func (m *many) Read(b []byte) (int, error) {
	const text = `{"args":["true"],"memory":"1M"}` + "\n"
	n := 0
	for n < len(b) {
		if m.at == 0 && m.left == 0 {
			return n, endOf(n)
		}
		k := copy(b[n:], text[m.at:])
		n += k
		if m.at = (m.at + k) % len(text); m.at == 0 {
			m.left--
		}
	}
	return n, nil
}

func endOf(n int) error {
	if n > 0 {
		return nil
	}
	return io.EOF
}

// TestManyLines reads many jobs twice, and holds a few of them at a time.
func TestManyLines(t *testing.T) {
	const jobs = 100_000
	l := NewList(Policy{Budget: 1 << 30, Jobs: 4, Grow: 2, Max: 1 << 30}, "/", nil, nil)
	c, err := l.Check(&many{left: jobs})
	if err != nil || c.Jobs != jobs {
		t.Fatalf("%+v, %v", c, err)
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	ints := make(chan os.Signal, 2)
	seen := false
	_, err = Run(Config{
		List: l, Source: &many{left: jobs}, Total: jobs, Policy: l.policy, Gate: shut{}, Output: &verdicts{}, Interrupts: ints,
		ProgressEvery: 10 * time.Millisecond,
		Progress: func(p Progress) {
			if !seen && p.Held == 4 {
				seen = true
				if used := heap() - before; used > 8<<20 {
					t.Errorf("%d bytes for a list that waits", used)
				}
				ints <- syscall.SIGTERM
			}
		},
	})
	if err != nil || !seen {
		t.Errorf("%v, %v", err, seen)
	}
}

// shut is a gate through which nobody goes.
type shut struct{}

func (shut) Admit(ctx context.Context, _ Claim, held func()) (Ticket, error) {
	held()
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// TestSlowReader lets nobody read the output: nothing is started then beyond what fits, and an impatient user gets away.
func TestSlowReader(t *testing.T) {
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	defer wr.Close()
	s := newScene(t, "")
	s.cfg.Source, s.cfg.Output = &many{left: 1000}, wr
	var last Progress
	s.cfg.ProgressEvery = 10 * time.Millisecond
	same := 0
	s.cfg.Progress = func(p Progress) {
		if same++; p.Done != last.Done || p.Running > 0 {
			same = 0
		}
		if last = p; same == 30 {
			s.ints <- syscall.SIGINT
			s.ints <- syscall.SIGINT
		}
	}
	if _, err := s.run(nil); err == nil || last.Done < backlog || last.Done > 300 {
		t.Errorf("%v: %+v", err, last)
	}
}

func TestAsNobody(t *testing.T) {
	asnobody.Run(t, "^(TestRun|TestRetry|TestInterrupt|TestSecondInterrupt|TestFailFast|TestOutputFails|TestLost|TestResume|TestStream)$")
}
