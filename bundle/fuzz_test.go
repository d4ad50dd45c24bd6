package bundle

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzParse(f *testing.F) {
	for _, s := range append(jsonSeeds, everything, minimal, string(Default(0, 0)), typical,
		process(`"env": ["A", 5], "rlimits": [{"type": "RLIMIT_X", "soft": 1}], "user": {"uid": 4294967295}`),
		memory(`"limit": "1G", "swap": 5`), config(`"linux": []`), config(`"hooks": {"poststop": [{"timeout": 1e3}]}`),
		memory(`"limit": 3, "reservation": 2, "swap": 4, "disableOOMKiller": true`), memory(`"reservation": 5, "limit": 4, "swap": 3`),
		config(`"annotations": {"dev.mlrun.memory.on-breach": "signal:RTMIN+3", "dev.mlrun.memory.overshoot": "1G", "dev.mlrun.memory.meter": "poll"}`),
		config(`"annotations": {"dev.mlrun.x": "", "": "", "dev.mlrun.memory.grace": "x"}`)) {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, ignore bool) {
		o := Options{IgnoreUnsupported: ignore}
		b, err := Parse(data, "/bundle", "config.json", o)
		if err != nil {
			checkError(t, err)
			return
		}
		again, err := Parse(b.Raw, b.Dir, b.File, o)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, again); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
		if b.Spec.Process == nil || len(b.Spec.Process.Args) == 0 || b.MemoryLimit == 0 || b.MemoryLimit < -1 {
			t.Errorf("bundle %+v", b)
		}
		checkMemory(t, b)
		if !ignore && b.Warnings != nil {
			t.Errorf("warnings %v", b.Warnings)
		}
		for _, p := range b.Warnings {
			checkProblem(t, p)
		}
	})
}

// checkMemory checks what the documentation of Bundle and Settings promises.
func checkMemory(t *testing.T, b *Bundle) {
	limit, reservation, swap := b.MemoryLimit, b.MemoryReservation, b.MemorySwap
	if reservation == 0 || reservation < -1 || limit > 0 && reservation > limit ||
		swap != -1 && (limit <= 0 || swap < limit) {
		t.Errorf("limit %d, reservation %d, swap %d", limit, reservation, swap)
	}
	s := b.Settings
	if again, err := ParseBreach(s.OnBreach.String()); err != nil || again != s.OnBreach {
		t.Errorf("on-breach %+v is read as %+v, %v", s.OnBreach, again, err)
	}
	if again, err := ParseMeter(s.Meter.String()); err != nil || again != s.Meter {
		t.Errorf("meter %d is read as %d, %v", s.Meter, again, err)
	}
	if s.Overshoot != 0 && (s.Overshoot < MinOvershoot || s.Overshoot > MaxOvershoot) {
		t.Errorf("overshoot %d", s.Overshoot)
	}
}

func checkError(t *testing.T, err error) {
	var e *Error
	if !errors.As(err, &e) || len(e.Problems) == 0 {
		t.Fatalf("%T %v", err, err)
	}
	if s := e.Error(); printable(s) != s {
		t.Errorf("not a printable line: %q", s)
	}
	for _, p := range e.Problems {
		checkProblem(t, p)
	}
}

func checkProblem(t *testing.T, p Problem) {
	for _, s := range []string{p.String(), p.Warning()} {
		if printable(s) != s {
			t.Errorf("not a printable line: %q", s)
		}
	}
	if p.Found == "" || p.Want == "" || len(p.Found) > maxFound || p.Unsupported && p.Path == "" {
		t.Errorf("problem %+v", p)
	}
}
