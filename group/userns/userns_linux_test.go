package userns_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/group/userns"
	"mlrun/internal/asnobody"
	"mlrun/internal/emulated"
	"mlrun/runtime/launch"
)

func TestMain(m *testing.M) {
	if err := errors.Join(launch.CloseOnExec(), launch.BecomeSubreaper()); err != nil && !emulated.Here() {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestAsNobody(t *testing.T) { asnobody.Run(t, "^Test(Tree|Vanish|Find|Directory)$") }

// run is a run in groups.
type run struct {
	*launch.Process
	holder userns.Holder
	close  func()
	out    string
}

// forks forks until that fails, prints how many there are with itself, and stays. A shell forks nothing to count.
const forks = `i=1; trap 'echo $i; echo done; sleep 1000 & wait' EXIT; while [ $i -lt 100 ]; do sleep 1000 >/dev/null 2>&1 & i=$((i+1)); done`

func start(t *testing.T, want []userns.Level, holders []userns.Holder, script string) *run {
	t.Helper()
	emulated.Skip(t, "CLONE_NEWUSER")
	dir, err := os.MkdirTemp("/tmp", "userns")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &run{out: filepath.Join(dir, "out")}
	for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(r.out, nil, 0o666), os.Chmod(r.out, 0o666)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	j := userns.Find(want, holders)
	c := launch.Config{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Path: "/usr/bin:/bin", Env: []string{"PATH=/usr/bin:/bin"}, Terminal: -1,
		Args: []string{"sh", "-c", "exec >" + r.out + " 2>" + r.out + ".err; " + script}, Tasks: &launch.Tasks{Joined: j.Joined}}
	if c.UID == 0 {
		c.SetUser, c.UID, c.GID = true, 65534, 65534
	}
	if err := errors.Join(os.WriteFile(r.out+".err", nil, 0o666), os.Chmod(r.out+".err", 0o666)); err != nil {
		t.Fatal(err)
	}
	if j.Namespace != nil {
		c.Tasks.Namespace = int(j.Namespace.Fd())
		defer j.Namespace.Close()
	}
	for _, l := range j.Levels {
		c.Tasks.Outer = append(c.Tasks.Outer, l.Limit)
	}
	last := len(c.Tasks.Outer) - 1
	c.Tasks.Outer, c.Tasks.Max = c.Tasks.Outer[:last], c.Tasks.Outer[last]
	r.Process, err = launch.Start(&c)
	var e *launch.Error
	if errors.As(err, &e) && e.OfNamespace() && j.Joined == 0 && (e.Errno == unix.EPERM || e.Errno == unix.ENOSPC || e.Errno == unix.ENOSYS) {
		t.Skip("no user namespaces here: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.holder = userns.Holder{PID: os.Getpid(), Levels: j.Levels}
	if r.close, err = userns.Open(r.PID, r.holder.Levels); err != nil {
		t.Fatal(err)
	}
	if err := r.Exec(); err != nil {
		t.Fatal(err)
	}
	return r
}

// end kills a run, and waits until nothing of it is left.
func (r *run) end(t *testing.T) {
	t.Helper()
	r.KillAll()
	for {
		e, err := r.Next()
		if err != nil {
			t.Fatalf("the reaper ended before it was done: %v", err)
		}
		if e.Kind == launch.Done {
			break
		}
	}
	r.Wait()
	r.Process.Close()
	r.close()
}

// count waits until a run has forked what it could, and returns how many processes it has.
func (r *run) count(t *testing.T) int {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(r.out)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Fields(string(b)); len(lines) > 0 {
			n, err := strconv.Atoi(lines[0])
			if err != nil {
				t.Fatalf("output %q", b)
			}
			return n
		}
		if time.Now().After(end) {
			t.Fatal("the run has not forked what it could in a minute")
		}
	}
}

func levels(pairs ...uint64) (list []userns.Level) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, userns.Level{Group: int64(pairs[i]), Limit: pairs[i+1]})
	}
	return list
}

// TestTree has three levels: a group of 30 processes, three of 20 below it, and a fourth of 100 below one of those. The kernel counts
// no process of the same user elsewhere, and lets the runs have 30 together, none of the inner groups more than its 20.
func TestTree(t *testing.T) {
	other := start(t, levels(9, 1000), nil, strings.Replace(forks, "-lt 100", "-lt 60", 1))
	defer other.end(t)
	if n := other.count(t); n != 60 {
		t.Fatalf("the run beside the tree has %d processes, want 60", n)
	}
	a := start(t, levels(2, 30, 3, 20), nil, forks)
	defer a.end(t)
	if n := a.count(t); n != 20 {
		t.Fatalf("the first group has %d processes, want 20", n)
	}
	b := start(t, levels(2, 30, 4, 20, 6, 100), []userns.Holder{other.holder, a.holder}, forks)
	if n := b.count(t); n != 10 {
		t.Errorf("the second group has %d processes beside 20, want 10: 30 in all", n)
	}
	if b, err := os.ReadFile(b.out + ".err"); err != nil || !strings.Contains(string(b), "fork") {
		t.Errorf("the shell says %q (%v), want that it could not fork", b, err)
	}
	// The parent is full: what is let in still cannot fork.
	c := start(t, levels(2, 30, 5, 20), []userns.Holder{b.holder}, forks)
	if n := c.count(t); n != 1 {
		t.Errorf("the third group has %d processes, want the first alone", n)
	}
	c.end(t)
	b.end(t)
	d := start(t, levels(2, 30, 5, 20), []userns.Holder{a.holder}, forks)
	defer d.end(t)
	if n := d.count(t); n != 10 {
		t.Errorf("after the end of the second group the third has %d processes, want 10", n)
	}
}

// TestVanish ends the only run of a group: the next one finds no namespace, and makes one with another limit.
func TestVanish(t *testing.T) {
	a := start(t, levels(2, 10), nil, forks)
	if n := a.count(t); n != 10 {
		t.Errorf("the first run has %d processes, want 10", n)
	}
	before := a.holder
	a.end(t)
	if j := userns.Find(levels(2, 15), []userns.Holder{before}); j.Namespace != nil {
		t.Fatalf("the namespace is still there: %+v", j)
	}
	b := start(t, levels(2, 15), []userns.Holder{before}, forks)
	defer b.end(t)
	if n := b.count(t); n != 15 {
		t.Errorf("the second run has %d processes, want 15", n)
	}
}

// TestFind has holders that are gone, that never were, and whose descriptor is of something else.
func TestFind(t *testing.T) {
	child := exec.Command("true")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	lvl := func(fd int, inode uint64) []userns.Level {
		return []userns.Level{{Group: 2, Limit: 5, FD: fd, Inode: inode}}
	}
	own, err := os.Open("/proc/self/ns/user")
	if err != nil {
		t.Skip("no user namespaces here: ", err)
	}
	defer own.Close()
	mnt, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	defer mnt.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(mnt.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for _, h := range []userns.Holder{
		{PID: child.Process.Pid, Levels: lvl(3, 1)},
		{PID: os.Getpid(), Levels: lvl(1<<20, 1)},
		{PID: os.Getpid(), Levels: lvl(int(null.Fd()), 1)},
		{PID: os.Getpid(), Levels: lvl(int(own.Fd()), 1)},
		{PID: os.Getpid(), Levels: lvl(int(mnt.Fd()), st.Ino)},
	} {
		if j := userns.Find(levels(2, 7), []userns.Holder{h}); j.Namespace != nil || j.Joined != 0 || len(j.Levels) != 1 || j.Levels[0].Limit != 7 {
			t.Errorf("%+v: found %+v", h, j)
		}
	}
}

// TestDirectory publishes what a supervisor keeps: found by any of its groups, and no more when it is taken back, or when the supervisor is gone.
func TestDirectory(t *testing.T) {
	d := userns.Directory(filepath.Join(t.TempDir(), "userns"))
	if list, err := d.Holders(levels(2, 5)); err != nil || list != nil {
		t.Fatalf("in no directory: %v, %v", list, err)
	}
	child := exec.Command("true")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	here := userns.Holder{PID: os.Getpid(), Levels: []userns.Level{{Group: 2, Limit: 30, FD: 7, Inode: 4026531837}, {Group: 3, Limit: 1 << 40, FD: 8, Inode: 4026531838}}}
	dead := userns.Holder{PID: child.Process.Pid, Levels: levels(2, 30)}
	for _, h := range []userns.Holder{here, dead, here} {
		if err := d.Publish(h); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []uint64{2, 3} {
		list, err := d.Holders(levels(want, 1))
		if err != nil || len(list) != 1 || list[0].PID != here.PID || !slices.Equal(list[0].Levels, here.Levels) {
			t.Errorf("of group %d: %+v, %v; want %+v", want, list, err, here)
		}
	}
	if list, err := d.Holders(levels(4, 1)); err != nil || len(list) != 0 {
		t.Errorf("of another group: %+v, %v", list, err)
	}
	d.Retract(here)
	if left, err := os.ReadDir(string(d)); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}
