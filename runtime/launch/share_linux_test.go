//go:build !portable

package launch

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// shares tells whether two processes have one address space.
func shares(t *testing.T, a, b int) bool {
	t.Helper()
	const vm = 1 // KCMP_VM
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), vm, 0, 0, 0)
	if errno != 0 {
		t.Skipf("kcmp: %v", errno)
	}
	return r == 0
}

func TestSharedMemory(t *testing.T) {
	self, score := os.Getpid(), 500
	for _, c := range []struct {
		name            string
		config          Config
		reaper, payload bool
	}{
		{"plain", Config{}, canShare, canShare},
		{"capabilities", Config{Capabilities: &Capabilities{}}, canShare, false},
		{"oom_score_adj", Config{OOMScoreAdj: &score}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Args = []string{"sleep", "1000"}
			p := start(t, c.config)
			if got := shares(t, self, p.Reaper); got != c.reaper {
				t.Errorf("the reaper shares memory: %v, want %v", got, c.reaper)
			}
			if got := shares(t, self, p.PID); got != c.payload {
				t.Errorf("the payload shares memory at its gate: %v, want %v", got, c.payload)
			}
			if err := p.Exec(); err != nil {
				t.Fatal(err)
			}
			if shares(t, self, p.PID) {
				t.Error("the program shares memory")
			}
			p.KillAll()
			if status, _ := finish(t, p); status.Signal() != syscall.SIGKILL {
				t.Errorf("status %#x", uint32(status))
			}
		})
	}
}

// TestSharedHeap checks that neither the garbage collector nor the heap come between a process that shares memory and what it runs on.
func TestSharedHeap(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	held.Lock()
	before := len(held.plans) // of reapers that other tests have killed
	held.Unlock()
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() {
		var keep [64][]byte
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// Of the size of a stack, and full of what is no address.
			b := make([]byte, shareStack)
			for j := range b {
				b[j] = 0xa5
			}
			keep[i%len(keep)] = b
			if i%1000 == 0 {
				runtime.GC()
			}
		}
	})
	for range 100 {
		p := start(t, Config{Args: []string{"sh", "-c", "exit 7"}})
		runtime.GC()
		if err := p.Exec(); err != nil {
			t.Fatal(err)
		}
		if status, _ := finish(t, p); status.ExitStatus() != 7 {
			t.Fatalf("status %#x", uint32(status))
		}
		if _, err := Start(&Config{Args: []string{"/nope"}, Terminal: -1}); err == nil {
			t.Fatal("/nope was started")
		}
	}
	close(stop)
	busy.Wait()
	held.Lock()
	defer held.Unlock()
	if n := len(held.plans) - before; n != 0 {
		t.Errorf("%d plans are held after the end", n)
	}
}

// TestSharedSignals checks that a created payload, which has the supervisor's memory, has none of its signal handlers.
func TestSharedSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGSEGV, syscall.SIGUSR1, syscall.SIGPROF} {
		p := start(t, Config{Args: []string{"true"}})
		if err := syscall.Kill(p.PID, sig); err != nil {
			t.Fatal(err)
		}
		if err := p.Exec(); err != nil {
			t.Error(err)
		}
		if status, _ := finish(t, p); !status.Signaled() || status.Signal() != sig {
			t.Errorf("%v: status %#x", sig, uint32(status))
		}
	}
}
