package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mlrun/group"
	"mlrun/internal/asnobody"
	"mlrun/proc"
	"mlrun/runtime"
	"mlrun/runtime/supervise"
)

// churnEnv is how long TestGroupChurn starts runs: 60s, for example, in place of churnTime.
const (
	churnEnv  = "MLRUN_GROUP_CHURN"
	churnTime = 1500 * time.Millisecond
	churners  = 8
)

// payloads are what runs do: nothing for a while, fork, or use memory.
var payloads = []string{
	"sleep 0.05",
	"for i in 1 2 3; do sleep 0.03 & done; wait",
	"x=$(head -c 12000000 /dev/zero | tr '\\0' x); sleep 0.03",
	"x=$(head -c 60000000 /dev/zero | tr '\\0' x); sleep 0.1",
	"for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 0.2 & done; wait",
}

// groupSite is a tree of three levels, as the tests and other processes see it.
type groupSite struct {
	*site
	tree   *group.Tree
	top    group.ID
	all    []group.ID // those below come first
	leaves []group.ID
}

func newGroupSite(t *testing.T) *groupSite {
	s := &groupSite{site: newSite(t)}
	create := func(args ...string) group.ID {
		t.Helper()
		n, err := strconv.Atoi(strings.TrimSpace(s.must(append([]string{"group", "create"}, args...)...)))
		if err != nil {
			t.Fatal(err)
		}
		s.all = append([]group.ID{group.ID(n)}, s.all...)
		return group.ID(n)
	}
	s.top = create("--label", "top", "--memory", "150M", "--mproc", "40", "--mlim", "6")
	for i, victim := range []string{"kill-newest-run", "kill-group"} {
		mid := create("--parent", "top", "--label", fmt.Sprintf("mid%d", i), "--memory", "120M", "--victim", victim)
		for range 2 {
			s.leaves = append(s.leaves, create("--parent", fmt.Sprint(mid), "--mproc", "18"))
		}
	}
	tree, err := group.Open(filepath.Join(s.dir, "mlrun", "@groups"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	s.tree = tree
	return s
}

// TestGroupChurn starts runs in the groups of three levels from several processes at once, which use memory and fork, and kills some of their supervisors. Each
// ends by itself, or for a group that it is in. Then nobody is counted any more; and of runs that stay exactly those that are there.
func TestGroupChurn(t *testing.T) {
	lasts := churnTime
	if text := os.Getenv(churnEnv); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	s := newGroupSite(t)
	end := time.Now().Add(lasts)
	var all sync.WaitGroup
	var ended [4]atomic.Int64
	for w := range churners {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 5))
			for n := 0; n < 3 || time.Now().Before(end); n++ {
				s.churn(t, r, &ended)
			}
		})
	}
	all.Wait()
	t.Logf("%d ended by themselves, %d for a group, %d were refused, %d supervisors were killed", ended[0].Load(), ended[1].Load(), ended[2].Load(), ended[3].Load())
	s.counts(t, 0)
	s.quiet(t)
	for _, id := range s.all {
		s.must("group", "rm", fmt.Sprint(id))
	}
	if got := s.must("group", "ls", "-q"); got != "1\n" {
		t.Errorf("groups are left: %q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "mlrun", "@groups", "wake.*")); len(left) > 0 {
		t.Errorf("pipes are left: %q", left)
	}
}

func TestGroupChurnAsNobody(t *testing.T) { asnobody.Run(t, "^TestGroupChurn$") }

// churn is one run.
func (s *groupSite) churn(t *testing.T, r *rand.Rand, ended *[4]atomic.Int64) {
	leaf := s.leaves[r.IntN(len(s.leaves))]
	report := filepath.Join(s.dir, fmt.Sprintf("v%d", r.Uint64()))
	defer os.Remove(report)
	errs, err := os.CreateTemp(s.dir, "err")
	if err != nil {
		t.Error(err)
		return
	}
	defer os.Remove(errs.Name())
	defer errs.Close()
	c := s.command("group", "exec", "--grace", "0", "--report", report, fmt.Sprint(leaf), "--", "sh", "-c", payloads[r.IntN(len(payloads))])
	c.Stderr = errs
	if err := c.Start(); err != nil {
		t.Error(err)
		return
	}
	killed := r.IntN(4) == 0
	if killed {
		time.Sleep(time.Duration(r.Int64N(int64(60 * time.Millisecond))))
		_ = c.Process.Kill()
	}
	_ = c.Wait()
	said, _ := os.ReadFile(errs.Name())
	switch code := c.ProcessState.ExitCode(); {
	case killed && c.ProcessState.Sys().(syscall.WaitStatus).Signaled():
		ended[3].Add(1)
	case code == 0:
		ended[0].Add(1)
	case code == supervise.ExitFailure && strings.Contains(string(said), ": limit of "):
		ended[2].Add(1)
	case code == 2 && os.Getuid() != 0 && strings.Contains(string(said), "fork"): // the kernel holds the limit of processes, and the shell says so
		ended[1].Add(1)
	case code == supervise.ExitLimit:
		ended[1].Add(1)
		var v runtime.Verdict
		b, err := os.ReadFile(report)
		if err == nil {
			err = json.Unmarshal(b, &v)
		}
		if err != nil || v.Group == nil || !supervise.IsLimit(v.Reason) || !slices.Contains(s.all, group.ID(v.Group.ID)) || v.Group.Observed <= v.Group.Limit {
			t.Errorf("ended for a limit, and the verdict says %s, %+v, %v", v.Reason, v.Group, err)
		}
	default:
		t.Errorf("exit code %d: %s", code, said)
	}
}

// counts waits until the groups have n runs of one process each.
func (s *groupSite) counts(t *testing.T, n int64) {
	t.Helper()
	var info group.Info
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var err error
		if info, err = s.tree.Status(s.top); err != nil {
			t.Fatal(err)
		}
		if info.Runs == int(n) && info.Counts.Processes == n && (n > 0 || info.Counts.Memory == 0) {
			return
		}
	}
	t.Fatalf("counts %+v, want %d runs of one process", info, n)
}

// quiet counts runs that stay: what the tree says is what there is, also after some of their supervisors were killed.
func (s *groupSite) quiet(t *testing.T) {
	const steady = 6
	var runs []*exec.Cmd
	for i := range steady {
		c := s.command("group", "exec", "--grace", "0", "--quiet", fmt.Sprint(s.leaves[i%len(s.leaves)]), "--", "sleep", "1000")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = c.Process.Kill()
			_ = c.Wait()
		}()
		runs = append(runs, c)
	}
	s.counts(t, steady)
	s.recount(t)
	for _, c := range runs[:steady/2] {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	info, err := s.tree.Status(s.top) // at once
	if err != nil || info.Runs != steady/2 {
		t.Errorf("%d runs, %v, after half of %d supervisors were killed", info.Runs, err, steady)
	}
	s.recount(t)
	s.must("group", "kill", "top")
	for _, c := range runs[steady/2:] {
		if _ = c.Wait(); c.ProcessState.ExitCode() != 137 {
			t.Errorf("a run that was killed with its group: %v", c.ProcessState)
		}
	}
	s.counts(t, 0)
}

// recount compares the counts of every group with the sum over its members.
func (s *groupSite) recount(t *testing.T) {
	t.Helper()
	list, err := s.tree.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list[1:] {
		members, err := s.tree.Members(i.ID)
		if err != nil {
			t.Fatal(err)
		}
		var processes int64
		for _, m := range members {
			processes += m.Processes
			if m.Kind != group.Run || m.Name != "sleep" {
				t.Errorf("group %d has %+v", i.ID, m)
			}
		}
		if processes != i.Counts.Processes || len(members) != i.Runs {
			t.Errorf("group %d counts %d processes and %d runs, and has %d and %d", i.ID, i.Counts.Processes, i.Runs, processes, len(members))
		}
	}
}

// TestGroupExecKilled kills mlrun group exec with SIGKILL at moments spread over its start and its life. At once nobody is counted, soon nobody is left, and the group is there for others.
func TestGroupExecKilled(t *testing.T) {
	s := newGroupSite(t)
	leaf := fmt.Sprint(s.leaves[0])
	started := filepath.Join(s.dir, "started")
	exec := func() *exec.Cmd {
		_ = os.Remove(started)
		c := s.command("group", "exec", "--quiet", "--grace", "0", leaf, "--", "sh", "-c", "sleep 1000 & (setsid sleep 1000 &) ; echo >"+started+"; wait")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	begin, first := time.Now(), exec()
	eventually(t, "a run has started", func() bool { _, err := os.Stat(started); return err == nil })
	life := 3 * time.Since(begin) / 2
	_ = first.Process.Kill()
	_ = first.Wait()
	moments := 30
	if raced {
		moments = 6
	}
	for i := range moments {
		c := exec()
		time.Sleep(life * time.Duration(i) / time.Duration(moments-1))
		_ = c.Process.Kill()
		_ = c.Wait()
		if info, err := s.tree.Status(s.top); err != nil || info.Runs != 0 || info.Counts.Processes != 0 || info.Counts.Memory != 0 {
			t.Errorf("moment %d: %+v, %v", i, info, err)
		}
	}
	s.must("group", "exec", leaf, "--", "true")
	for _, id := range s.all {
		s.must("group", "rm", fmt.Sprint(id))
	}
	eventually(t, "no process is left", func() bool { return len(s.processes()) == 0 })
}

// TestGroupCrowd makes and removes groups by many processes at once: each gets one of its own, and none is left.
func TestGroupCrowd(t *testing.T) {
	s := newSite(t)
	n := 200
	if raced || testing.Short() {
		n = 40
	}
	ids := make([]string, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			out, err := s.command("group", "create", "--label", fmt.Sprintf("crowd-%d", i)).Output()
			if ids[i] = strings.TrimSpace(string(out)); err != nil {
				t.Errorf("create: %v", err)
				return
			}
			if out, err := s.command("group", "rm", ids[i]).CombinedOutput(); err != nil {
				t.Errorf("rm: %v: %s", err, out)
			}
		})
	}
	all.Wait()
	slices.Sort(ids)
	if got := len(slices.Compact(ids)); got != n {
		t.Errorf("%d ids of %d groups", got, n)
	}
	if got := s.must("group", "ls", "-q"); got != "1\n" {
		t.Errorf("groups are left: %q", got)
	}
}

// TestGroupKillStopped kills a group with a run whose supervisor is stopped: it is continued, and ends its run.
func TestGroupKillStopped(t *testing.T) {
	s := newSite(t)
	s.must("group", "create", "--label", "g")
	s.must("run", "--detach", "--id", "c", "--group", "g", s.bundle("exec sleep 1000"))
	supervisor := s.state("c").MLRun.Supervisor
	if err := syscall.Kill(supervisor, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the supervisor is stopped", func() bool {
		st, err := proc.Root.Stat(supervisor)
		return err == nil && st.Stopped()
	})
	s.must("group", "kill", "g")
	eventually(t, "the run is stopped", func() bool { return s.state("c").Status == "stopped" })
	if got := s.state("c").MLRun.Reason; got != supervise.ReasonKilled {
		t.Errorf("reason %q", got)
	}
	s.must("delete", "c")
	s.must("group", "rm", "g")
}

func TestGroupAsNobody(t *testing.T) {
	asnobody.Run(t, "^TestGroup(ExecKilled|Crowd|KillStopped)$")
}
