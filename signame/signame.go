// Package signame translates between signals and their names.
//
// It sends and catches nothing. The names are those of golang.org/x/sys/unix; beside them it has the real-time signals of Linux,
// which have no names of their own and are counted from SIGRTMIN (signal(7)).
package signame

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// rtMin is SIGRTMIN as programs see it: the C libraries keep the kernel's first two, 32 and 33, for threads (nptl(7)).
	rtMin = 34
	// rtMax is SIGRTMAX, the last signal of Linux.
	rtMax = 64
)

// Parse reads a signal: a number from 1 to 64, or a name with or without its SIG in any case: "TERM", "SIGTERM", "RTMIN+3".
func Parse(s string) (syscall.Signal, error) {
	if isDigits(s) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > rtMax {
			return 0, fmt.Errorf("signal %q: want a number from 1 to 64, or a name such as TERM", s)
		}
		return syscall.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if name == "SIGRTMIN" {
		return rtMin, nil
	}
	if rest, ok := strings.CutPrefix(name, "SIGRTMIN+"); ok && isDigits(rest) {
		if n, err := strconv.Atoi(rest); err == nil && n <= rtMax-rtMin {
			return syscall.Signal(rtMin + n), nil
		}
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("signal %q: unknown, want a name such as TERM or a number from 1 to 64", s)
}

// Name returns a signal as [Parse] reads it: its name, "SIGTERM" or "SIGRTMIN+3", or the number of one that has none.
func Name(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	if sig >= rtMin && sig <= rtMax {
		return "SIGRTMIN+" + strconv.Itoa(int(sig)-rtMin)
	}
	return strconv.Itoa(int(sig))
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
