package runtime

import (
	"fmt"

	"mlrun/rlimit"
	"mlrun/runtime/launch"
	"mlrun/runtime/supervise"
)

// launch is the limit of tasks for a process to be started: with the payload's pid, one of those that join it. Nobody may raise a limit that the
// caller has, or that was set before.
func (t *tasks) launch(payload int, before []launch.Rlimit) *launch.Tasks {
	if t == nil || !t.Kernel {
		return nil
	}
	return &launch.Tasks{Max: atMost(uint64(t.Max), before), PID: payload}
}

// joins is what holds the limit of tasks for a process that is executed in a container, beside its payload.
func (r *record) joins(before []launch.Rlimit) *launch.Tasks {
	if r.Payload == nil {
		return nil
	}
	if t := r.Budget.Tasks.launch(r.Payload.PID, before); t != nil || r.Nested == 0 {
		return t
	}
	return &launch.Tasks{Max: atMost(r.Nested, before), PID: r.Payload.PID}
}

// update adds another limit of tasks to u; -1 is none. Where the kernel holds it, that is RLIMIT_NPROC of every process.
func (t *tasks) update(n int64, u *supervise.Update) error {
	u.Tasks = &n
	if t == nil || !t.Kernel {
		u.Sampled = true
		return nil
	}
	if n < 0 || n > t.Max {
		return fmt.Errorf("the limit of processes is held by the kernel, which lets nobody raise it: want at most %d; with dev.mlrun.pids.mode \"sampled\" it can be raised", t.Max)
	}
	nproc, _ := rlimit.Lookup("RLIMIT_NPROC")
	u.Rlimits = append(u.Rlimits, rlimit.Change{Type: nproc, Soft: uint64(n), Hard: uint64(n), SetSoft: true, SetHard: true})
	return nil
}

// atMost is a limit of tasks that nobody may raise who has a lower one, or gets one before.
func atMost(n uint64, before []launch.Rlimit) uint64 {
	nproc, _ := rlimit.Lookup("RLIMIT_NPROC")
	if soft, _, err := rlimit.Get(nproc); err == nil {
		n = min(n, soft)
	}
	for _, l := range before {
		if l.Resource == nproc.Resource {
			n = min(n, l.Soft)
		}
	}
	return n
}
