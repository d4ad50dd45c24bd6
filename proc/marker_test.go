package proc

import "testing"

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
