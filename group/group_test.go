package group

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mlrun/proc"
)

const (
	helperEnv  = "MLRUN_TEST_GROUP"
	lockHolder = "stops with the lock" // in place of a group
	lockKeeper = "keeps the lock"
)

// TestMain makes the test binary a process that takes a seat, says so, and waits for its end, when it is asked to be one.
func TestMain(m *testing.M) {
	if arg := os.Getenv(helperEnv); arg != "" {
		os.Exit(helper(arg))
	}
	os.Exit(m.Run())
}

func helper(arg string) int {
	dir, label, _ := strings.Cut(arg, "|")
	t, err := Open(dir)
	if err == nil && (label == lockHolder || label == lockKeeper) {
		err = t.flock(time.Minute)
		fmt.Println("joined", err)
		if label == lockHolder {
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		}
		_, _ = os.Stdin.Read(make([]byte, 1))
		return 0
	}
	if err == nil {
		var id ID
		if id, err = t.Lookup(label); err == nil {
			var s *Seat
			if s, err = t.Join(id, Member{Name: "helper", Process: proc.Self(), Processes: 3}); err == nil {
				s.Publish(Use{Bound: 1 << 30, Processes: 3})
			}
		}
	}
	fmt.Println("joined", err)
	var b [1]byte
	_, _ = os.Stdin.Read(b[:])
	return 0
}

// startHelper starts a process with a seat in the group label.
func startHelper(t *testing.T, dir, label string) (kill func()) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), helperEnv+"="+dir+"|"+label)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "joined <nil>\n" {
		t.Fatalf("helper: %q, %v", line, err)
	}
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = c.Process.Signal(syscall.SIGKILL)
			_ = c.Wait()
			in.Close()
		})
	}
	t.Cleanup(kill)
	return kill
}

func open(t *testing.T, dir string) *Tree {
	t.Helper()
	tree, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

func create(t *testing.T, tree *Tree, parent ID, c Change) ID {
	t.Helper()
	id, err := tree.Create(parent, c, os.Getuid(), true)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func join(t *testing.T, tree *Tree, id ID, processes int64) *Seat {
	t.Helper()
	s, err := tree.Join(id, Member{Name: "run", Process: proc.Self(), Processes: processes})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func status(t *testing.T, tree *Tree, id ID) Info {
	t.Helper()
	info, err := tree.Status(id)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func label(s string) Change { return Change{Label: &s} }
func num(n int64) *int64    { return &n }

func TestCreate(t *testing.T) {
	tree := open(t, filepath.Join(t.TempDir(), "g"))
	a := create(t, tree, System, Change{Groups: num(2)})
	b := create(t, tree, a, Change{Groups: num(0)})
	if a != 2 || b != 3 {
		t.Errorf("ids %d and %d, want 2 and 3", a, b)
	}
	if _, err := tree.Create(b, Change{}, 0, true); !errors.Is(err, ErrGroups) || !strings.Contains(err.Error(), "group 3") {
		t.Errorf("below a group that permits none: %v", err)
	}
	c := create(t, tree, a, Change{})
	for _, parent := range []ID{a, c} { // its own limit, and that of who is above
		if _, err := tree.Create(parent, Change{}, 0, true); !errors.Is(err, ErrGroups) || !strings.Contains(err.Error(), "group 2") {
			t.Errorf("below %d: %v", parent, err)
		}
	}
	if _, err := tree.Create(99, Change{}, 0, true); !errors.Is(err, ErrNotExist) {
		t.Errorf("below none: %v", err)
	}
	if got := status(t, tree, a).Counts.Groups; got != 2 {
		t.Errorf("%d groups below, want 2", got)
	}
	if err := tree.Remove(c); err != nil {
		t.Error(err)
	}
	if d := create(t, tree, a, Change{}); d <= c {
		t.Errorf("id %d is not new", d)
	}
	if info := status(t, tree, System); info.ID != System || info.Limits != (Limits{None, None, None}) || info.Counts != (Counts{}) {
		t.Errorf("system's group: %+v", info)
	}
	for _, err := range []error{tree.Set(System, Change{}), tree.Remove(System)} {
		if !errors.Is(err, ErrSystem) {
			t.Errorf("changing the system's group: %v", err)
		}
	}
}

func TestDepth(t *testing.T) {
	tree := open(t, t.TempDir())
	id, err := System, error(nil)
	n := 0
	for ; err == nil && n < 2*maxDepth; n++ {
		var next ID
		if next, err = tree.Create(id, Change{}, 0, true); err == nil {
			id = next
		}
	}
	if !errors.Is(err, ErrFull) || n != maxDepth {
		t.Errorf("depth %d: %v", n, err)
	}
	s := join(t, tree, id, 1)
	s.Publish(Use{Bound: 5, Processes: 1})
	if got := status(t, tree, 2).Counts; got.Memory != 5 || got.Processes != 1 {
		t.Errorf("at the top: %+v", got)
	}
}

func TestJoinOverLimits(t *testing.T) {
	tree := open(t, t.TempDir())
	top := create(t, tree, System, Change{Processes: num(4), Memory: num(100)})
	low := create(t, tree, top, Change{Processes: num(10)})
	s := join(t, tree, low, 3)
	if _, err := tree.Join(low, Member{Processes: 2}); !errors.Is(err, ErrProcesses) || !strings.Contains(err.Error(), fmt.Sprintf("group %d:", top)) {
		t.Errorf("a fifth process: %v", err)
	}
	if got := status(t, tree, top); got.Counts.Processes != 3 || got.Runs != 1 {
		t.Errorf("after a refused join: %+v", got)
	}
	other := join(t, tree, top, 1)
	s.Publish(Use{Bound: 60, Processes: 2})
	room := other.Publish(Use{Bound: 30, Processes: 1})
	if want := (Room{Memory: 10, Processes: 1, Most: 40}); room != want {
		t.Errorf("room %+v, want %+v", room, want)
	}
	other.Publish(Use{Bound: 40, Processes: 1})
	if _, err := tree.Join(low, Member{Processes: 1}); !errors.Is(err, ErrMemory) {
		t.Errorf("into a full group: %v", err)
	}
	h, err := tree.Join(low, Member{Kind: Handle})
	if err != nil {
		t.Errorf("a handle uses nothing: %v", err)
	}
	h.Leave()
	s.Leave()
	s.Leave()
	if got := status(t, tree, top).Counts; got.Processes != 1 || got.Memory != 40 {
		t.Errorf("after the end of one: %+v", got)
	}
}

func TestSet(t *testing.T) {
	tree := open(t, t.TempDir())
	id := create(t, tree, System, label("first"))
	create(t, tree, id, Change{})
	s := join(t, tree, id, 5)
	s.Publish(Use{Bound: 1000, Processes: 5})
	for _, c := range []Change{{Groups: num(0)}, {Processes: num(4)}, {Memory: num(999)}} {
		c.Check = true
		c.Label = label("second").Label
		if err := tree.Set(id, c); !errors.Is(err, ErrBelow) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if info := status(t, tree, id); info.Label != "first" || info.Limits != (Limits{None, None, None}) {
		t.Errorf("a refused change has changed: %+v", info)
	}
	kill := KillGroup
	if err := tree.Set(id, Change{Groups: num(0), Processes: num(4), Memory: num(999), Victim: &kill, Label: label("second").Label}); err != nil {
		t.Fatal(err)
	}
	if info := status(t, tree, id); info.Label != "second" || info.Limits != (Limits{0, 4, 999}) || info.Victim != KillGroup || info.Counts.Groups != 1 {
		t.Errorf("after the change: %+v", info)
	}
	if _, err := tree.Create(id, Change{}, 0, true); !errors.Is(err, ErrGroups) {
		t.Errorf("over a limit that was set later: %v", err)
	}
	for _, c := range []Change{{Groups: num(-2)}, {Processes: num(MaxCount + 1)}, {Memory: num(-5)}, label("a\nb"), {Victim: new(Victim(9))}} {
		c.Groups = cmpOr(c.Groups, num(None))
		if err := tree.Set(id, c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if info := status(t, tree, id); info.Limits.Groups != 0 {
		t.Errorf("an invalid change has changed: %+v", info)
	}
}

func cmpOr(a, b *int64) *int64 {
	if a != nil {
		return a
	}
	return b
}

func TestLookup(t *testing.T) {
	tree := open(t, t.TempDir())
	a, b := create(t, tree, System, label("build")), create(t, tree, System, label("test"))
	c := create(t, tree, a, label("test"))
	for text, want := range map[string]ID{"1": System, "build": a, fmt.Sprint(b): b} {
		if got, err := tree.Lookup(text); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	if _, err := tree.Lookup("test"); !errors.Is(err, ErrAmbiguous) || !strings.Contains(err.Error(), fmt.Sprintf("%d %d;", b, c)) {
		t.Errorf("ambiguous: %v", err)
	}
	for _, text := range []string{"", "none", "0", "77", "99999999999999999999", "-1"} {
		if _, err := tree.Lookup(text); !errors.Is(err, ErrNotExist) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestLifetime shows what keeps a group.
func TestLifetime(t *testing.T) {
	tree := open(t, t.TempDir())
	gone := func(id ID, want bool) {
		t.Helper()
		if _, err := tree.Status(id); errors.Is(err, ErrNotExist) != want {
			t.Errorf("group %d: %v, want gone: %v", id, err, want)
		}
	}
	h, a, err := tree.CreateSeat(System, label("handle"), 0, Member{Kind: Handle})
	if err != nil {
		t.Fatal(err)
	}
	run := join(t, tree, a, 1)
	sub, b, err := tree.CreateSeat(a, Change{}, 0, Member{Kind: Process, Processes: 1})
	if err != nil {
		t.Fatal(err)
	}
	h.Leave()
	gone(a, false)
	if err := tree.Remove(a); !errors.Is(err, ErrBusy) {
		t.Errorf("a group with a run: %v", err)
	}
	run.Leave()
	gone(a, false) // it has a group below it
	if err := run.Move(b); !errors.Is(err, ErrClosed) {
		t.Errorf("moving who has left: %v", err)
	}
	if err := sub.Move(a); err != nil {
		t.Fatal(err)
	}
	gone(b, true)
	gone(a, false)
	sub.Leave()
	gone(a, true)

	kept := create(t, tree, System, Change{})
	low := create(t, tree, kept, Change{})
	if err := tree.Remove(kept); !errors.Is(err, ErrBusy) {
		t.Errorf("a group with a group: %v", err)
	}
	gone(low, false)
	if err := errors.Join(tree.Remove(low), tree.Remove(kept)); err != nil {
		t.Error(err)
	}
	gone(kept, true)
	// The limit of a group that was refused a seat leaves no group behind.
	full := create(t, tree, System, Change{Processes: num(0)})
	if _, id, err := tree.CreateSeat(full, Change{}, 0, Member{Processes: 1}); !errors.Is(err, ErrProcesses) {
		t.Errorf("%d, %v", id, err)
	}
	if got := status(t, tree, full).Counts.Groups; got != 0 {
		t.Errorf("%d groups are left", got)
	}
}

func TestMoveObeysLimits(t *testing.T) {
	tree := open(t, t.TempDir())
	top := create(t, tree, System, Change{Processes: num(3)})
	a, b := create(t, tree, top, Change{}), create(t, tree, top, Change{Processes: num(1)})
	s := join(t, tree, a, 2)
	if err := s.Move(b); !errors.Is(err, ErrProcesses) || s.Group() != a {
		t.Errorf("%v; in group %d", err, s.Group())
	}
	c := create(t, tree, top, Change{Processes: num(2)})
	if err := s.Move(c); err != nil || s.Group() != c { // top has counted both already
		t.Errorf("%v; in group %d", err, s.Group())
	}
}

// TestCrash kills processes that have seats: their counts and their groups are gone.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	tree := open(t, dir)
	top := create(t, tree, System, Change{Memory: num(1 << 31)})
	_, id, err := tree.CreateSeat(top, label("low"), 0, Member{Kind: Handle})
	if err != nil {
		t.Fatal(err)
	}
	mine := join(t, tree, top, 1)
	kill := startHelper(t, dir, "low")
	if room := mine.Publish(Use{Bound: 1, Processes: 1}); room.Memory != 1<<30-1 {
		t.Errorf("room beside the other: %d", room.Memory)
	}
	if got := status(t, tree, id).Counts; got.Processes != 3 || got.Memory != 1<<30 {
		t.Errorf("before: %+v", got)
	}
	kill()
	if got := status(t, tree, top); got.Counts.Processes != 1 || got.Runs != 1 {
		t.Errorf("after: %+v", got)
	}
	if room := mine.Publish(Use{Bound: 1, Processes: 1}); room.Memory != 1<<31-1 {
		t.Errorf("room after its end: %d", room.Memory)
	}
}

// TestSweep shows that those who watch a limit find out about the end of others within a second.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	tree := open(t, dir)
	id := create(t, tree, System, Change{Label: label("low").Label, Memory: num(1 << 31)})
	mine := join(t, tree, id, 1)
	kill := startHelper(t, dir, "low")
	mine.Sweep()
	kill()
	for end := time.Now().Add(time.Minute); ; {
		mine.Sweep()
		if mine.Publish(Use{Processes: 1}).Memory == 1<<31 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("its memory is counted still")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestStoppedHolder shows that nobody waits for ever for a process that was stopped with the lock, and that supervisors go on looking after their runs.
func TestStoppedHolder(t *testing.T) {
	dir := t.TempDir()
	tree := open(t, dir)
	id := create(t, tree, System, Change{Memory: num(10)})
	s := join(t, tree, id, 1)
	kill := startHelper(t, dir, lockHolder)
	if room := s.Publish(Use{Bound: 20, Sure: 20, Processes: 1, Exact: true}); room.Memory != -10 {
		t.Errorf("room %d", room.Memory)
	}
	s.Sweep()
	if err := s.Settle(); err == nil || s.Doomed() != nil {
		t.Errorf("decided without the lock: %v", err)
	}
	if _, err := tree.Status(id); err == nil || !strings.Contains(err.Error(), ", which is stopped") {
		t.Errorf("asked while somebody else has the lock: %v", err)
	}
	kill()
	if err := s.Settle(); err != nil || s.Doomed() == nil {
		t.Errorf("after its end: %v, %v", err, s.Doomed())
	}
}

// TestSlowHolder has a process keep the lock for longer than one is waited for that is stopped: others wait for it, and get their turn.
func TestSlowHolder(t *testing.T) {
	defer func(d time.Duration) { lockTime = d }(lockTime)
	lockTime = time.Millisecond
	dir := t.TempDir()
	tree := open(t, dir)
	id := create(t, tree, System, Change{})
	kill := startHelper(t, dir, lockKeeper)
	time.AfterFunc(20*lockTime, kill)
	if _, err := tree.Status(id); err != nil {
		t.Error(err)
	}
}

// TestManySeats has the seats of others in more than one file of locks, who end: those who watch the limit find that in some turns, and a list at once.
func TestManySeats(t *testing.T) {
	dir := t.TempDir()
	tree := open(t, dir)
	id := create(t, tree, System, Change{Label: label("low").Label, Memory: num(1 << 40)})
	for range 3 * shardSeats {
		join(t, tree, id, 1)
	}
	mine := join(t, tree, id, 1)
	const each = 3
	for round := range 2 {
		var kills []func()
		for range each {
			kills = append(kills, startHelper(t, dir, "low"))
		}
		if got := status(t, tree, id); got.Runs != 3*shardSeats+1+each {
			t.Errorf("%d runs", got.Runs)
		}
		for _, kill := range kills {
			kill()
		}
		for end := time.Now().Add(time.Minute); round == 1; {
			mine.Sweep()
			if mine.Publish(Use{Processes: 1}).Memory == 1<<40 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("who has ended is counted still")
			}
			time.Sleep(time.Millisecond)
		}
		if got := status(t, tree, id); got.Runs != 3*shardSeats+1 {
			t.Errorf("%d runs after the end of the others", got.Runs)
		}
	}
}

func TestSettle(t *testing.T) {
	for _, test := range []struct {
		v    Victim
		want []int // of the runs 0, 1, 2
	}{{KillLargest, []int{1}}, {KillNewest, []int{2}}, {KillGroup, []int{0, 1, 2}}} {
		t.Run(test.v.String(), func(t *testing.T) {
			tree := open(t, t.TempDir())
			top := create(t, tree, System, Change{Label: label("top").Label, Memory: num(100), Victim: &test.v})
			low := create(t, tree, top, Change{})
			var runs []*Seat
			for _, mem := range []int64{40, 50, 20} {
				s := join(t, tree, low, 1)
				runs = append(runs, s)
				s.Publish(Use{Bound: 0, Processes: 1})
				defer s.Publish(Use{Bound: mem})
			}
			for i, mem := range []int64{40, 50, 20} {
				runs[i].Publish(Use{Bound: mem, Sure: mem, Processes: 1, Exact: true})
				runs[i].Next(time.Hour, true, func(int64) time.Duration { return time.Hour })
			}
			for range 3 { // and only once
				if err := runs[0].Settle(); err != nil {
					t.Fatal(err)
				}
			}
			var got []int
			for i, s := range runs {
				if d := s.Doomed(); d != nil {
					got = append(got, i)
					if want := (Doom{Group: top, Label: "top", What: Memory, Limit: 100, Observed: 110}); *d != want {
						t.Errorf("%+v, want %+v", *d, want)
					}
					if s.Beyond() != 10 {
						t.Errorf("beyond the limit by %d", s.Beyond())
					}
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("runs %v end, want %v", got, test.want)
			}
		})
	}
}

// TestSettleNeedsCertainty shows that bounds alone end nobody: who is not sure is asked first.
func TestSettleNeedsCertainty(t *testing.T) {
	tree := open(t, t.TempDir())
	id := create(t, tree, System, Change{Memory: num(100 << 20)})
	a, b := join(t, tree, id, 1), join(t, tree, id, 1)
	rung := make(chan struct{}, 16)
	if err := b.Bell(func() { rung <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	b.Publish(Use{Bound: 90 << 20, Sure: 10 << 20, Processes: 1})
	b.Next(time.Hour, true, func(int64) time.Duration { return time.Hour })
	a.Publish(Use{Bound: 50 << 20, Sure: 50 << 20, Processes: 1, Exact: true})
	if err := a.Settle(); err != nil {
		t.Fatal(err)
	}
	if a.Doomed() != nil || b.Doomed() != nil {
		t.Fatal("somebody is to end for a bound")
	}
	select {
	case <-rung:
	case <-time.After(time.Minute):
		t.Fatal("nobody was asked")
	}
	if !b.Publish(Use{Bound: 90 << 20, Sure: 10 << 20, Processes: 1}).Read {
		t.Error("who was woken does not know why")
	}
	if b.Publish(Use{Bound: 60 << 20, Sure: 60 << 20, Processes: 1, Exact: true}).Read {
		t.Error("it was read exactly, and is to be again")
	}
	if err := a.Settle(); err != nil {
		t.Fatal(err)
	}
	if b.Doomed() == nil || a.Doomed() != nil {
		t.Error("the largest is not to end although all is known")
	}
}

// TestSettleWithoutTheLate has a group over its limit, and a run in it of which nothing was heard for some time: it is waited for only if it matters, and not for long.
func TestSettleWithoutTheLate(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		what       string
		late       int64 // MiB that were sure of the late one
		heard, due time.Duration
		ends       bool
	}{
		{"the others alone are over the limit", 30, 30 * time.Millisecond, 0, true},
		{"with the late one they are", 80, 30 * time.Millisecond, 0, false},
		{"it is late for long", 80, time.Second, time.Second, true},
		{"it was heard of just now", 80, 0, -time.Hour, true},
	} {
		tree := open(t, t.TempDir())
		id := create(t, tree, System, Change{Memory: num(100 * mib)})
		a, late := join(t, tree, id, 1), join(t, tree, id, 1)
		late.Publish(Use{Bound: c.late * mib, Sure: c.late * mib, Processes: 1, Exact: true})
		mine := int64(101)
		if c.late > 30 {
			mine = 90
		}
		a.Publish(Use{Bound: mine * mib, Sure: mine * mib, Processes: 1, Exact: true})
		now := late.now()
		tree.store(cAt, late.i, now-int64(c.heard))
		tree.store(cUntil, late.i, now-int64(c.due))
		if err := a.Settle(); err != nil {
			t.Fatal(err)
		}
		if got := a.Doomed() != nil || late.Doomed() != nil; got != c.ends && (c.ends || late.now()-now < hasty) {
			t.Errorf("%s: somebody is to end: %v, want %v", c.what, got, c.ends)
		}
	}
}

func TestSettleProcesses(t *testing.T) {
	tree := open(t, t.TempDir())
	id := create(t, tree, System, Change{Processes: num(5)})
	a, b := join(t, tree, id, 1), join(t, tree, id, 1)
	a.Publish(Use{Processes: 4})
	if room := b.Publish(Use{Processes: 2}); room.Processes != -1 {
		t.Errorf("room for %d", room.Processes)
	}
	if err := b.Settle(); err != nil {
		t.Fatal(err)
	}
	if d := a.Doomed(); d == nil || d.What != Processes || d.Limit != 5 || d.Observed != 6 || b.Doomed() != nil {
		t.Errorf("%+v, %+v", d, b.Doomed())
	}
}

func TestEnd(t *testing.T) {
	tree := open(t, t.TempDir())
	id := create(t, tree, System, Change{})
	low := create(t, tree, id, Change{})
	a, b, other := join(t, tree, id, 1), join(t, tree, low, 1), join(t, tree, create(t, tree, System, Change{}), 1)
	if n, err := tree.End(id); n != 2 || err != nil {
		t.Errorf("%d were told, %v", n, err)
	}
	if n, err := tree.End(id); n != 0 || err != nil {
		t.Errorf("%d were told twice, %v", n, err)
	}
	if a.Doomed() == nil || b.Doomed() == nil || other.Doomed() != nil {
		t.Error("not the right ones are to end")
	}
}

// TestNextWakes shows that who would look too late is woken when a group fills up.
func TestNextWakes(t *testing.T) {
	tree := open(t, t.TempDir())
	id := create(t, tree, System, Change{Memory: num(1000)})
	a, b := join(t, tree, id, 1), join(t, tree, id, 1)
	rung := make(chan struct{}, 16)
	if err := a.Bell(func() { rung <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	within := func(room int64) time.Duration { return time.Duration(room) * time.Minute }
	a.Publish(Use{Bound: 1})
	a.Next(time.Minute, false, within)
	b.Publish(Use{Bound: 100})
	b.Next(time.Minute, false, within)
	if len(rung) != 0 {
		t.Error("woken without a reason")
	}
	b.Publish(Use{Bound: 999})
	b.Next(0, false, within)
	select {
	case <-rung:
	case <-time.After(time.Minute):
		t.Error("not woken")
	}
}

// TestDamaged shows that a file that is something else is refused, and left as it is.
func TestDamaged(t *testing.T) {
	for _, content := range []string{"x", strings.Repeat("mlrun ", 4000), strings.Repeat("\xff", 100000)} {
		dir := t.TempDir()
		path := filepath.Join(dir, treeFile)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir)
		if len(content) < headSize { // one whose maker was killed before it was anything
			if err != nil {
				t.Errorf("%d bytes: %v", len(content), err)
			}
			continue
		}
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%d bytes: %v", len(content), err)
		}
		if b, _ := os.ReadFile(path); string(b) != content {
			t.Error("the file was changed")
		}
	}
}

// TestGarbage fills the records of a tree with anything: whatever comes of it, nothing hangs and nothing panics.
func TestGarbage(t *testing.T) {
	for seed := range uint64(30) {
		dir := t.TempDir()
		tree := open(t, dir)
		id := create(t, tree, System, Change{Memory: num(5)})
		s := join(t, tree, id, 1)
		r := rand.New(rand.NewPCG(seed, 1))
		tree.head[hGroups], tree.head[hSeats] = int64(r.IntN(60)), int64(r.IntN(60))
		for i := range 60 {
			for w := range tree.group(i) {
				tree.group(i)[w] = int64(r.Uint64())>>r.IntN(64) - 1
			}
			for c := range columns {
				tree.column(c)[i] = int64(r.Uint64()) >> r.IntN(64)
			}
			for w := range tree.seat(i) {
				tree.seat(i)[w] = int64(r.Uint64()) >> r.IntN(64)
			}
		}
		s.Publish(Use{Bound: 7})
		s.Next(time.Second, false, func(int64) time.Duration { return 0 })
		s.Doomed()
		_ = s.Settle()
		_, _ = tree.Members(System)
		_, _ = tree.List()
		_, _ = tree.Status(3)
		_, _ = tree.Create(System, Change{}, 0, true)
	}
}

// TestMany changes a tree from several goroutines at once; at the end the counts are those of what is left.
func TestMany(t *testing.T) {
	tree := open(t, t.TempDir())
	top := create(t, tree, System, Change{Groups: num(64)})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2))
			for range 60 {
				s, id, err := tree.CreateSeat(top, label(fmt.Sprintf("w%d", w)), w, Member{Name: "x", Processes: 2})
				if err != nil {
					t.Error(err)
					return
				}
				s.Publish(Use{Bound: int64(r.IntN(1000)), Processes: int64(r.IntN(9))})
				if got := s.Group(); got != id {
					t.Errorf("in group %d, want %d", got, id)
				}
				if got, err := tree.Status(top); err != nil || got.Counts.Groups > 64 || got.Counts.Groups < 1 {
					t.Errorf("%+v, %v", got, err)
				}
				s.Leave()
			}
		})
	}
	wg.Wait()
	if info := status(t, tree, top); info.Counts != (Counts{}) || info.Runs != 0 {
		t.Errorf("left: %+v", info)
	}
	if list, err := tree.List(); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestLook shows that who looks makes nothing.
func TestLook(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none", "yet")
	look := func() *Tree {
		t.Helper()
		tree, err := Look(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tree.Close() })
		return tree
	}
	tree := look()
	if list, err := tree.List(); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := tree.Lookup("2"); !errors.Is(err, ErrNotExist) {
		t.Errorf("found in nothing: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(dir)); err == nil {
		t.Error("a directory was made")
	}
	create(t, open(t, dir), System, Change{})
	if list, err := look().List(); err != nil || len(list) != 2 {
		t.Errorf("of a tree: %v, %v", list, err)
	}
	tree.Close()
	if _, err := tree.List(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestClosed(t *testing.T) {
	dir := t.TempDir()
	tree, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, id, err := tree.CreateSeat(System, Change{}, 0, Member{Processes: 1})
	if err != nil {
		t.Fatal(err)
	}
	tree.Close()
	tree.Close()
	if _, err := tree.Status(id); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if list, err := open(t, dir).List(); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}
