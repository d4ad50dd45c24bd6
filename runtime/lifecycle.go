package runtime

import (
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"mlrun/proc"
	"mlrun/runtime/store"
	"mlrun/runtime/supervise"
)

const (
	verdictWait = time.Second      // how long State waits for the verdict of a payload that has ended
	statsWait   = time.Second      // how long State waits for an answer of the supervisor
	controlWait = 10 * time.Second // how long a request may take; after it Delete kills the supervisor
)

// reach calls f until it reaches the supervisor of a container. One that lives but has no socket yet is about to make it.
func reach[T any](rec *record, f func() (T, error)) (T, error) {
	for end := time.Now().Add(time.Second); ; time.Sleep(publishAfter / 5) {
		v, err := f()
		if !errors.Is(err, errNoSocket) || time.Now().After(end) || !proc.Root.Alive(rec.Supervisor) {
			return v, err
		}
	}
}

// ask sends a request to the supervisor of a container.
func ask(d *store.Dir, rec *record, req supervise.Request, timeout time.Duration) (supervise.Snapshot, error) {
	return reach(rec, func() (supervise.Snapshot, error) { return call(d, req, timeout) })
}

func (r *Runtime) find(id string) (*store.Dir, *record, error) {
	d, err := r.store.Get(id)
	if err != nil {
		return nil, nil, err
	}
	rec, err := load(d)
	return d, rec, err
}

// Start makes a created container execute its program, and returns when it does and the poststart hooks have run.
func (r *Runtime) Start(id string) error {
	d, rec, err := r.find(id)
	if err != nil {
		return err
	}
	if status, _ := rec.status(); status != specs.StateCreated {
		return fmt.Errorf("%s: %w: it is %s", id, ErrNotCreated, status)
	}
	_, err = ask(d, rec, supervise.Request{Op: supervise.OpStart}, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", id, gone(err))
	}
	return nil
}

// Kill sends a signal to the payload, or with all to every process of the container.
func (r *Runtime) Kill(id string, sig syscall.Signal, all bool) error {
	d, rec, err := r.find(id)
	if err != nil {
		return err
	}
	status, live := rec.status()
	if !hasPayload(status) && !(status == specs.StateCreating && live) {
		return fmt.Errorf("%s: %w: it is %s", id, ErrNotRunning, status)
	}
	_, err = ask(d, rec, supervise.Request{Op: supervise.OpKill, Signal: sig, All: all}, controlWait)
	if err != nil {
		return fmt.Errorf("%s: %w", id, gone(err))
	}
	return nil
}

// State tells the state of a container.
func (r *Runtime) State(id string) (*State, error) {
	d, rec, err := r.find(id)
	if err != nil {
		return nil, err
	}
	s, status, live := rec.now()
	if status == specs.StateStopped {
		return r.stopped(d, rec, s), nil
	}
	if status == specs.StateCreating || !live {
		return s, nil
	}
	sn, err := ask(d, rec, supervise.Request{Op: supervise.OpStats}, statsWait)
	if err == nil {
		m := rec.memory()
		m.Current, m.Exact, m.Peak, m.Swap = sn.Current, sn.Exact, sn.Peak, sn.Swap
		m.Unreadable, m.Uncertain, m.Meter, m.Throttled, m.Frozen = sn.Unreadable, sn.Uncertain, sn.Meter, sn.Throttled, sn.Frozen
		s.MLRun.Memory, s.MLRun.Processes = m, sn.Processes
		return s, nil
	}
	// It may have ended while it was asked.
	if status, _ := rec.status(); status == specs.StateStopped {
		s = r.stopped(d, rec, s)
	}
	return s, nil
}

// stopped completes the state of a container whose payload has ended. A supervisor that lives is about to write the verdict, unless
// something of the container still has its grace period.
func (r *Runtime) stopped(d *store.Dir, rec *record, s *State) *State {
	for end := time.Now().Add(verdictWait); rec.Verdict == nil; time.Sleep(time.Millisecond) {
		// In this order: a supervisor that is gone by now has written what it had to.
		live := proc.Root.Alive(rec.Supervisor)
		if again, err := load(d); err == nil {
			*rec = *again
		}
		if !live || time.Now().After(end) {
			break
		}
	}
	pid := s.MLRun.Supervisor
	s = rec.state(specs.StateStopped)
	if rec.Verdict != nil || !proc.Root.Alive(rec.Supervisor) {
		s.finished(rec)
	} else {
		s.MLRun.Supervisor = pid
	}
	return s
}

// IDs are those of all containers, sorted.
func (r *Runtime) IDs() ([]string, error) { return r.store.List() }

// List tells the states of all containers, without their current memory. One whose state cannot be used is listed with the
// problem.
func (r *Runtime) List() ([]*State, error) {
	ids, err := r.store.List()
	if err != nil {
		return nil, err
	}
	states := make([]*State, len(ids))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(goruntime.NumCPU(), 1+len(ids)/100) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(ids)); i = next.Add(1) - 1 {
				states[i] = r.listed(ids[i])
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(states, func(s *State) bool { return s == nil }), nil
}

// listed is the state of a container in a list; nil when it was deleted meanwhile.
func (r *Runtime) listed(id string) *State {
	_, rec, err := r.find(id)
	switch {
	case errors.Is(err, ErrNotExist):
		return nil
	case err != nil:
		s := (&record{ID: id}).state(specs.StateStopped)
		s.MLRun.Problem = err.Error()
		return s
	}
	s, status, live := rec.now()
	if status == specs.StateStopped && (rec.Verdict != nil || !live) {
		s.finished(rec)
	}
	return s
}

// Delete removes a container that is created or stopped, and with force any. Nothing of it is left when it returns. With
// force, a container that does not exist is no error.
func (r *Runtime) Delete(id string, force bool) error {
	err := r.delete(id, force)
	if force && errors.Is(err, ErrNotExist) {
		r.store.Sweep() // the one before may have been interrupted
		return nil
	}
	return err
}

func (r *Runtime) delete(id string, force bool) error {
	d, err := r.store.Get(id)
	if err != nil {
		return err
	}
	unlock, err := d.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if d, err = r.store.Get(id); err != nil { // removed while this one waited
		return err
	}
	rec, err := load(d)
	if err != nil {
		if !force {
			return err
		}
		return d.Discard()
	}
	status, _ := rec.status()
	if (status == specs.StateRunning || status == StatePaused || status == specs.StateCreating) && !force {
		return fmt.Errorf("%s: %w: it is %s; mlrun kill ends it, mlrun delete --force does both", id, ErrNotStopped, status)
	}
	if err := r.destroy(d, rec); err != nil {
		return err
	}
	b, err := stored(d, rec)
	if err := d.Discard(); err != nil {
		return err
	}
	if err == nil && b.Spec.Hooks != nil {
		r.poststop(b.Spec.Hooks.Poststop, rec)
	}
	return nil
}

// destroy ends the supervisor and everything below it, and waits until both are gone.
func (r *Runtime) destroy(d *store.Dir, rec *record) error {
	for over := false; !over; {
		id := rec.Supervisor
		if id.PID == 0 {
			id = rec.Creator // it has not come to starting a supervisor; after it ends there may be one
		}
		h, err := (*proc.Handle)(nil), proc.ErrGone
		if id.PID != os.Getpid() && proc.Root.Alive(id) { // else gone, or a zombie whose parent takes its time
			h, err = proc.OpenID(proc.Root, id)
		}
		if err == nil {
			err = r.end(d, rec, h)
			h.Close()
		} else if errors.Is(err, proc.ErrGone) {
			over, err = true, nil
		}
		if err != nil {
			return err
		}
		// A creator that is gone may have left a supervisor since rec was read.
		before := rec.Supervisor
		if rec, err = load(d); err != nil {
			return err
		}
		over = over && rec.Supervisor == before
	}
	if rec.Payload != nil {
		// The supervisor is gone; its reaper ends the payload, if it has not yet.
		if h, err := proc.OpenID(proc.Root, *rec.Payload); err == nil {
			defer h.Close()
			_ = h.Signal(unix.SIGKILL)
			if !wait(h, controlWait) {
				return fmt.Errorf("%s: process %d does not end", rec.ID, rec.Payload.PID)
			}
		}
	}
	if rec.Verdict != nil || rec.Supervisor.PID == 0 {
		return nil
	}
	return sweep(rec)
}

// sweep ends what a supervisor has left that did not come to a verdict: its reaper may have been killed together with it.
func sweep(rec *record) error {
	for end := time.Now().Add(controlWait); ; time.Sleep(time.Millisecond) {
		n, err := proc.Root.KillMarked(rec.Supervisor)
		switch {
		case n == 0 && err == nil:
			return nil
		case err == nil && time.Now().After(end):
			err = errors.New("they do not end")
		}
		if err != nil {
			return fmt.Errorf("%s: processes that its lost supervisor left: %w", rec.ID, err)
		}
	}
}

// end asks a supervisor to destroy its container, and kills it when it does not: its reaper does the rest.
func (r *Runtime) end(d *store.Dir, rec *record, h *proc.Handle) error {
	_ = h.Signal(unix.SIGCONT) // a run that Ctrl-Z has stopped, or is about to stop
	asked := time.Now()
	_, _ = ask(d, rec, supervise.Request{Op: supervise.OpDestroy}, controlWait)
	if time.Since(asked) < controlWait && wait(h, controlWait) {
		return nil
	}
	if err := h.Signal(unix.SIGKILL); err != nil && !errors.Is(err, proc.ErrGone) {
		return fmt.Errorf("%s: supervisor %d: %w", d.ID, h.PID, err)
	}
	if !wait(h, controlWait) {
		return fmt.Errorf("%s: supervisor %d does not end", d.ID, h.PID)
	}
	return nil
}

// wait waits until a process has ended.
func wait(h *proc.Handle, limit time.Duration) bool {
	end := time.Now().Add(limit)
	for proc.Root.Alive(h.ID) {
		left := time.Until(end)
		if left <= 0 {
			return false
		}
		if h.FD() < 0 {
			time.Sleep(min(left, 5*time.Millisecond)) // no pidfd before Linux 5.3
			continue
		}
		fds := []unix.PollFd{{Fd: int32(h.FD()), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, int(left/time.Millisecond)+1)
	}
	return true
}
