package supervise

import (
	"errors"
	"fmt"
	"os/signal"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

const (
	getTermios = unix.TIOCGETA
	rssShift   = 0 // ru_maxrss of getrusage(2) is in bytes
)

// withoutTTOU calls f while SIGTTOU is ignored: who changes the foreground process group from the background gets it (tcsetpgrp(3)), and x/sys has no
// pthread_sigmask(3) for macOS. It stays ignored, and is passed on to the payload no more: that was stopped for it already.
func withoutTTOU(f func() error) error {
	signal.Ignore(unix.SIGTTOU)
	return f()
}

// hasRealtime is false: no limit of macOS is one of real-time policies.
func hasRealtime(int) bool { return false }

// check refuses what the platform does not have: an affinity, SCHED_IDLE, ioprio_set(2) and nice values of other threads.
func (p *placing) check(proc.ID) error {
	name := "cpu.shares"
	switch {
	case p.mask != nil:
		name = "cpu.cpus"
	case p.Idle != nil:
		name = "cpu.idle"
	case p.IOPriority != nil:
		name = "blockIO.weight"
	case p.Nice == nil:
		return nil
	}
	return fmt.Errorf("%s: cannot be changed of a container that runs on macOS: %w", name, errors.ErrUnsupported)
}

// one changes nothing: check has refused it.
func (p *placing) one(int) (changed bool, err error) { return false, nil }

// niceOf is the nice value of a process, 0 being the calling one.
func niceOf(pid int) (int, error) { return unix.Getpriority(unix.PRIO_PROCESS, pid) }

// hurry does nothing.
func hurry() {}
