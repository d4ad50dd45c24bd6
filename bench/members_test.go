package main

import (
	"slices"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	rest := strings.Repeat(" 0", 17)
	for _, c := range []struct {
		line, command string
		ok            bool
	}{
		{"12 (sh) S 7" + rest + " 4242 0", "sh", true},
		{"12 (a) (b c) S 7" + rest + " 4242 0", "a) (b c", true},
		{"12 (sh) S 7", "sh", false},
		{"12 sh S 7", "", false},
		{"", "", false},
	} {
		command, fields, ok := parseStat(c.line)
		if command != c.command || ok != c.ok {
			t.Errorf("parseStat(%q) = %q, %v, want %q, %v", c.line, command, ok, c.command, c.ok)
		}
		if ok && (fields[0] != "S" || fields[1] != "7" || fields[19] != "4242") {
			t.Errorf("parseStat(%q): state %s, parent %s, start %s", c.line, fields[0], fields[1], fields[19])
		}
	}
}

func TestTagged(t *testing.T) {
	env := []byte("HOME=/\x00MLRUN_BENCH=a-1\x00LAST=x")
	for v, want := range map[string]bool{
		"MLRUN_BENCH=a-1": true, "LAST=x": true, "MLRUN_BENCH=a": false, "BENCH=a-1": false, "MLRUN_BENCH=a-12": false,
	} {
		if got := tagged(env, []byte(v)); got != want {
			t.Errorf("tagged(%q) = %v, want %v", v, got, want)
		}
	}
}

func TestPayload(t *testing.T) {
	list := []member{{1, "1", "mlrun"}, {2, "1", "flee"}, {3, "1", "mlrun: reaper"}, {4, "9", "touch"}}
	if got := payload(list); !slices.Equal(got, []member{list[1], list[3]}) {
		t.Errorf("payload(%v) = %v", list, got)
	}
}

func TestOvershootTable(t *testing.T) {
	a, b := &grown{limiter: &limiter{name: "a"}, runs: 3, outrun: 1}, &grown{limiter: &limiter{name: "b"}, runs: 3}
	a.breach = series{"a, at breach", []float64{2, 4}}
	a.delay.add(1.5)
	a.largest = series{"a, largest", []float64{-1, -1, -1}}
	b.largest = series{"b, largest", []float64{8, 8, 8}}
	got := overshootTable("caption", []*grown{a, b}).rows
	want := [][]string{
		{"a, at breach", "3.00", "2.00", "4.00", "1.00 x", "0.00", "1.50", "2 of 3"},
		{"a, largest", "-1.00", "-1.00", "-1.00", "-", "0.00", "1.50", "2 of 3"},
		{"b, largest", "8.00", "8.00", "8.00", "1.00 x", "0.00", "-", "3 of 3"},
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("rows are\n%v, want\n%v", got, want)
	}
}

func TestPlural(t *testing.T) {
	if a, b := plural(1, "run"), plural(20, "run"); a != "1 run" || b != "20 runs" {
		t.Errorf("plural: %q, %q", a, b)
	}
}

// The proofs cost minutes and are measured on request.
func TestChoose(t *testing.T) {
	all, err := choose("")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.proof {
			t.Errorf("%s is a proof and part of the default run", m.name)
		}
	}
	if one, err := choose("escapes"); err != nil || len(one) != 1 || !one[0].proof {
		t.Errorf("choose(escapes) = %v, %v", one, err)
	}
	if _, err := choose("nothing"); err == nil {
		t.Error("choose(nothing) is no error")
	}
}
