package rlimit

import (
	"runtime"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	both := func(soft, hard uint64) Change { return Change{Soft: soft, Hard: hard, SetSoft: true, SetHard: true} }
	tests := []struct {
		in, name string
		want     Change
	}{
		{"nofile=1024:4096", "RLIMIT_NOFILE", both(1024, 4096)},
		{"nofile=1024", "RLIMIT_NOFILE", both(1024, 1024)},
		{"NOFILE=1024:", "RLIMIT_NOFILE", Change{Soft: 1024, SetSoft: true}},
		{"RLIMIT_NOFILE=:4096", "RLIMIT_NOFILE", Change{Hard: 4096, SetHard: true}},
		{"rlimit_Nofile=0:unlimited", "RLIMIT_NOFILE", both(0, Infinity)},
		{"ofile=5", "RLIMIT_NOFILE", both(5, 5)},
		{"RLIMIT_OFILE=5", "RLIMIT_NOFILE", both(5, 5)},
		{"cpu=-1", "RLIMIT_CPU", both(Infinity, Infinity)},
		{"cpu=1:-1", "RLIMIT_CPU", both(1, Infinity)},
		{"cpu=Infinity:UNLIMITED", "RLIMIT_CPU", both(Infinity, Infinity)},
		{"fsize=1K:1m", "RLIMIT_FSIZE", both(1<<10, 1<<20)},
		{"fsize=7b:1g", "RLIMIT_FSIZE", both(7, 1<<30)},
		{"as=2T:", "RLIMIT_AS", Change{Soft: 2 << 40, SetSoft: true}},
		{"core=000", "RLIMIT_CORE", both(0, 0)},
		{"nproc=30:100", "RLIMIT_NPROC", both(30, 100)},
		{"as=" + number(Max), "RLIMIT_AS", both(Max, Max)},
	}
	for _, test := range tests {
		got, err := Parse(test.in)
		if err != nil {
			t.Errorf("%s: %v", test.in, err)
			continue
		}
		test.want.Type, _ = Lookup(test.name)
		if got != test.want {
			t.Errorf("%s: %+v, want %+v", test.in, got, test.want)
		}
		again, err := Parse(got.String())
		if err != nil || again != got {
			t.Errorf("%s: is %q, which is read as %+v, %v", test.in, got, again, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", `rlimit "": want TYPE=SOFT:HARD, such as nofile=1024:4096`},
		{"nofile", `rlimit "nofile": want TYPE=SOFT:HARD, such as nofile=1024:4096`},
		{"=5", `rlimit "": unknown type: want one of `},
		{"files=5", `rlimit "files": unknown type: want one of as, core, cpu, data, fsize, `},
		{"RLIMIT_=5", `rlimit "RLIMIT_": unknown type`},
		{"nofile=", `rlimit "nofile=": no value: want nofile=SOFT:HARD, SOFT: or :HARD`},
		{"nofile=:", `rlimit "nofile=:": no value`},
		{"nofile=1:2:3", `RLIMIT_NOFILE: "2:3": want a whole number (files) without a suffix, or unlimited`},
		{"nofile=1K", `RLIMIT_NOFILE: "1K": want a whole number (files) without a suffix, or unlimited`},
		{"cpu=1.5", `RLIMIT_CPU: "1.5": want a whole number (seconds)`},
		{"cpu=-2", `RLIMIT_CPU: "-2": want`},
		{"cpu=+2", `RLIMIT_CPU: "+2": want`},
		{"cpu= 2", `RLIMIT_CPU: " 2": want`},
		{"fsize=K", `RLIMIT_FSIZE: "K": want bytes as a whole number with an optional suffix B, K, M, G or T (powers of 1024), or unlimited`},
		{"fsize=1KB", `RLIMIT_FSIZE: "1KB": want bytes`},
		{"fsize=18446744073709551616", `RLIMIT_FSIZE: "18446744073709551616" does not fit rlim_t: ask for at most ` + number(Max) + `, or for unlimited`},
		{"fsize=18446744073709551615", `RLIMIT_FSIZE: "18446744073709551615" does not fit rlim_t`},
		{"fsize=16777216T", `RLIMIT_FSIZE: "16777216T" does not fit rlim_t`},
		{"nofile=5:4", `RLIMIT_NOFILE: soft limit 5 (files) is above hard limit 4 (files): lower soft or raise hard`},
		{"nofile=unlimited:4", `RLIMIT_NOFILE: soft limit unlimited is above hard limit 4 (files)`},
		{"kqueues=5", `RLIMIT_KQUEUES is not on ` + runtime.GOOS + `: it is a limit of freebsd; leave it out here`},
	}
	if runtime.GOOS == "darwin" {
		tests = append(tests, struct{ in, want string }{"rttime=5", "RLIMIT_RTTIME is not on darwin: it is a limit of linux; leave it out here"})
	}
	for _, test := range tests {
		c, err := Parse(test.in)
		if err == nil {
			t.Errorf("%q: %+v, want an error", test.in, c)
			continue
		}
		if !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%q:\ngot  %s\nwant %s", test.in, err, test.want)
		}
	}
}

func TestParseList(t *testing.T) {
	got, err := ParseList([]string{"nofile=1:2", "core=0"})
	if err != nil || len(got) != 2 || got[0].Name != "RLIMIT_NOFILE" || got[1].Name != "RLIMIT_CORE" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = ParseList([]string{"nofile=1:2", "x=1", "RLIMIT_OFILE=3", "cpu=y"})
	list, ok := err.(interface{ Unwrap() []error })
	if !ok || len(list.Unwrap()) != 3 {
		t.Fatalf("all that is wrong: %v", err)
	}
	if twice := list.Unwrap()[1].Error(); twice != `RLIMIT_NOFILE: "RLIMIT_OFILE=3" after "nofile=1:2": want each type once` {
		t.Error(twice)
	}
}

// One limit with two names is set once: so it is on darwin, whose numbers these are.
func TestSame(t *testing.T) {
	as, rss, data := Type{Name: "RLIMIT_AS", Resource: 5}, Type{Name: "RLIMIT_RSS", Resource: 5}, Type{Name: "RLIMIT_DATA", Resource: 2}
	if !as.Same(rss) || !as.Same(as) || as.Same(data) || (Type{}).Same(Type{}) {
		t.Errorf("%v %v %v %v", as.Same(rss), as.Same(as), as.Same(data), (Type{}).Same(Type{}))
	}
	want := `RLIMIT_RSS: "rss=5" after "as=4": RLIMIT_AS is the same limit on ` + runtime.GOOS + ": want one of them"
	if got := twice(as, rss, "as=4", "rss=5").Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestApply(t *testing.T) {
	for in, want := range map[string][2]uint64{"nofile=1:2": {1, 2}, "nofile=3:": {3, 20}, "nofile=:30": {10, 30}} {
		c, err := Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if l := c.Apply(10, 20); l.Soft != want[0] || l.Hard != want[1] || l.Name != c.Name {
			t.Errorf("%s of 10:20: %+v", in, l)
		}
	}
}

// FuzzParse: what is accepted means the same when it is written and read again, and no number is made infinite.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"nofile=1024:4096", "as=16777215T:-1", "RLIMIT_CPU=infinity:", "ofile=:0", "fsize=18446744073709551615", "x=", "=:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Parse(s)
		if err != nil {
			if text := err.Error(); text == "" || strings.Contains(text, "\n") {
				t.Errorf("%q: error %q is no line", s, text)
			}
			return
		}
		again, err := Parse(c.String())
		if err != nil || again != c {
			t.Errorf("%q: %q is read as %+v, %v", s, c, again, err)
		}
		if !c.SetSoft && !c.SetHard || c.SetSoft && c.SetHard && c.Soft > c.Hard {
			t.Errorf("%q: %+v", s, c)
		}
		for _, v := range []uint64{c.Soft, c.Hard} {
			if v > Max && !strings.Contains(s, "-1") && !strings.Contains(strings.ToLower(s), "in") && !strings.Contains(strings.ToLower(s), "unlimited") {
				t.Errorf("%q is made %d", s, v)
			}
		}
	})
}
