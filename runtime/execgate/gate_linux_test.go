package execgate

import (
	"context"
	"errors"
	"fmt"
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

	"golang.org/x/sys/unix"

	"mlrun/internal/asnobody"
	"mlrun/runtime/launch"
	"mlrun/runtime/seccomp"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(modeEnv); name != "" {
		mode(name)
		return
	}
	if err := errors.Join(launch.CloseOnExec(), launch.BecomeSubreaper()); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// room is a Room of a number of bytes, which the test changes. Pledges are void after a time.
type room struct {
	mu      sync.Mutex
	last    time.Duration
	free    int64
	tickets map[*pass]bool
	changed chan struct{}
}

// pass is a ticket of a room.
type pass struct {
	r           *room
	bytes, used int64
	until       time.Time
}

func newRoom(free int64) *room {
	return &room{last: time.Hour, free: free, tickets: map[*pass]bool{}, changed: make(chan struct{})}
}

func (r *room) set(free int64) {
	r.change(func() { r.free = free })
}

func (r *room) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (p *pass) open() int64 {
	if time.Now().After(p.until) {
		return 0
	}
	return max(p.bytes-p.used, 0)
}

func (p *pass) Used(n int64)       { p.r.change(func() { p.used = max(p.used, n) }) }
func (p *pass) Release()           { p.r.change(func() { delete(p.r.tickets, p) }) }
func (p *pass) Outstanding() int64 { p.r.mu.Lock(); defer p.r.mu.Unlock(); return p.open() }

func (r *room) pledged() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sum()
}

// sum is called with the lock held.
func (r *room) sum() (sum int64) {
	for p := range r.tickets {
		sum += p.open()
	}
	return sum
}

func (r *room) Enter(now time.Time, need int64) (Ticket, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.free <= 0 || r.sum()+need > r.free {
		return nil, false
	}
	if need == 0 {
		return nil, true
	}
	p := &pass{r: r, bytes: need, until: now.Add(r.last)}
	r.tickets[p] = true
	return p, true
}

func (r *room) Wait(ctx context.Context, need int64) (Ticket, error) {
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if t, ok := r.Enter(time.Now(), need); ok {
			return t, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// scene is a gate, what it told, and the processes below it.
type scene struct {
	t    *testing.T
	gate *Gate
	room *room
	dir  string // that every user may write to

	mu      sync.Mutex
	notices []Notice
}

func newScene(t *testing.T, c Config, free int64) *scene {
	t.Helper()
	s := &scene{t: t, room: newRoom(free), dir: filepath.Join(t.TempDir(), "d")}
	for _, dir := range []string{s.dir, filepath.Dir(s.dir), filepath.Dir(filepath.Dir(s.dir))} {
		_ = os.MkdirAll(dir, 0o777)
		_ = os.Chmod(dir, 0o777)
	}
	c.Room = s.room
	c.Held = func(n Notice) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.notices = append(s.notices, n)
	}
	c.Broken = func(err error) { t.Errorf("broken: %v", err) }
	var err error
	if s.gate, err = New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.gate.Close)
	return s
}

// config is a process below the gate.
func (s *scene) config(args ...string) *launch.Config {
	s.t.Helper()
	f, err := seccomp.Notify(runtime.GOARCH, Calls...)
	if err != nil {
		s.t.Skip(err)
	}
	c := &launch.Config{
		Args: args, Path: "/usr/local/bin:/usr/bin:/bin", Dir: s.dir, Env: os.Environ(), Terminal: -1, NoNewPrivileges: true,
		Seccomp: &launch.Seccomp{Flags: f.Flags, Listener: func(pid, fd int) error {
			s.gate.Listen(fd, pid)
			return nil
		}},
	}
	for _, i := range f.Program {
		c.Seccomp.Program = append(c.Seccomp.Program, launch.Instruction(i))
	}
	return c
}

// start runs a shell script below the gate, whose own exec passes.
func (s *scene) start(script string) *launch.Process {
	s.t.Helper()
	p, err := launch.Start(s.config("sh", "-c", script))
	if err == nil {
		err = p.Exec()
		s.gate.Passed(p.PID)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// end waits for the end of a process and everything below it.
func (s *scene) end(p *launch.Process) syscall.WaitStatus {
	s.t.Helper()
	var status syscall.WaitStatus
	for {
		e, err := p.Next()
		if err != nil {
			s.t.Fatal(err)
		}
		switch e.Kind {
		case launch.Exited:
			status = e.Status
			p.Reap()
		case launch.Done:
			p.Wait()
			p.Close()
			return status
		}
	}
}

// until waits for a condition.
func (s *scene) until(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s: not within a minute; %+v, %+v", what, s.gate.Stats(), s.notices)
		}
	}
}

func (s *scene) waiting(n int) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d wait", n), func() bool { return s.gate.Stats().Waiting == n })
}

// lines are those of a file in the scene's directory.
func (s *scene) lines(name string) []string {
	b, _ := os.ReadFile(filepath.Join(s.dir, name))
	return strings.Fields(string(b))
}

// shell runs commands that the test sends, one line each, in the background of a shell below the gate.
func (s *scene) shell() (p *launch.Process, run func(command string)) {
	s.t.Helper()
	fifo := filepath.Join(s.dir, "commands")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		s.t.Fatal(err)
	}
	p = s.start(`while read command; do eval "exec $command" & done <commands; wait`)
	f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { f.Close() })
	return p, func(command string) {
		if command == "" {
			f.Close()
			return
		}
		if _, err := f.WriteString(command + "\n"); err != nil {
			s.t.Fatal(err)
		}
	}
}

// pids are those of the notices of a kind.
func (s *scene) pids(what Outcome) (list []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.notices {
		if o.Outcome == what {
			list = append(list, o.PID)
		}
	}
	return list
}

func (s *scene) count(what Outcome) int { return len(s.pids(what)) }

func TestAsNobody(t *testing.T) { asnobody.Run(t, "^Test[^A]") }

func TestPasses(t *testing.T) {
	s := newScene(t, Config{}, 1)
	p := s.start("for i in 1 2 3 4 5; do /bin/echo $i >>out; done; exit 7")
	if st := s.end(p); st.ExitStatus() != 7 {
		t.Errorf("status %#x", uint32(st))
	}
	if got := s.lines("out"); !slices.Equal(got, []string{"1", "2", "3", "4", "5"}) {
		t.Errorf("%q", got)
	}
	// The shell itself may have been looked for in several directories.
	if st := s.gate.Stats(); st.Execs < 6 || st.Held != 0 || st.Waiting != 0 || s.count(Holds) != 0 {
		t.Errorf("%+v", st)
	}
}

// Whoever waits goes on in the order of arrival, when there is room.
func TestOrder(t *testing.T) {
	const n = 12
	s := newScene(t, Config{}, 0)
	p, run := s.shell()
	for i := range n {
		run("/bin/echo >>ran " + strconv.Itoa(i))
		s.waiting(i + 1)
	}
	if got := s.lines("ran"); len(got) > 0 {
		t.Errorf("%q ran", got)
	}
	run("")
	s.room.set(1)
	s.end(p)
	if a, b := s.pids(Holds), s.pids(Let); len(a) != n || !slices.Equal(a, b) {
		t.Errorf("came as %v, went on as %v", a, b)
	}
	if got := s.lines("ran"); len(got) != n {
		t.Errorf("%q ran", got)
	}
	if st := s.gate.Stats(); st.Held != n || st.Waiting != 0 || st.Forced != 0 || st.Longest <= 0 || st.Waited < st.Longest {
		t.Errorf("%+v", st)
	}
}

// Only as many go on as there is room for what is pledged to them; who ends gives it back.
func TestReserves(t *testing.T) {
	const each, n = 1 << 30, 5
	s := newScene(t, Config{Reserve: each}, 0)
	p, run := s.shell()
	for i := range n {
		run("/bin/sleep 1000")
		s.waiting(i + 1)
	}
	s.room.set(2*each + 1)
	for done := 0; done < n; done++ {
		in := min(done+2, n)
		s.until("some go on", func() bool { return s.count(Let) == in && s.gate.Stats().Waiting == n-in })
		// The next looks at what is pledged change nothing.
		looks := time.Now().Add(3 * sweepEvery)
		s.until("a while", func() bool { return time.Now().After(looks) })
		if got := s.count(Let); got != in {
			t.Fatalf("%d of %d with room for 2: %d went on", done, n, got)
		}
		_ = unix.Kill(s.pids(Let)[done], unix.SIGKILL)
	}
	run("")
	s.end(p)
	if a, b := s.pids(Holds), s.pids(Let); !slices.Equal(a, b) {
		t.Errorf("came as %v, went on as %v", a, b)
	}
}

// A pledge ends when its time is over.
func TestPledgeEnds(t *testing.T) {
	s := newScene(t, Config{Reserve: 1 << 30}, 1<<30)
	s.room.last = 300 * time.Millisecond
	p, run := s.shell()
	run("/bin/sleep 1000")
	s.until("one runs", func() bool { return s.gate.Stats().Execs >= 2 })
	run("/bin/sleep 1000")
	s.until("the other one, too", func() bool { return s.count(Let) == 1 && s.gate.Stats().Waiting == 0 })
	p.KillAll()
	s.end(p)
}

// Who is killed gives up its place at once, also the first one.
func TestKilled(t *testing.T) {
	s := newScene(t, Config{}, 0)
	p, run := s.shell()
	for i := range 3 {
		run("/bin/echo >>ran " + strconv.Itoa(i))
		s.waiting(i + 1)
	}
	for i, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		_ = unix.Kill(s.pids(Holds)[i], sig)
		s.waiting(2 - i)
		s.until("it is told", func() bool { return s.count(Gone) == i+1 })
	}
	run("")
	s.room.set(1)
	s.end(p)
	if got := s.lines("ran"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("%q ran", got)
	}
	if got := s.pids(Gone); !slices.Equal(got, s.pids(Holds)[:2]) {
		t.Errorf("gone: %v of %v", got, s.pids(Holds))
	}
}

// Who was stopped does not wait meanwhile, and gets its place back.
func TestStopped(t *testing.T) {
	s := newScene(t, Config{}, 0)
	p, run := s.shell()
	for i := range 3 {
		run("/bin/echo >>ran " + strconv.Itoa(i))
		s.waiting(i + 1)
	}
	came := s.pids(Holds)
	for range 3 {
		_ = unix.Kill(came[0], unix.SIGSTOP)
		s.waiting(2)
		_ = unix.Kill(came[0], unix.SIGCONT)
		s.waiting(3)
	}
	run("")
	s.room.set(1)
	s.end(p)
	if got := s.pids(Let); !slices.Equal(got, came) || s.count(Holds) != 3 {
		t.Errorf("came as %v, went on as %v", s.pids(Holds), got)
	}
	if st := s.gate.Stats(); st.Held != 3 {
		t.Errorf("%+v", st)
	}
}

func TestForce(t *testing.T) {
	s := newScene(t, Config{}, 0)
	p, run := s.shell()
	for i := range 2 {
		run("/bin/echo >>ran " + strconv.Itoa(i))
		s.waiting(i + 1)
	}
	if need, since, ok := s.gate.Oldest(); need != 0 || since.IsZero() || !ok {
		t.Errorf("%d, %v, %v", need, since, ok)
	}
	s.gate.Force()
	s.waiting(1)
	s.until("it runs", func() bool { return len(s.lines("ran")) == 1 })
	if got := s.lines("ran"); got[0] != "0" || s.gate.Stats().Forced != 1 || s.count(Forced) != 1 {
		t.Errorf("%q, %+v", got, s.gate.Stats())
	}
	p.KillAll()
	s.end(p)
}

// When the gate is closed, those that wait fail, and so does every exec after that.
func TestClosed(t *testing.T) {
	s := newScene(t, Config{}, 0)
	p := s.start("/bin/echo >out 2>err; echo $? >>codes; /bin/echo >>out 2>>err; echo $? >>codes; exit 3")
	s.waiting(1)
	s.gate.Close()
	if st := s.end(p); st.ExitStatus() != 3 {
		t.Errorf("status %#x", uint32(st))
	}
	if got := s.lines("codes"); !slices.Equal(got, []string{"126", "126"}) || len(s.lines("out")) > 0 {
		t.Errorf("%q, %q", got, s.lines("err"))
	}
}

// A search for a program waits once.
func TestSearch(t *testing.T) {
	s := newScene(t, Config{}, 0)
	p := s.start(`PATH=/no/a:/no/b:/bin:/usr/bin; env echo ran >out`)
	s.waiting(1)
	s.room.set(1)
	s.waiting(0)
	s.end(p)
	// env, and echo by execvp(3) of env.
	if st := s.gate.Stats(); len(s.lines("out")) != 1 || st.Execs > 4 {
		t.Errorf("%+v, %q", st, s.lines("out"))
	}
}
