package main

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"mlrun/internal/asnobody"
	"mlrun/proc"
)

// TestUpdatesTogether changes different limits at once, again and again: none of them is undone by another one.
func TestUpdatesTogether(t *testing.T) {
	s := newSite(t)
	s.must("run", "--detach", "--id", "x", s.bundle("sleep 1000 & exec sleep 1000"))
	var wg sync.WaitGroup
	for _, flags := range [][]string{
		{"--memory", "1G"}, {"--memory-reservation", "500M"}, {"--cpus", "0.5"}, {"--rlimit", "nofile=100:200"}, {"--cpu-share", "512"},
		{"--cpuset-cpus", "0"}, {"--blkio-weight", "500"}, {"--pids-limit", "77"},
	} {
		wg.Go(func() {
			for range 3 {
				s.must(append(append([]string{"update"}, flags...), "x")...)
			}
		})
	}
	wg.Wait()
	var st struct {
		MLRun struct{ Limits []struct{ Name string } }
	}
	if err := json.Unmarshal([]byte(s.must("state", "x")), &st); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range st.MLRun.Limits {
		names = append(names, l.Name)
	}
	slices.Sort(names)
	if got, want := strings.Join(names, ", "), "RLIMIT_NOFILE, block I/O weight, cpu quota, cpu weight, memory, memory (soft), pids, processors"; got != want {
		t.Errorf("limits %s, want %s", got, want)
	}
}

// TestUpdatesInOrder gives one weight after the other at once: all threads end up with the same.
func TestUpdatesInOrder(t *testing.T) {
	s := newSite(t)
	s.must("run", "--detach", "--id", "x", s.bundle("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; exec sleep 1000"))
	var wg sync.WaitGroup
	for _, share := range []string{"819", "655", "524", "419", "335"} { // nice 1 to 5
		wg.Go(func() { s.try("update", "--cpu-share", share, "x") }) // refused when it is more than there was
	}
	wg.Wait()
	nice := map[int]int{}
	for _, pid := range s.pids("x") {
		n, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
		if err != nil {
			t.Fatal(err)
		}
		nice[20-n]++
	}
	if len(nice) != 1 {
		t.Errorf("nice values and how many have them: %v", nice)
	}
}

// pids are the processes of a container.
func (s *site) pids(id string) (pids []int) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.must("ps", "-f", "json", id)), &pids); err != nil {
		s.t.Fatal(err)
	}
	return slices.DeleteFunc(pids, func(pid int) bool { st, err := proc.Root.Stat(pid); return err != nil || st.Ended() })
}

func TestUpdatesAsNobody(t *testing.T) { asnobody.Run(t, "^TestUpdates") }
