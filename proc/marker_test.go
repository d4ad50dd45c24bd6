package proc

import (
	"strconv"
	"testing"
)

func TestIsMarked(t *testing.T) {
	run := ID{PID: 12, Start: 345}
	for environ, want := range map[string]bool{
		"":                                       false,
		"MLRUN_RUN=12-345\x00":                   true,
		"A=1\x00MLRUN_RUN=12-345":                true,
		"MLRUN_RUN=1-1:12-345\x00B=2\x00":        true,
		"MLRUN_RUN=12-345:1-1\x00":               true,
		"MLRUN_RUN=12-3456\x00":                  false,
		"MLRUN_RUN=112-345\x00":                  false,
		"XMLRUN_RUN=12-345\x00":                  false,
		"A=MLRUN_RUN=12-345\x00":                 false,
		"A=\nMLRUN_RUN=12-345\x00MLRUN_RUN=\x00": false,
	} {
		if got := isMarked([]byte(environ), Marker(run)); got != want {
			t.Errorf("%q: %v, want %v", environ, got, want)
		}
	}
	if got := Mark("", run); got != "MLRUN_RUN=12-345" {
		t.Error(got)
	}
	if got := Mark("1-1", run); got != "MLRUN_RUN=1-1:12-345" {
		t.Error(got)
	}
}

func TestIsSealed(t *testing.T) {
	run := ID{PID: 12, Start: 345}
	seal := Seal(run)
	text := func(soft, hard string) []byte {
		return []byte("Limit                     Soft Limit           Hard Limit           Units     \n" +
			"Max realtime priority     0                    0                    \n" +
			"Max realtime timeout      " + soft + "  " + hard + "            us        \n")
	}
	own, other := strconv.FormatUint(seal, 10), strconv.FormatUint(Seal(ID{PID: 13, Start: 345}), 10)
	for _, c := range []struct {
		limits []byte
		want   bool
	}{
		{text(own, own), true}, {text("unlimited", own), true}, {text("5", own), true},
		{text(own, other), false}, {text(other, other), false}, {text("unlimited", "unlimited"), false}, {nil, false}, {text("", ""), false},
	} {
		if got := isSealed(c.limits, seal); got != c.want {
			t.Errorf("%s: %v", c.limits, got)
		}
	}
	if inner := Seal(ID{PID: 4 << 20, Start: 346}); inner >= seal || inner < 1<<61 {
		t.Errorf("the seal of a later run is %d, want less than %d", inner, seal)
	}
}
