//go:build linux && portable

package proc

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// With the tag portable a program for Linux has of its kernel what macOS has: signals by number, no subreaper, nobody who tells of a fork. It is for the tests of
// what is written for macOS, with real processes.

// NewGroup makes the group of the payload leader and of all descendants of reaper; 0 is none. Close it.
func NewGroup(fs FS, reaper int, leader int) (*Group, error) {
	return newLineage(&plain{fs}, reaper, leader)
}

// plain is a kernel that tells what every Unix tells.
type plain struct{ fs FS }

func (k *plain) stat(pid int) (Stat, error) { return k.fs.Stat(pid) }

func (k *plain) children(pid int) []int {
	return k.those(func(s Stat) bool { return s.PPID == pid })
}

func (k *plain) group(pgid int) []int {
	return k.those(func(s Stat) bool { return s.PGRP == pgid })
}

func (k *plain) those(of func(Stat) bool) (list []int) {
	for _, pid := range k.all() {
		if s, err := k.fs.Stat(pid); err == nil && of(s) {
			list = append(list, pid)
		}
	}
	return list
}

func (k *plain) all() []int {
	pids, _ := k.fs.PIDs()
	return pids
}

func (k *plain) marked(pid int, marker string) bool {
	environ, err := os.ReadFile(k.fs.path(pid, "environ"))
	return err == nil && isMarked(environ, marker)
}

func (k *plain) usage(pid int) (u usage, ok bool) {
	s, err := k.fs.Stat(pid)
	if err != nil {
		return u, false
	}
	ticks := func(n uint64) time.Duration { return time.Duration(n) * (time.Second / 100) }
	return usage{ticks(s.UTime), ticks(s.STime), ticks(s.ChildUTime), ticks(s.ChildSTime), s.Threads}, true
}

func (k *plain) signal(pid int, sig syscall.Signal) error { return unix.Kill(pid, sig) }

func (k *plain) watch(ID) {}

func (k *plain) forked() (pids []int, sure bool) { return nil, false }

func (k *plain) close() {}

// OpenHandle takes hold of the process that has pid now. The error is ErrGone when there is none.
func OpenHandle(fs FS, pid int) (*Handle, error) {
	s, err := fs.Stat(pid)
	if err != nil {
		return nil, err
	}
	return &Handle{ID: s.ID(), fs: fs, kq: -1}, nil
}

// FD is -1: nothing tells of the end of the process.
func (h *Handle) FD() int { return h.kq }

// Close does nothing.
func (h *Handle) Close() {}

// LimitedCPU is not known, as on macOS.
func (FS) LimitedCPU(int) (cpu time.Duration, ok bool) { return 0, false }
