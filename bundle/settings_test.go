package bundle

import (
	"syscall"
	"testing"
)

func TestParseBreach(t *testing.T) {
	for s, want := range map[string]Breach{
		"kill":            {},
		"kill-largest":    {Action: BreachKillLargest},
		"kill-newest":     {Action: BreachKillNewest},
		"freeze":          {Action: BreachFreeze},
		"signal:USR1":     {BreachSignal, syscall.SIGUSR1},
		"signal:SIGUSR1":  {BreachSignal, syscall.SIGUSR1},
		"signal:usr1":     {BreachSignal, syscall.SIGUSR1},
		"signal:15":       {BreachSignal, syscall.SIGTERM},
		"signal:33":       {BreachSignal, 33},
		"signal:RTMIN+30": {BreachSignal, 64},
	} {
		got, err := ParseBreach(s)
		if got != want || err != nil {
			t.Errorf("ParseBreach(%q) = %+v, %v, want %+v", s, got, err, want)
		}
		if again, err := ParseBreach(got.String()); again != got || err != nil {
			t.Errorf("%q becomes %q, which is %+v, %v", s, got, again, err)
		}
	}
	const (
		kill   = "kill: SIGKILL can not be caught, and kill leaves nothing behind"
		freeze = "freeze: SIGSTOP can not be caught, and freeze stops every process"
	)
	for s, want := range map[string]string{
		"": wantBreach, "Kill": wantBreach, "kill ": wantBreach, "stop": wantBreach, "largest": wantBreach, "signal": wantBreach,
		"signal:": wantBreach, "signal:0": wantBreach, "signal:65": wantBreach, "signal:-1": wantBreach, "signal: USR1": wantBreach,
		"signal:NOPE": wantBreach, "USR1": wantBreach, "10": wantBreach, "a\nb": wantBreach,
		"signal:KILL": kill, "signal:sigkill": kill, "signal:9": kill, "signal:STOP": freeze, "signal:SIGSTOP": freeze,
	} {
		got, err := ParseBreach(s)
		if text := "on-breach " + quote(s) + ": want " + want; got != (Breach{}) || err == nil || err.Error() != text {
			t.Errorf("ParseBreach(%q) = %+v, %v, want %s", s, got, err, text)
		}
	}
}

func TestParseMeter(t *testing.T) {
	for s, want := range map[string]Meter{"auto": MeterAuto, "events": MeterEvents, "poll": MeterPoll} {
		if got, err := ParseMeter(s); got != want || err != nil || got.String() != s {
			t.Errorf("ParseMeter(%q) = %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "Auto", "event", "poll\n", "1"} {
		got, err := ParseMeter(s)
		if text := "meter " + quote(s) + ": want " + wantMeter; got != MeterAuto || err == nil || err.Error() != text {
			t.Errorf("ParseMeter(%q) = %s, %v, want %s", s, got, err, text)
		}
	}
}

func TestParseOvershoot(t *testing.T) {
	for s, want := range map[string]int64{
		"1048576": 1 << 20, "1M": 1 << 20, "1024k": 1 << 20, "16M": 16 << 20, "1024G": 1 << 40, "1099511627776": 1 << 40,
	} {
		if got, err := ParseOvershoot(s); got != want || err != nil {
			t.Errorf("ParseOvershoot(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "-1", "1048575", "1023K", "1099511627777", "1025G", "1T", "1.5M", "16 M", "99999999999999999999"} {
		got, err := ParseOvershoot(s)
		if text := "overshoot " + quote(s) + ": want " + wantOvershoot; got != 0 || err == nil || err.Error() != text {
			t.Errorf("ParseOvershoot(%q) = %d, %v, want %s", s, got, err, text)
		}
	}
}

// TestMemoryLimitAnnotation checks that it is the limit, and that who says it twice says the same.
func TestMemoryLimitAnnotation(t *testing.T) {
	config := func(annotation, memory string) string {
		return `{"ociVersion":"1.0.0","process":{"args":["a"],"cwd":"/"},"annotations":{"dev.mlrun.memory.limit":` + annotation +
			`},"linux":{"resources":{` + memory + `}}}`
	}
	for _, c := range []struct {
		annotation, memory      string
		limit, reservation, swp int64
	}{
		{`"64M"`, ``, 64 << 20, -1, -1},
		{`"67108864"`, `"memory":{}`, 64 << 20, -1, -1},
		{`"64M"`, `"memory":{"limit":67108864}`, 64 << 20, -1, -1},
		{`"64M"`, `"memory":{"reservation":1048576,"swap":67108864}`, 64 << 20, 1 << 20, 64 << 20},
		{`"64M"`, `"unified":{"memory.max":"64M"}`, 64 << 20, -1, -1},
	} {
		b, err := Parse([]byte(config(c.annotation, c.memory)), "/", "config.json", Options{})
		if err != nil || b.MemoryLimit != c.limit || b.MemoryReservation != c.reservation || b.MemorySwap != c.swp {
			t.Errorf("%s, %s: %+v, %v", c.annotation, c.memory, b, err)
		}
	}
	const annotation = `config.json: annotations["dev.mlrun.memory.limit"]: found `
	for _, c := range []struct{ annotation, memory, want string }{
		{`"0"`, ``, annotation + `"0", want a string: ` + wantSize},
		{`"-1"`, ``, annotation + `"-1", want a string: ` + wantSize},
		{`"much"`, `"memory":{"limit":67108864}`, annotation + `"much", want a string: ` + wantSize},
		{`"64M"`, `"memory":{"limit":1048576}`, annotation + `"64M", want the same as linux.resources.memory.limit, 1048576, or only one of both`},
		{`"64M"`, `"memory":{"limit":-1}`, annotation + `"64M", want the same as linux.resources.memory.limit, -1, or only one of both`},
		{`"1M"`, `"memory":{"reservation":1048577}`, `config.json: linux.resources.memory.reservation: found 1048577, want at most the limit, 1048576`},
	} {
		_, err := Parse([]byte(config(c.annotation, c.memory)), "/", "config.json", Options{})
		if err == nil || err.Error() != c.want {
			t.Errorf("%s, %s: %v, want %s", c.annotation, c.memory, err, c.want)
		}
	}
}
