//go:build !portable

package proc_test

import (
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// TestLimitedCPU waits until RLIMIT_CPU ends a process: whatever else wants the processor, its zombie has the CPU time of the limit.
func TestLimitedCPU(t *testing.T) {
	c := exec.Command("sh", "-c", "ulimit -t 1; while :; do :; done")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	if err := unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if cpu, ok := proc.Root.LimitedCPU(c.Process.Pid); !ok || cpu < time.Second {
		t.Errorf("%v, %v; want the second that was its limit", cpu, ok)
	}
	if _, ok := proc.FS(t.TempDir()).LimitedCPU(c.Process.Pid); ok {
		t.Error("a /proc of files has a clock")
	}
}
