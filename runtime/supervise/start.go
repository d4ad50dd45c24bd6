package supervise

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mlrun/group"
	"mlrun/limit"
	"mlrun/proc"
	"mlrun/runtime/launch"
)

// launch starts the payload. It runs in a goroutine of its own: a step such as chdir can block.
func (l *loop) launch() {
	c := l.cfg.Launch
	c.Terminal = -1
	if f := l.cfg.Foreground; f != nil {
		c.Caught = f.caught
	}
	if l.term.owned() && !inPipeline() {
		c.Terminal = l.term.fd
	}
	c.Eager = c.Eager && l.cfg.AutoStart && l.cfg.Hook == nil && l.cfg.Admit == nil && !l.term.exists() && l.cfg.Foreground.caughtAll()
	p, err := l.fork(&c)
	if e := new(launch.Error); errors.As(err, &e) && e.OfNamespace() {
		if l.cfg.TasksSampled == nil {
			err = fmt.Errorf("limit of processes: %w; without dev.mlrun.pids.mode \"kernel\" it is held by looking at them", err)
		} else {
			budget := l.cfg.TasksSampled(err)
			c.Tasks = nil
			p, err = launch.Start(&c)
			l.post(func(l *loop) { l.cfg.Budget = budget })
		}
	}
	l.post(func(l *loop) { l.launched(p, c.Terminal >= 0, err) })
}

// fork starts the payload in the namespaces of its groups, or without them where they are not to be had.
func (l *loop) fork(c *launch.Config) (*launch.Process, error) {
	var after func(int)
	tasks := c.Tasks
	if l.cfg.Nest != nil {
		after = l.cfg.Nest(c)
	}
	p, err := launch.Start(c)
	if after == nil {
		return p, err
	}
	if err == nil {
		after(p.PID)
		return p, nil
	}
	after(0)
	if e := new(launch.Error); errors.As(err, &e) && e.OfNamespace() {
		if l.cfg.Log != nil {
			l.cfg.Log.Info("the limits of processes of its groups are held by looking at them: "+err.Error(), "id", l.cfg.ID)
		}
		c.Tasks = tasks
		return launch.Start(c)
	}
	return p, err
}

// launched is called when the payload waits at the gate, or never will.
func (l *loop) launched(p *launch.Process, lend bool, err error) {
	if err == nil {
		l.proc, l.observed = p, p.Observed() || !launch.Adopts
		go l.watch(p)
		l.group, err = proc.NewGroup(proc.Root, p.Reaper, p.PID)
		if errors.Is(err, proc.ErrGone) {
			err = nil // killed already: its end follows
		}
	}
	switch {
	case l.group == nil:
	case p.Observed():
		l.group.Foreign(proc.Self())
	case l.observed:
		l.group.Mark(proc.Self())
	}
	if err == nil && l.group != nil && l.cfg.Created != nil {
		err = l.cfg.Created(l.group.Leader())
	}
	if err != nil {
		l.failed(ReasonLaunch, err)
		if l.proc == nil {
			l.event(event{kind: evDone})
		}
		return
	}
	if lend {
		l.term.lent = p.PID
	}
	l.listen()
	l.event(event{kind: evCreated})
	if l.state.phase >= stopping { // it was asked to end before it was there
		l.killAll()
		return
	}
	l.hooks(StageCreate, func(l *loop) {
		if l.cfg.Ready != nil {
			l.cfg.Ready()
		}
		if l.cfg.AutoStart {
			l.begin()
		}
	})
}

// failed ends the run with an error.
func (l *loop) failed(reason string, err error) {
	if l.launchErr == nil {
		l.launchErr = err
		l.verdict.Error = err.Error()
		if code := LaunchCode(err); code != 0 {
			l.launchCode = code
		}
	}
	l.answerStart(err)
	l.event(event{kind: evFailed, cause: reason})
	l.followed()
}

func (l *loop) answerStart(err error) {
	if l.start != nil {
		l.start.Reply(Snapshot{}, err)
		l.start = nil
	}
}

// hooks runs the hooks of a stage and then next, if none failed and nothing has ended meanwhile.
func (l *loop) hooks(stage Stage, next func(*loop)) {
	if l.cfg.Hook == nil || l.group == nil {
		next(l)
		return
	}
	hook, id := l.cfg.Hook, l.group.Leader()
	l.helpers.Add(1)
	go func() {
		defer l.helpers.Done()
		err := hook(l.ctx, stage, id)
		l.post(func(l *loop) {
			switch {
			case err != nil:
				l.failed(ReasonHook, err)
			case stage != StagePost && l.state.phase >= stopping:
				l.answerStart(ErrNotRunning)
			default:
				next(l)
			}
		})
	}()
}

// begin starts a created payload.
func (l *loop) begin() {
	if l.starting || l.state.exited || l.state.phase != created {
		l.answerStart(ErrNotCreated)
		return
	}
	l.starting = true
	l.admit(func(l *loop) {
		l.hooks(StageStart, func(l *loop) { l.event(event{kind: evStart}) })
	})
}

func (l *loop) openGate() {
	now := time.Now().UTC()
	l.verdict.Started = &now
	l.startSampler()
	l.following, l.executing = true, true
	l.helpers.Add(1)
	go func() {
		if f := l.cfg.Foreground; f != nil {
			<-f.ready
		}
		err := l.proc.Exec()
		if err == nil && l.cfg.Started != nil {
			err = l.cfg.Started(now) // while the program runs already: it does not wait for the disk
		}
		l.helpers.Done()
		l.post(func(l *loop) { l.executed(err) })
	}()
}

func (l *loop) executed(err error) {
	l.executing = false
	defer l.over()
	if err != nil {
		l.verdict.Started = nil
		l.failed(ReasonLaunch, err)
		return
	}
	l.event(event{kind: evStarted})
	l.hooks(StagePost, func(l *loop) {
		l.answerStart(nil)
		l.followed()
	})
}

// followed is called when nothing more follows the execution of the program.
func (l *loop) followed() {
	l.following = false
	l.finish()
}

// admit waits until the program may be executed, and then goes on with next.
func (l *loop) admit(next func(*loop)) {
	if l.cfg.Admit == nil {
		next(l)
		return
	}
	ctx, cancel := context.WithCancelCause(l.ctx)
	if l.start != nil && l.start.Gone != nil {
		gone := l.start.Gone
		go func() {
			select {
			case <-gone:
				cancel(errGone)
			case <-ctx.Done():
			}
		}()
	}
	l.helpers.Add(1)
	go func() {
		a, err := l.cfg.Admit(ctx)
		takenBack := err != nil && context.Cause(ctx) == errGone
		cancel(nil)
		l.admission.Store(a)
		l.helpers.Done()
		l.post(func(l *loop) {
			switch {
			case l.state.exited || l.state.phase != created:
				l.answerStart(ErrNotRunning)
			case takenBack:
				l.starting = false
				l.answerStart(err)
			case errors.Is(err, ErrNotAdmitted):
				l.failed(ReasonAdmission, err)
			case err != nil:
				l.failed(ReasonLaunch, err)
			default:
				next(l)
			}
		})
	}()
}

// errGone is that whoever asked for a start does not wait for it any more.
var errGone = errors.New("who asked for the start is gone")

func (l *loop) startSampler() {
	if l.group == nil {
		return
	}
	s := newSampler(proc.Root, l.group, l.cfg.Memory, l.cfg.Meter, callbacks{
		over: func(b *breach) { l.post(func(l *loop) { l.breached(b) }) },
		hope: func() { l.post(func(l *loop) { l.event(event{kind: evHopeless}) }) },
		much: func(e excess, s limit.Spent) { l.post(func(l *loop) { l.exceeded(e, s) }) },
		warn: func(w Warning) {
			if l.cfg.Warned != nil {
				l.cfg.Warned(w)
			}
			l.post(func(l *loop) { l.tell(Occurrence{Warning: &w}) })
		},
		deaf: func(err error) {
			if l.cfg.Log != nil {
				l.cfg.Log.Warn("memory is metered at deadlines only: " + err.Error())
			}
		},
	})
	s.share.kernel = l.cfg.HeldTasks
	s.share.seat, s.share.report = l.cfg.Seat, func(d group.Doom, urgent bool, top []Victim) {
		l.post(func(l *loop) { l.doomed(d, urgent, top) })
	}
	s.account.budget, s.used = l.cfg.Budget.Calm(), l.cfg.Used
	s.observed = l.proc.Observed()
	l.sampler = s
	go s.run()
	if g := l.cfg.Gate; g != nil {
		l.helpers.Go(func() { l.oversee(g, s) })
	}
}
