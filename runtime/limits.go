package runtime

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"mlrun/proc"
	"mlrun/rlimit"
	"mlrun/runtime/supervise"
)

// ReadLimits returns the limits of any process, from /proc/PID/limits (Linux 2.6.24). With 0 it returns those that this process was started with:
// the Go runtime has raised the soft RLIMIT_NOFILE since. The error wraps proc.ErrGone when there is no such process.
func ReadLimits(pid int) (*ProcessLimits, error) {
	self := pid == 0
	if self {
		pid = os.Getpid()
	}
	list, err := rlimit.Read("/proc", pid)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("process %d: %w", pid, proc.ErrGone)
	}
	if err != nil {
		return nil, err
	}
	if self {
		for i, l := range list {
			if own, err := ownLimit(l.Type); err == nil {
				list[i] = own
			}
		}
	}
	return &ProcessLimits{PID: pid, Command: proc.Root.Command(pid), Limits: list}, nil
}

// Limits returns the limits of a container, which is created or runs: those that its process has at this moment, with all those of every
// process, and those of the container as a whole.
func (r *Runtime) Limits(id string, all bool) (*ContainerLimits, error) {
	sn, _, err := r.request(id, supervise.Request{Op: supervise.OpList})
	if err != nil {
		return nil, err
	}
	_, rec, err := r.find(id) // as it is stored by now
	if err != nil {
		return nil, err
	}
	members := sn.Members
	if rec.Payload != nil && !all {
		members = []proc.ID{*rec.Payload}
	}
	slices.SortFunc(members, func(a, b proc.ID) int { return a.PID - b.PID })
	l := &ContainerLimits{Run: rec.Limits}
	for _, m := range members {
		p, err := ReadLimits(m.PID)
		if errors.Is(err, proc.ErrGone) || err == nil && !proc.Root.Alive(m) {
			continue // it ended meanwhile
		}
		if errors.Is(err, errors.ErrUnsupported) { // nobody tells: those that were asked for
			p, err = &ProcessLimits{PID: m.PID, Command: proc.Root.Command(m.PID), Limits: rec.rlimits()}, nil
		}
		if err != nil {
			return nil, err
		}
		l.Processes = append(l.Processes, *p)
	}
	if len(l.Processes) == 0 {
		return nil, fmt.Errorf("%s: %w", id, ErrNotRunning)
	}
	return l, nil
}
