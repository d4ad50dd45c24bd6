package proc

import (
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	line := "1234 (a) b (c) S 1 1233 1200 34816 -1 4194560 5077 0 3 0 12 34 0 0 20 0 7 0 98765 1000 200"
	s, err := ParseStat([]byte(line + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Stat{PID: 1234, Comm: "a) b (c", State: 'S', PPID: 1, PGRP: 1233, Session: 1200, TTYPgrp: -1, MinFlt: 5077, MajFlt: 3, Threads: 7, Start: 98765, UTime: 12, STime: 34}
	if s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
	for _, bad := range []string{"", "12", "12 (x", "x (y) S", "12 (x) S 1 2 3", ") 1 ("} {
		if _, err := ParseStat([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error in several lines", bad)
		}
	}
}

func TestEnded(t *testing.T) {
	for _, c := range []struct {
		state   byte
		threads int
		want    bool
	}{{'R', 1, false}, {'Z', 1, true}, {'Z', 0, true}, {'Z', 2, false}, {'X', 1, true}, {'T', 1, false}} {
		if got := (Stat{State: c.state, Threads: c.threads}).Ended(); got != c.want {
			t.Errorf("state %c with %d threads: ended %v", c.state, c.threads, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (init) S 0 1 1 0 -1 4194560 5077 0 3 0 12 34 0 0 20 0 1 0 2 1000 200"))
	f.Add([]byte("7 ()) Z"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseStat(b); err == nil && s.State == 0 {
			t.Error("parsed without a state")
		}
	})
}
