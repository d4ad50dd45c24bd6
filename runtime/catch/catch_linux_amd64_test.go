package catch_test

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/runtime/catch"
)

var caught = sync.OnceValues(func() (<-chan os.Signal, error) {
	c := make(chan os.Signal, 64)
	ready, err := catch.Signals([]syscall.Signal{unix.SIGUSR1, unix.SIGUSR2, unix.SIGTSTP, unix.SIGALRM}, c)
	if err == nil {
		<-ready
	}
	return c, err
})

func signals(t *testing.T) <-chan os.Signal {
	t.Helper()
	c, err := caught()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// next wants sig to be the next signal that came.
func next(t *testing.T, c <-chan os.Signal, sig syscall.Signal) {
	t.Helper()
	select {
	case got := <-c:
		if got != sig {
			t.Fatalf("%v came, want %v", got, sig)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%v did not come", sig)
	}
}

func kill(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := unix.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

// handled reads the set of signals that have a handler from a /proc/PID/status.
func handled(status []byte) uint64 {
	_, after, _ := strings.Cut(string(status), "SigCgt:")
	mask, err := strconv.ParseUint(strings.Fields(after)[0], 16, 64)
	if err != nil {
		panic(err)
	}
	return mask
}

func TestSignals(t *testing.T) {
	f := signals(t)
	// One after the other: the kernel keeps no order among signals that are pending together.
	for _, sig := range []syscall.Signal{unix.SIGUSR1, unix.SIGTSTP, unix.SIGUSR2, unix.SIGUSR1} {
		kill(t, sig)
		next(t, f, sig)
	}
}

// The handler must leave no trace in whatever it interrupts.
func TestSignalsWhileWorking(t *testing.T) {
	f := signals(t)
	stop, worked := make(chan struct{}), make(chan bool)
	workers := max(1, runtime.GOMAXPROCS(0)-1) // with more, each signal would wait for a time slice to be handled
	for range workers {
		go func() {
			ok := true
			for {
				select {
				case <-stop:
					worked <- ok
					return
				default:
				}
				x, y := 1.0, make([]int, 64) // registers of both kinds, and the allocator
				for i := range y {
					y[i], x = i, x*1.5
				}
				for i := range y {
					ok = ok && y[i] == i
					x /= 1.5
				}
				ok = ok && x > 0.999 && x < 1.001
			}
		}()
	}
	for range 2000 {
		kill(t, unix.SIGUSR1)
		next(t, f, unix.SIGUSR1)
	}
	close(stop)
	for range workers {
		if !<-worked {
			t.Error("a computation went wrong under signals")
		}
	}
}

func TestSignalsTwice(t *testing.T) {
	signals(t)
	if _, err := catch.Signals(nil, nil); err == nil {
		t.Error("a second call was accepted")
	}
}

// A program that is executed has nothing of the handlers.
func TestExec(t *testing.T) {
	signals(t)
	status, err := exec.Command("cat", "/proc/self/status").Output()
	if err != nil {
		t.Fatal(err)
	}
	if mask := handled(status); mask != 0 {
		t.Errorf("caught signals of an executed program: %#x, want none", mask)
	}
}

func TestDefault(t *testing.T) {
	f := signals(t)
	if err := catch.Default(unix.SIGALRM); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if handled(status)&(1<<(unix.SIGALRM-1)) != 0 {
		t.Error("SIGALRM still has a handler")
	}
	kill(t, unix.SIGUSR1)
	next(t, f, unix.SIGUSR1)
}
