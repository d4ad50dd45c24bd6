//go:build portable

package main

import (
	"os"
	"strings"
	"testing"

	"mlrun/proc"
)

// portable tells that mlrun is built with what macOS has, and without what only Linux has (package proc).
const portable = true

// reaperOf is the guard of a process that mlrun has started, as a payload or by exec: it was started right before.
func reaperOf(t *testing.T, pid int) (guard int) {
	t.Helper()
	parent := supervisorOf(t, pid)
	all, err := proc.Root.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		s, err := proc.Root.Stat(p)
		if err == nil && s.PPID == parent && p < pid && p > guard && strings.HasPrefix(proc.Root.Command(p), "mlrun: guard") {
			guard = p
		}
	}
	if guard == 0 {
		t.Fatalf("process %d has no guard", pid)
	}
	return guard
}

// supervisorOf is the mlrun that has started it.
func supervisorOf(t *testing.T, pid int) int {
	t.Helper()
	s, err := proc.Root.Stat(pid)
	if err != nil {
		t.Fatal(err)
	}
	if s.PPID == os.Getpid() || s.PPID == 1 {
		t.Fatalf("the parent of process %d is %d: not mlrun's", pid, s.PPID)
	}
	return s.PPID
}
