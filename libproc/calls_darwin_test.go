package libproc

import (
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These tests need a Mac. Elsewhere they are linked only, by TestImports.

func TestSelf(t *testing.T) {
	pid := os.Getpid()
	i, ok := BSDInfoOf(pid)
	if !ok || int(i.PID) != pid || int(i.PPID) != os.Getppid() || int(i.PGID) != unix.Getpgrp() || i.Status == Zombie {
		t.Errorf("%+v, %v", i, ok)
	}
	if age := time.Since(time.Unix(int64(i.StartSeconds), 0)); age < -time.Minute || age > time.Hour {
		t.Errorf("started %v ago", age)
	}
	r, err := RusageOf(pid)
	if err != nil || r.Footprint == 0 || r.MaxFootprint < r.Footprint/2 || r.Start == 0 || r.Exit != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if i, ok := TaskInfoOf(pid); !ok || i.Resident == 0 || i.Threads < 1 {
		t.Errorf("%+v, %v", i, ok)
	}
	if Nanoseconds(1<<30) == 0 {
		t.Error("no time base")
	}
}

func TestLists(t *testing.T) {
	for name, list := range map[string]func() ([]int, error){
		"all":      All,
		"group":    func() ([]int, error) { return Group(unix.Getpgrp()) },
		"children": func() ([]int, error) { return Children(os.Getppid()) },
	} {
		if pids, err := list(); err != nil || !slices.Contains(pids, os.Getpid()) {
			t.Errorf("%s: %d is not in %v (%v)", name, os.Getpid(), pids, err)
		}
	}
}

func TestGone(t *testing.T) {
	const none = 1 << 30
	if _, err := RusageOf(none); err != unix.ESRCH {
		t.Errorf("RusageOf: %v", err)
	}
	if _, ok := BSDInfoOf(none); ok {
		t.Error("BSDInfoOf knows it")
	}
	if pids, err := Children(none); err != nil || len(pids) > 0 {
		t.Errorf("Children: %v, %v", pids, err)
	}
}
