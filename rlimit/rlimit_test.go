package rlimit

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	want := map[string]int{"linux": 16, "darwin": 10}[runtime.GOOS]
	if len(types) != want {
		t.Errorf("%d types, want %d", len(types), want)
	}
	units := []string{"bytes", "seconds", "microseconds", "processes", "files", "signals", "priority", "locks"}
	for _, typ := range types {
		if !strings.HasPrefix(typ.Name, "RLIMIT_") {
			t.Errorf("name %q", typ.Name)
		}
		if !slices.Contains(units, typ.Unit) {
			t.Errorf("%s: unit %q", typ.Name, typ.Unit)
		}
		if typ.About == "" || strings.Contains(typ.About, "\n") || typ.Default == "" {
			t.Errorf("%s: default %q, about %q", typ.Name, typ.Default, typ.About)
		}
		if _, err := Parse(typ.Key() + "=" + typ.Default); err != nil && typ.Scope == Process {
			t.Errorf("default of %v", err)
		}
		if !slices.Contains(Platforms(typ.Name), runtime.GOOS) {
			t.Errorf("%s: on %q", typ.Name, Platforms(typ.Name))
		}
	}
	if names := Names(); !slices.IsSorted(names) || len(slices.Compact(names)) != want {
		t.Errorf("names are not sorted and distinct: %q", names)
	}
}

// On most architectures of Linux the 16 types are numbered from 0 to 15.
func TestNumbersLinux(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("numbers of Linux")
	}
	var seen [16]bool
	for _, typ := range types {
		if typ.Resource < 0 || typ.Resource > 15 || seen[typ.Resource] {
			t.Fatalf("%s: number %d is out of range or given twice", typ.Name, typ.Resource)
		}
		seen[typ.Resource] = true
	}
}

func TestLookup(t *testing.T) {
	for _, name := range Names() {
		typ, ok := Lookup(name)
		if !ok || typ.Name != name {
			t.Errorf("Lookup(%q) = %+v, %v", name, typ, ok)
		}
	}
	for _, name := range []string{"", "NOFILE", "RLIMIT_", "rlimit_nofile", "RLIMIT_NOFILE ", "RLIMIT_OFILE"} {
		if typ, ok := Lookup(name); ok {
			t.Errorf("Lookup(%q) = %+v, want none", name, typ)
		}
	}
}

func TestGet(t *testing.T) {
	for _, typ := range types {
		soft, hard, err := Get(typ)
		if err != nil {
			t.Error(err)
		}
		if soft > hard || hard > Infinity {
			t.Errorf("%s: soft %d, hard %d", typ.Name, soft, hard)
		}
	}
	_, _, err := Get(Type{Name: "RLIMIT_NONE", Resource: 12345})
	if err == nil || !strings.HasPrefix(err.Error(), "RLIMIT_NONE: ") {
		t.Errorf("error of an unknown type: %v", err)
	}
}

func TestCheck(t *testing.T) {
	nofile := Type{Name: "RLIMIT_NOFILE", Unit: "files"}
	const raise = ", which takes privilege (CAP_SYS_RESOURCE): ask for at most 100, or run as root"
	tests := []struct {
		name       string
		soft, hard uint64
		current    uint64
		privileged bool
		want       string
	}{
		{"equal", 100, 100, 100, false, ""},
		{"lower", 0, 0, 100, false, ""},
		{"unlimited", Infinity, Infinity, Infinity, false, ""},
		{"soft above hard", 11, 10, 100, true,
			"RLIMIT_NOFILE: soft limit 11 (files) is above hard limit 10 (files): lower soft or raise hard"},
		{"soft unlimited", Infinity, 10, 100, false,
			"RLIMIT_NOFILE: soft limit unlimited is above hard limit 10 (files): lower soft or raise hard"},
		{"raise", 0, 101, 100, false,
			"RLIMIT_NOFILE: hard limit 101 (files) is above the 100 (files) of the caller" + raise},
		{"raise to unlimited", 0, Infinity, 100, false,
			"RLIMIT_NOFILE: hard limit unlimited is above the 100 (files) of the caller" + raise},
		{"raise with privilege", 101, 101, 100, true, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Check(Limit{nofile, test.soft, test.hard}, test.current, test.privileged)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestScope(t *testing.T) {
	if Process.String() != "process" || User.String() != "real user" || UserNamespace.String() != "user namespace" {
		t.Errorf("%v, %v, %v", Process, User, UserNamespace)
	}
	for name, want := range map[string]Scope{"RLIMIT_NPROC": UserNamespace, "RLIMIT_MSGQUEUE": UserNamespace, "RLIMIT_SIGPENDING": UserNamespace, "RLIMIT_NOFILE": Process} {
		if typ, ok := Lookup(name); ok && typ.Scope != want && !(runtime.GOOS == "darwin" && typ.Scope == User) {
			t.Errorf("%s: %v, want %v", name, typ.Scope, want)
		}
	}
}
