package batch

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func verdictLine(job string, attempt int, final bool, reason string, code int, limit int64) string {
	return fmt.Sprintf(`{"job":%q,"line":1,"spec":"%016x","attempt":%d,"final":%v,"version":1,"reason":%q,"exitCode":%d,"memory":{"limit":%d}}`,
		job, 5, attempt, final, reason, code, limit)
}

func TestReadLog(t *testing.T) {
	ok, failed := verdictLine("ok", 1, true, "exited", 0, 100), verdictLine("failed", 1, true, "exited", 3, 100)
	l, err := ReadLog(strings.NewReader(strings.Join([]string{
		ok, failed, "",
		verdictLine("killed", 1, true, "killed", 143, 100),
		verdictLine("lost", 1, true, "lost", 137, 100),
		`{"job":"torn","line":1,"fin`,
		verdictLine("invalid", 0, true, "invalid", 2, -1),
		verdictLine("late", 1, true, "killed", 0, 100), verdictLine("late", 1, true, "exited", 0, 100), verdictLine("late", 1, true, "killed", 143, 100),
		verdictLine("again", 1, false, "memory-limit", 137, 100), verdictLine("again", 2, false, "memory-limit", 137, 200),
		`{"job":"number","final":1}`, "[]", "null", `{"level":"info"}`, `{"job":"torn","line":1,"attempt":1,"final":tr`,
	}, "\n")))
	if err != nil || l.Lines != 10 || l.Torn != 6 || !l.Open {
		t.Fatalf("%+v, %v", l, err)
	}
	for id, want := range map[string]past{
		"ok": {done: true, ok: true}, "failed": {done: true}, "late": {done: true, ok: true},
		"killed": {}, "lost": {}, "invalid": {}, "torn": {}, "unknown": {}, "again": {attempt: 2, limit: 200},
	} {
		got := l.find(id)
		got.spec = 0
		if got != want {
			t.Errorf("%s: %+v, want %+v", id, got, want)
		}
	}
	// A last line that is complete but for its end is one.
	if l, err := ReadLog(strings.NewReader(ok)); err != nil || !l.find("ok").done || !l.Open {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := ReadLog(strings.NewReader(ok + "\n")); err != nil || l.Open {
		t.Errorf("%+v, %v", l, err)
	}
	for _, none := range []string{"", "\n", ok[:40]} {
		if _, err := ReadLog(strings.NewReader(none)); err != nil {
			t.Errorf("%q: %v", none, err)
		}
	}
	if _, err := ReadLog(strings.NewReader("a\nb\n")); err == nil {
		t.Error("a file of something else is a log")
	}
}

func TestLongLines(t *testing.T) {
	long := strings.Repeat(" ", MaxLine)
	l := NewList(Policy{Budget: 1 << 30, Jobs: 1, Max: 1 << 30, Grow: 2}, "/", nil, nil)
	c, err := l.Check(strings.NewReader("\n" + long + "x\n" + `{"args":["x"]}` + "\n" + long + `x`))
	var wrong *ListError
	if !errors.As(err, &wrong) || c.Jobs != 1 || len(wrong.Problems) != 2 || wrong.Problems[0].Line != 2 || wrong.Problems[1].Line != 4 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestCheckList(t *testing.T) {
	var list strings.Builder
	for i := range 100 {
		fmt.Fprintf(&list, `{"id":"a","x":%d}`+"\n", i)
	}
	p := Policy{Budget: 1 << 30, Jobs: 4, Grow: 2, Max: 1 << 30}
	_, err := NewList(p, "/", nil, nil).Check(strings.NewReader(list.String()))
	var wrong *ListError
	if !errors.As(err, &wrong) || len(wrong.Problems) != MaxProblems || len(wrong.Problems)+wrong.More != 299 {
		t.Fatalf("%v", err)
	}
	log, err := ReadLog(strings.NewReader(strings.Join([]string{
		verdictLine("ok", 1, true, "exited", 0, 1<<20), verdictLine("bad", 1, true, "exited", 1, 1<<20), verdictLine("again", 1, false, "memory-limit", 137, 64<<20),
	}, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	text := `{"id":"ok","args":["x"]}
{"id":"bad","args":["x"],"memory":"1G"}
{"id":"again","args":["x"],"memory":"64M","retries":1}
{"args":["x"]}
{"args":["x"],"reservation":"1M"}`
	l := NewList(p, "/", log, nil)
	for range 2 { // the second time for the jobs
		if c, err := l.Check(strings.NewReader(text)); err != nil || c != (Count{Jobs: 5, Done: 2, Failed: 1, Unlimited: 1}) {
			t.Errorf("%+v, %v", c, err)
		}
	}
	var again *job
	_ = l.each(strings.NewReader(text), func(j *job, _ []Problem) bool {
		if j.id == "again" {
			again = j
		}
		return true
	})
	if again == nil || again.attempt != 2 || again.claim.Limit != 128<<20 || again.claim.Reserved != 128<<20 {
		t.Errorf("what was tried again before: %+v", again)
	}
}

// A job that is known by the number of its line is not taken for the one that had that number before.
func TestChangedLine(t *testing.T) {
	p := Policy{Budget: 1 << 30, Jobs: 4, Grow: 2, Max: 1 << 30}
	j := &job{line: 1, id: lineID(1), digest: digest([]byte(`{"args":["x"]}`)), attempt: 1}
	a := j.without("exited", "", 0)
	log, err := ReadLog(strings.NewReader(string(j.text(a, true))))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := NewList(p, "/", log, nil).Check(strings.NewReader(` {"args":["x"]} `)); err != nil || c.Done != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := NewList(p, "/", log, nil).Check(strings.NewReader(`{"args":["y"]}`)); err == nil || !strings.Contains(err.Error(), "give jobs an id") {
		t.Errorf("%v", err)
	}
}
