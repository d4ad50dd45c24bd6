package supervise

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"mlrun/proc"
	"mlrun/rlimit"
)

// sleeper is a process of this test.
func sleeper(t *testing.T) proc.ID {
	t.Helper()
	c := exec.Command("sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	s, err := proc.Root.Stat(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return s.ID()
}

func changes(t *testing.T, list ...string) []rlimit.Change {
	t.Helper()
	c, err := rlimit.ParseList(list)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func limitOf(t *testing.T, id proc.ID, name string) rlimit.Limit {
	t.Helper()
	list, err := rlimit.Read("/proc", id.PID)
	l, ok := rlimit.Find(list, name)
	if err != nil || !ok {
		t.Fatalf("%s of %d: %v", name, id.PID, err)
	}
	return l
}

// What may not be done is refused before anything is changed.
func TestRelimit(t *testing.T) {
	id := sleeper(t)
	g, err := proc.NewGroup(proc.Root, os.Getpid(), id.PID)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	held, err := relimit(g, changes(t, "nofile=50:60", "fsize=1M"), false, &unchanged{})
	if err != nil || len(held) != 2 || held[0].Hard != 60 || held[1].Soft != 1<<20 {
		t.Fatalf("%+v, %v", held, err)
	}
	if l := limitOf(t, id, "RLIMIT_NOFILE"); l.Soft != 50 || l.Hard != 60 {
		t.Errorf("%+v", l)
	}
	for _, asked := range []string{"nofile=50:61", "nofile=:40", "nofile=61:"} {
		if held, err := relimit(g, changes(t, "fsize=5", asked), false, &unchanged{}); err == nil {
			t.Errorf("%s: %+v", asked, held)
		}
	}
	if l := limitOf(t, id, "RLIMIT_FSIZE"); l.Soft != 1<<20 {
		t.Errorf("changed all the same: %+v", l)
	}
}

// Who has lowered its own limit is not raised without privilege, and soft limits stay below hard ones.
func TestSetMember(t *testing.T) {
	id := sleeper(t)
	for _, step := range []struct {
		asked      string
		soft, hard uint64
	}{{"nofile=30:40", 30, 40}, {"nofile=35:50", 35, 40}, {"nofile=50", 40, 40}, {"nofile=:20", 20, 20}} {
		if _, err := set(id, changes(t, step.asked), false); err != nil {
			t.Fatal(err)
		}
		if l := limitOf(t, id, "RLIMIT_NOFILE"); l.Soft != step.soft || l.Hard != step.hard {
			t.Errorf("%s: %d:%d, want %d:%d", step.asked, l.Soft, l.Hard, step.soft, step.hard)
		}
	}
	if changed, err := set(id, changes(t, "nofile=20"), false); changed || err != nil {
		t.Errorf("the same: %v, %v", changed, err)
	}
}

// A guest that was prepared before an update gets its limits, and keeps lower ones.
func TestLowerGuest(t *testing.T) {
	id := sleeper(t)
	if _, err := set(id, changes(t, "nofile=100:200", "fsize=5"), false); err != nil {
		t.Fatal(err)
	}
	l := &loop{}
	for _, asked := range []string{"nofile=1:2", "nofile=150:170", "fsize=1M"} {
		c := changes(t, asked)[0]
		l.given = newest(l.given, []rlimit.Limit{c.Apply(0, 0)})
	}
	if len(l.given) != 2 {
		t.Errorf("%+v", l.given)
	}
	l.lower(id)
	if got := limitOf(t, id, "RLIMIT_NOFILE"); got.Soft != 100 || got.Hard != 170 {
		t.Errorf("%+v", got)
	}
	if got := limitOf(t, id, "RLIMIT_FSIZE"); got.Soft != 5 || got.Hard != 5 {
		t.Errorf("%+v", got)
	}
}

func TestUnchangedNamesThem(t *testing.T) {
	var err error = &unchanged{types: "RLIMIT_NOFILE", ids: []proc.ID{{PID: 1 << 30}, {PID: 1<<30 + 1}}}
	var left *unchanged
	if !errors.As(err, &left) || err.Error() != "RLIMIT_NOFILE: changed, but not of process 1073741824, 1073741825, which has other credentials" {
		t.Error(err)
	}
}
