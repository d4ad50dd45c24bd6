package signame

import (
	"strings"
	"syscall"
	"testing"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "SIGTERM": syscall.SIGTERM, "term": syscall.SIGTERM, "sigTerm": syscall.SIGTERM, "15": 15, "015": 15,
		"USR1": syscall.SIGUSR1, "KILL": syscall.SIGKILL, "1": 1, "32": 32, "64": 64,
		"RTMIN": 34, "sigrtmin+0": 34, "RTMIN+3": 37, "RTMIN+30": 64,
	} {
		if got, err := Parse(s); got != want || err != nil {
			t.Errorf("Parse(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "0", "65", "-1", "+9", "99999999999999999999", "SIG", "SIGSIGTERM", "TERM ", "NOPE", "RTMIN+", "RTMIN3", "RTMIN+31", "RTMIN++3",
		"RTMIN+-1", "RTMIN-1", "a\nb",
	} {
		got, err := Parse(s)
		if got != 0 || err == nil || !strings.HasPrefix(err.Error(), `signal "`) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Parse(%q) = %d, %v, want an error", s, got, err)
		}
	}
}

// Each signal has a name, and that is read as the same signal.
func TestName(t *testing.T) {
	for sig := syscall.Signal(1); sig <= rtMax; sig++ {
		if got, err := Parse(Name(sig)); got != sig || err != nil {
			t.Errorf("Parse(%q) = %d, %v, want %d", Name(sig), got, err, sig)
		}
	}
	for sig, want := range map[syscall.Signal]string{syscall.SIGTERM: "SIGTERM", syscall.SIGKILL: "SIGKILL", 33: "33", 34: "SIGRTMIN+0", 64: "SIGRTMIN+30"} {
		if got := Name(sig); got != want {
			t.Errorf("Name(%d) = %s, want %s", sig, got, want)
		}
	}
}
