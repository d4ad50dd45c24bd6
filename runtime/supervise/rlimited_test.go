package supervise

import (
	"syscall"
	"testing"
	"time"

	"mlrun/rlimit"
)

func TestRlimited(t *testing.T) {
	const none = rlimit.Infinity
	lim := func(name string, soft, hard uint64) rlimit.Limit {
		return rlimit.Limit{Type: rlimit.Type{Name: name, Unit: "units"}, Soft: soft, Hard: hard}
	}
	list := func(l ...rlimit.Limit) []rlimit.Limit { return l }
	stack := map[string]bool{"RLIMIT_STACK": true}
	const s = time.Second
	tests := []struct {
		name string
		d    death
		want string // reason and certainty
		soft uint64
	}{
		{"the kernel has raised the soft limit", death{signal: syscall.SIGXCPU, cpu: s, asked: list(lim("RLIMIT_CPU", 1, 5)), now: list(lim("RLIMIT_CPU", 2, 5))}, "rlimit-cpu certain", 1},
		{"and again", death{signal: syscall.SIGXCPU, cpu: 3 * s, asked: list(lim("RLIMIT_CPU", 1, 5)), now: list(lim("RLIMIT_CPU", 4, 5))}, "rlimit-cpu certain", 1},
		{"SIGXCPU by somebody", death{signal: syscall.SIGXCPU, cpu: s / 2, asked: list(lim("RLIMIT_CPU", 1, 5)), now: list(lim("RLIMIT_CPU", 1, 5))}, "", 0},
		{"SIGXCPU without a limit", death{signal: syscall.SIGXCPU, cpu: 9 * s, asked: list(lim("RLIMIT_CPU", none, none)), now: list(lim("RLIMIT_CPU", none, none))}, "", 0},
		{"a limit of its own", death{signal: syscall.SIGXCPU, cpu: 101 * s / 100, asked: list(lim("RLIMIT_CPU", none, none)), now: list(lim("RLIMIT_CPU", 2, 5))}, "rlimit-cpu likely", 2},
		{"a limit of its own, long before", death{signal: syscall.SIGXCPU, cpu: s, asked: list(lim("RLIMIT_CPU", none, none)), now: list(lim("RLIMIT_CPU", 9, 9))}, "", 0},
		{"waited for by others", death{signal: syscall.SIGXCPU, cpu: -1, asked: list(lim("RLIMIT_CPU", 1, 5)), now: list(lim("RLIMIT_CPU", 1, 5))}, "rlimit-cpu likely", 1},
		{"hard", death{signal: syscall.SIGKILL, cpu: 2 * s, asked: list(lim("RLIMIT_CPU", 1, 2)), now: list(lim("RLIMIT_CPU", 2, 2))}, "rlimit-cpu likely", 2},
		{"0 is 1", death{signal: syscall.SIGKILL, cpu: s / 2, now: list(lim("RLIMIT_CPU", 0, 0))}, "", 0},
		{"SIGKILL by somebody", death{signal: syscall.SIGKILL, cpu: 199 * s / 100, now: list(lim("RLIMIT_CPU", 1, 2))}, "", 0},
		{"SIGKILL, nothing known", death{signal: syscall.SIGKILL, cpu: -1, now: list(lim("RLIMIT_CPU", 1, 2))}, "", 0},
		{"SIGKILL without a limit", death{signal: syscall.SIGKILL, cpu: 99 * s, now: list(lim("RLIMIT_CPU", none, none), lim("RLIMIT_RTTIME", none, none))}, "", 0},
		{"real time", death{signal: syscall.SIGXCPU, cpu: s, realtime: true,
			asked: list(lim("RLIMIT_CPU", none, none), lim("RLIMIT_RTTIME", 1000, none)), now: list(lim("RLIMIT_CPU", none, none), lim("RLIMIT_RTTIME", 1001000, none))}, "rlimit-rttime certain", 1000},
		{"real time of its own", death{signal: syscall.SIGXCPU, cpu: s, realtime: true,
			asked: list(lim("RLIMIT_RTTIME", none, none)), now: list(lim("RLIMIT_RTTIME", 1001000, 5000000))}, "rlimit-rttime likely", 1001000},
		{"real time, hard", death{signal: syscall.SIGKILL, cpu: s, realtime: true, now: list(lim("RLIMIT_RTTIME", 1000, 1000))}, "rlimit-rttime possible", 1000},
		{"the mark of a run is no limit", death{signal: syscall.SIGKILL, cpu: s, realtime: true, now: list(lim("RLIMIT_RTTIME", 1<<62-5, 1<<62-5))}, "", 0},
		{"file", death{signal: syscall.SIGXFSZ, now: list(lim("RLIMIT_FSIZE", 10, 20))}, "rlimit-fsize likely", 10},
		{"file without a limit", death{signal: syscall.SIGXFSZ, now: list(lim("RLIMIT_FSIZE", none, none))}, "", 0},
		{"stack", death{signal: syscall.SIGSEGV, maxrss: 1 << 21, explicit: stack, now: list(lim("RLIMIT_STACK", 1<<20, none))}, "rlimit-stack possible", 1 << 20},
		{"stack, small", death{signal: syscall.SIGSEGV, maxrss: 1 << 19, explicit: stack, now: list(lim("RLIMIT_STACK", 1<<20, none))}, "", 0},
		{"stack that nobody asked for", death{signal: syscall.SIGSEGV, maxrss: 1 << 21, now: list(lim("RLIMIT_STACK", 1<<20, none))}, "", 0},
		{"another signal", death{signal: syscall.SIGTERM, cpu: 9 * s, now: list(lim("RLIMIT_CPU", 1, 2))}, "", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			reason, r := rlimited(test.d)
			if r != nil {
				got = reason + " " + r.Certainty
				if uint64(r.Soft) != test.soft {
					t.Errorf("soft %d, want %d", r.Soft, test.soft)
				}
			}
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
