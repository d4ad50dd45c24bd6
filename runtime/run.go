package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/group"
	"mlrun/limit"
	"mlrun/meter"
	"mlrun/proc"
	"mlrun/runtime/launch"
	"mlrun/runtime/store"
	"mlrun/runtime/supervise"
)

// Run creates and starts a container, supervises it in this process until nothing of it is left, and removes its state unless
// Keep is set. An error with a verdict means that the program was not executed or that a hook failed; without a verdict, that
// nothing was started.
func (r *Runtime) Run(o RunOptions) (*Verdict, error) {
	chosen := o.ID != ""
	if err := r.prepare(&o.CreateOptions); err != nil {
		return nil, err
	}
	if err := launch.BecomeSubreaper(); err != nil {
		return nil, err
	}
	rec := o.record()
	rec.Supervisor = rec.Creator
	s := &session{rt: r, opts: &o.CreateOptions, rec: rec}
	if !o.NoState {
		s.control = newControl(s.process, s.listenTo)
		if err := s.claim(chosen || o.Keep || o.PIDFile != "" || o.Bundle.Spec.Hooks != nil); err != nil {
			return nil, err
		}
	}
	cfg := s.config()
	if err := s.enter(cfg); err != nil {
		return nil, errors.Join(err, s.withdraw())
	}
	if s.turn != nil {
		s.turn.told = o.Admitting
	}
	if s.execs != nil {
		s.execs.told = o.Gated
	}
	cfg.Foreground, cfg.AutoStart, cfg.Strict = o.Foreground, true, o.Strict
	if o.NoState {
		cfg.Requests = o.Requests
	}
	cfg.Launch.Eager = o.PIDFile == "" // who reads that wants it to be there before
	cfg.Progress, cfg.ProgressEvery = o.Progress, o.ProgressEvery
	cfg.Warned, cfg.Breached = o.Warned, o.Breached
	var endErr error
	cfg.Ended = func(v *Verdict) { endErr = s.end(v, o.Keep) }
	v, err := supervise.Run(cfg)
	return v, errors.Join(err, endErr)
}

// enter takes the places that a run has to have: in its limit group, and in the line of those who wait for memory.
func (s *session) enter(cfg *supervise.Config) error {
	if err := s.join(cfg); err != nil {
		return err
	}
	return s.admit(cfg)
}

// publishAfter is how long a foreground run stays in the creating state for others, so that a short one need not pay for a
// complete record and a socket. Requests that come earlier wait. A launch takes some milliseconds of it, more on a busy machine.
const publishAfter = 20 * time.Millisecond

// claim takes the id, or if it need not be taken at once only sees whether it could be. The rest follows when the run is not a short one: an id
// that nobody has chosen is of no use to anybody before.
func (s *session) claim(atOnce bool) (err error) {
	if atOnce {
		err = s.take()
	} else {
		err = s.rt.store.Ready()
	}
	if err != nil {
		return err
	}
	s.publishing = make(chan struct{})
	s.publish = time.AfterFunc(publishAfter, func() {
		defer close(s.publishing)
		if err := s.tellOthers(); err != nil {
			s.rt.log.Warn(err.Error() + ": mlrun state and mlrun kill do not reach this run")
		}
	})
	return nil
}

// take makes the directory of the container, and stores who is behind the id, as little as status needs.
func (s *session) take() error {
	dir, err := s.rt.store.Create(s.rec.ID)
	if err != nil {
		return err
	}
	self := s.rec.Supervisor
	id := fmt.Sprintf(`{"pid":%d,"start":%d}`, self.PID, self.Start)
	err = dir.WriteState([]byte(fmt.Sprintf(`{"id":%q,"created":%q,"creator":%s,"supervisor":%s,"limits":[]}`,
		s.rec.ID, s.rec.Created.Format(time.RFC3339Nano), id, id)))
	if err != nil {
		return errors.Join(fmt.Errorf("state directory: %w", err), dir.Remove())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dir = dir
	return nil
}

// tellOthers makes the run known: its state, and a socket for requests.
func (s *session) tellOthers() error {
	if s.dir == nil {
		if err := s.take(); err != nil {
			return err
		}
	}
	return errors.Join(s.dir.WriteFile(configFile, s.opts.Bundle.Raw), s.save(), s.control.listen(s.dir))
}

// prepare checks the options, and chooses an id if there is none.
func (r *Runtime) prepare(o *CreateOptions) error {
	if o.ID == "" {
		id, err := GenerateID(o.Bundle.Dir)
		if err != nil {
			return err
		}
		o.ID = id
	}
	if err := store.CheckID(o.ID); err != nil {
		return err
	}
	if m := o.memory(); m.Meter == meter.Events {
		if err := meter.ProbeEvents(); err != nil {
			return fmt.Errorf("memory meter \"events\": %w; auto and poll do without", err)
		}
	}
	if err := o.checkMemory(); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	if err := o.checkAdmission(); err != nil {
		return err
	}
	if err := r.findGroup(o); err != nil {
		return err
	}
	for _, w := range warnings(o.Bundle) {
		r.log.Warn(w)
	}
	return nil
}

// withdraw gives the id back that claim has taken, when nothing was started.
func (s *session) withdraw() error {
	if s.publish != nil && !s.publish.Stop() {
		<-s.publishing
	}
	if s.control != nil {
		s.control.close()
	}
	s.leave()
	if s.dir == nil {
		return nil
	}
	return s.dir.Remove()
}

// session is a run in this process, with its state directory if it has one.
type session struct {
	rt      *Runtime
	opts    *CreateOptions
	control *control

	execs      *execGate   // nil: no program waits but at the start
	turn       *turn       // nil: it does not wait for memory
	groups     *group.Tree // nil: it is in no limit group
	seat       *group.Seat // in one
	spaces     *namespaces // that its groups have; nil: none
	publish    *time.Timer // of claim
	publishing chan struct{}

	mu    sync.Mutex
	dir   *store.Dir // nil: no state, or none yet
	rec   *record
	saved bool
}

// save writes the record, if the run has a state.
func (s *session) save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == nil {
		return nil
	}
	s.saved = true
	if err := s.dir.Write(s.rec); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}

// isSaved tells whether the record was stored once, so that a change of it must be, too.
func (s *session) isSaved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved
}

// set changes the record.
func (s *session) set(f func(*record)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.rec)
}

// config translates the options for the supervisor.
func (s *session) config() *supervise.Config {
	m := s.rec.Memory
	cfg := &supervise.Config{
		ID: s.opts.ID, Launch: s.opts.launchConfig(proc.Self(), s.rec.CallerReaps), Memory: m.policy(), Meter: m.Meter, Signal: m.Signal,
		Grace: time.Duration(m.GraceNS), Log: s.rt.log, Budget: s.rec.Budget.policy(),
	}
	cfg.Launch.Tasks = s.rec.Budget.Tasks.launch(0, cfg.Launch.Rlimits)
	if t := s.rec.Budget.Tasks; t != nil && !t.Must {
		cfg.TasksSampled = s.tasksSampled
	}
	if s.control != nil {
		cfg.Requests = s.control.requests
	}
	if h := s.opts.Bundle.Spec.Hooks; h != nil {
		cfg.Hook = s.hook
	}
	cfg.Launch.Session, cfg.Launch.Sibling = s.rec.Terminal, s.rec.CallerReaps
	if t := s.opts.Terminal; t != nil {
		cfg.Launch.Files = []int{int(t.Fd()), int(t.Fd()), int(t.Fd())}
		for fd := 3; fd < 3+s.opts.PreserveFDs; fd++ {
			cfg.Launch.Files = append(cfg.Launch.Files, fd)
		}
	}
	s.listener(&cfg.Launch, s.opts.Bundle.Spec.Linux)
	cfg.Created = s.created
	cfg.Paused = func(paused bool) error {
		s.set(func(r *record) { r.Paused = paused })
		err := s.save()
		if err != nil {
			s.set(func(r *record) { r.Paused = !paused })
		}
		return err
	}
	cfg.Updated = func(u supervise.Update) error {
		before := *s.rec
		s.set(func(r *record) { r.update(u) })
		err := s.save()
		if err != nil {
			s.set(func(r *record) {
				r.Memory, r.Limits, r.Budget, r.Place = before.Memory, before.Limits, before.Budget, before.Place
			})
		}
		return err
	}
	cfg.Started = func(at time.Time) error {
		s.set(func(r *record) { r.Started = &at })
		if s.publish != nil && !s.isSaved() {
			return nil // the timer does it
		}
		return s.save()
	}
	return cfg
}

// tasksSampled is called when the kernel cannot hold the limit of tasks, which then is looked at.
func (s *session) tasksSampled(why error) limit.Budget {
	s.rt.log.Info("the limit of processes is held by looking at them: "+why.Error(), "id", s.rec.ID)
	s.set(func(r *record) {
		r.Budget.Tasks.Kernel = false
		for i := range r.Limits {
			if r.Limits[i].Name == pidsName {
				r.Limits[i].Held = heldSampled
			}
		}
	})
	return s.rec.Budget.policy()
}

// created is called when the payload waits at the gate.
func (s *session) created(id proc.ID) error {
	s.set(func(r *record) { r.Payload = &id })
	if s.opts.PIDFile != "" {
		if err := WritePIDFile(s.opts.PIDFile, id.PID); err != nil {
			return err
		}
	}
	if s.publish != nil && s.opts.Bundle.Spec.Hooks == nil {
		return nil
	}
	return s.save()
}

// hook runs the hooks of one stage.
func (s *session) hook(ctx context.Context, stage supervise.Stage, payload proc.ID) error {
	h := s.opts.Bundle.Spec.Hooks
	st := s.rec.state(specs.StateCreating).State
	st.Pid = payload.PID
	run := func(kind string, list []specs.Hook) error { return runHooks(ctx, kind, list, st) }
	switch stage {
	case supervise.StageCreate:
		//lint:ignore SA1019 prestart is deprecated, and still in use
		if err := run("prestart", h.Prestart); err != nil {
			return err
		}
		if err := run("createRuntime", h.CreateRuntime); err != nil {
			return err
		}
		return run("createContainer", h.CreateContainer)
	case supervise.StageStart:
		st.Status = specs.StateCreated
		return run("startContainer", h.StartContainer)
	}
	st.Status = specs.StateRunning
	return run("poststart", h.Poststart)
}

// end records the verdict, or removes the state and runs the poststop hooks.
func (s *session) end(v *Verdict, keep bool) error {
	if s.publish != nil && !s.publish.Stop() {
		<-s.publishing // or its files would be in the way of the removal
	}
	if s.control != nil {
		defer s.control.close()
	}
	if s.execs != nil {
		s.execs.gate.Close()
	}
	if s.turn != nil {
		s.turn.end(v)
	}
	s.leave()
	if s.opts.PIDFile != "" && !keep {
		// Removed only if it is still ours.
		if b, err := os.ReadFile(s.opts.PIDFile); err == nil && s.rec.Payload != nil && string(b) == strconv.Itoa(s.rec.Payload.PID) {
			os.Remove(s.opts.PIDFile)
		}
	}
	if keep {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		s.set(func(r *record) { r.Verdict = b })
		return s.save()
	}
	var err error
	if s.dir != nil {
		if err = s.dir.Remove(); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	s.poststop()
	return err
}

// poststop runs the poststop hooks: each one, whatever the others do (runtime.md, lifecycle, step 13).
func (s *session) poststop() {
	if h := s.opts.Bundle.Spec.Hooks; h != nil {
		s.rt.poststop(h.Poststop, s.rec)
	}
}

func (r *Runtime) poststop(hooks []specs.Hook, rec *record) {
	st := rec.state(specs.StateStopped).State
	for i := range hooks {
		if err := runHooks(context.Background(), "poststop", hooks[i:i+1], st); err != nil {
			r.log.Warn(err.Error())
		}
	}
}
