//go:build !portable

package launch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mlrun/internal/emulated"
)

func TestStepsApply(t *testing.T) {
	umask := uint32(0o027)
	adj := 321
	got := sh(t, Config{
		Dir: "/usr", Umask: &umask, NoNewPrivileges: true, OOMScoreAdj: &adj,
		Env:     []string{"PATH=/usr/bin:/bin", "X=y z"},
		Rlimits: []Rlimit{{"RLIMIT_CORE", unix.RLIMIT_CORE, 0, 4096}},
	}, `pwd; umask; grep NoNewPrivs /proc/self/status; cat /proc/self/oom_score_adj; ulimit -Hc # in 512-byte blocks
 echo "$X"; ls /proc/self/fd | wc -l; [ $(cut -d ' ' -f 5 /proc/$$/stat) = $$ ] && echo own group`)
	want := "/usr\n0027\nNoNewPrivs:\t1\n321\n8\ny z\n4\nown group"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestDaemonStaysInReach starts a daemon in a session of its own whose parents are gone, and expects KillAll to end it.
func TestDaemonStaysInReach(t *testing.T) {
	emulated.Skip(t, "PR_SET_CHILD_SUBREAPER")
	for _, how := range []string{"kill", "close"} {
		file := filepath.Join(t.TempDir(), "pid")
		p := start(t, Config{Args: []string{"sh", "-c", "(setsid sh -c 'echo $$ >" + file + ".tmp; mv " + file + ".tmp " + file + "; exec sleep 1000' & ) ; exit 3"}})
		if err := p.Exec(); err != nil {
			t.Fatal(err)
		}
		var pid string
		eventually(t, "the daemon runs", func() bool {
			b, err := os.ReadFile(file)
			pid = strings.TrimSpace(string(b))
			return err == nil
		})
		if how == "kill" {
			e, err := p.Next()
			if err != nil || e.Kind != Exited || e.Status.ExitStatus() != 3 {
				t.Fatalf("event %+v, %v", e, err)
			}
			p.Reap()
			p.KillAll()
			if e, err = p.Next(); err != nil || e.Kind != Done {
				t.Fatalf("event %+v, %v", e, err)
			}
			if e.Rusage.Maxrss == 0 {
				t.Error("no resource usage of the descendants")
			}
			p.Close()
		} else {
			p.Close() // as if this process had died
		}
		p.Wait()
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("%s: the daemon %s is still there", how, pid)
		}
	}
}

func TestReaperKilled(t *testing.T) {
	emulated.Skip(t, "PR_SET_CHILD_SUBREAPER")
	p := start(t, Config{Args: []string{"sleep", "1000"}})
	if err := p.Exec(); err != nil {
		t.Fatal(err)
	}
	unix.Kill(p.Reaper, unix.SIGKILL)
	if e, err := p.Next(); err == nil {
		t.Fatalf("event %+v of a dead reaper", e)
	}
	p.Wait()
	// The payload gets the parent-death signal and is reparented to this process.
	var ws unix.WaitStatus
	eventually(t, "the payload is ours and gone", func() bool {
		pid, err := unix.Wait4(p.PID, &ws, unix.WNOHANG, nil)
		return err == nil && pid == p.PID
	})
	if !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		t.Errorf("status %v", ws)
	}
	p.Close()
}
