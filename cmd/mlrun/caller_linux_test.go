package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mlrun/internal/asnobody"
	"mlrun/proc"
)

// caller is a program of the scripts that does what engines do: it is a subreaper, runs a command, and when that succeeds waits for the
// process whose pid is in a file, and for nothing else.
//
//	caller PIDFILE mlrun create --pid-file PIDFILE ...
//
// It prints "child" when the process is its own then, and how it ended.
func caller() {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Println("command:", err)
		os.Exit(cmd.ProcessState.ExitCode())
	}
	b, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		panic(err)
	}
	if st, err := proc.Root.Stat(pid); err == nil && st.PPID == os.Getpid() {
		fmt.Println("child")
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		fmt.Println("wait:", err)
		return
	}
	fmt.Println("code", status.ExitStatus(), "signal", int(status.Signal()))
}

// TestObservedKilled ends one of the two processes of mlrun that watch a payload which is somebody else's child.
func TestObservedKilled(t *testing.T) {
	s := newSite(t)
	for _, stage := range []string{"created", "running"} {
		for _, victim := range []string{"supervisor", "guard", "payload"} {
			t.Run(stage+" "+victim, func(t *testing.T) {
				id := stage + "-" + victim
				dir := s.bundle(family + "wait")
				pidFile := dir + "/pid"
				c := exec.Command("caller", pidFile, "mlrun", "create", "--pid-file", pidFile, "--bundle", dir, id)
				c.Env = s.env
				var out strings.Builder
				c.Stdout = &out
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
				eventually(t, "it is created", func() bool { return fileExists(pidFile) && s.state(id).Status == "created" })
				var ids []proc.ID
				if stage == "running" {
					s.must("start", id)
					ids = pids(t, dir+"/pids", 4)
				}
				st := s.state(id)
				payload, err := proc.Root.Stat(st.Pid)
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, payload.ID())
				switch victim {
				case "supervisor":
					unix.Kill(st.MLRun.Supervisor, unix.SIGKILL)
				case "guard":
					unix.Kill(childOf(t, st.MLRun.Supervisor), unix.SIGKILL)
				case "payload":
					unix.Kill(st.Pid, unix.SIGKILL)
				}
				gone(t, ids)
				if err := c.Wait(); err != nil {
					t.Error(err)
				}
				// A payload at its gate ends when it sees that there is nobody at the other side.
				if got := out.String(); !strings.HasPrefix(got, "child\n") || !strings.Contains(got, "signal 9") && !strings.Contains(got, "code 127") {
					t.Errorf("the caller saw %q, want that its child was killed", got)
				}
				want := "killed"
				switch victim {
				case "supervisor":
					want = "lost"
				case "payload":
					want = "signaled"
				}
				eventually(t, "the verdict is there", func() bool { return s.state(id).MLRun.Reason != "" })
				if st := s.state(id); st.Status != "stopped" || st.MLRun.Reason != want && !(stage == "created" && victim == "payload") {
					t.Errorf("state %+v, want stopped, %s", st, want)
				}
				s.must("delete", id)
			})
		}
	}
}

// observedChains is less than for TestForkStorm: who is in a storm's way that has lost its first process has no list of its children.
const observedChains = 8

// TestObservedForkStorm kills a payload whose descendants fork and end without pause, and the supervisor of another one.
func TestObservedForkStorm(t *testing.T) {
	s := newSite(t)
	for _, victim := range []string{"payload", "supervisor"} {
		storm := s.storm(observedChains)
		pidFile := storm.dir + "/pid"
		c := exec.Command("caller", pidFile, "mlrun", "run", "--detach", "--pid-file", pidFile, "--id", victim, storm.dir)
		c.Env = s.env
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		storm.rages()
		st := s.state(victim)
		if victim == "payload" {
			unix.Kill(st.Pid, unix.SIGKILL)
		} else {
			unix.Kill(st.MLRun.Supervisor, unix.SIGKILL)
		}
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
		storm.calms()
		s.must("delete", "--force", victim)
	}
}

// childOf is the child of a supervisor that watches it.
func childOf(t *testing.T, parent int) int {
	t.Helper()
	pids, err := proc.Root.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if st, err := proc.Root.Stat(pid); err == nil && st.PPID == parent {
			return pid
		}
	}
	t.Fatalf("process %d has no child", parent)
	return 0
}

func TestObservedAsNobody(t *testing.T) { asnobody.Run(t, "^TestObserved") }
