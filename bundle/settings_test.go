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
