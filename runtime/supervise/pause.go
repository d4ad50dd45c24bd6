package supervise

import (
	"errors"
	"time"
)

const (
	pauseTime   = 2 * time.Second // how long a pause waits for everything to stop
	pausedEvery = time.Second     // how often a paused group is looked after
)

// errRuns tells that a pause did not come about.
var errRuns = errors.New("some of its processes do not stop: they are in system calls that nothing interrupts; all go on")

// halt stops everything, and what is forked meanwhile, until resume. done gets the error, in the sampler's goroutine.
func (s *sampler) halt(done func(error)) bool {
	return s.post(func() {
		if s.paused != nil {
			done(nil)
			return
		}
		s.release(time.Now())
		s.throttle.stopAt = time.Time{}
		s.holding.Store(true)
		for end := time.Now().Add(pauseTime); ; {
			f := s.group.Freeze(freezeTime, nil)
			if f.Complete() {
				s.paused, s.events.asleep = f, false
				done(nil)
				return
			}
			// Who waits for a child between vfork and exec does not stop before that child goes on.
			f.Thaw(false)
			if time.Now().After(end) {
				s.holding.Store(false)
				done(errRuns)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// resume continues what halt has stopped.
func (s *sampler) resumePaused(done func()) bool {
	return s.post(func() {
		if s.paused != nil {
			s.paused.Thaw(false)
			s.paused = nil
			s.holding.Store(false)
		}
		done()
	})
}

// staysPaused stops those whom somebody else has continued.
func (s *sampler) staysPaused() time.Duration {
	for _, id := range s.group.Members() {
		if st, err := s.fs.Stat(id.PID); err == nil && st.Start == id.Start && !st.Stopped() && !st.Ended() {
			s.group.Freeze(freezeTime, nil)
			break
		}
	}
	return pausedEvery
}

// onPause carries out a request to pause or to resume.
func (l *loop) onPause(r Request) {
	want := r.Op == OpPause
	switch {
	case l.state.phase != running || l.state.exited || l.sampler == nil:
		r.Reply(Snapshot{}, ErrNotRunning)
		return
	case l.paused == want && want:
		r.Reply(Snapshot{}, ErrPaused)
		return
	case l.paused == want:
		r.Reply(Snapshot{}, ErrNotPaused)
		return
	case l.pending != nil:
		r.Reply(Snapshot{}, errors.New("it is stopped for being over its memory limit"))
		return
	}
	paused := func(err error) {
		l.post(func(l *loop) {
			if err == nil {
				err = l.recordPause(true)
			}
			told := func() { r.Reply(Snapshot{}, err) }
			if err == nil || !l.sampler.resumePaused(told) { // nobody would know that it is paused
				told()
			}
		})
	}
	posted := false
	if want {
		posted = l.sampler.halt(func(err error) { go paused(err) })
	} else if err := l.recordPause(false); err != nil {
		r.Reply(Snapshot{}, err) // and it stays paused, as its state says
		return
	} else {
		posted = l.sampler.resumePaused(func() { r.Reply(Snapshot{}, nil) })
	}
	if !posted {
		r.Reply(Snapshot{}, ErrNotRunning)
	}
}

// recordPause stores whether the container is paused; if that fails nothing has changed.
func (l *loop) recordPause(paused bool) error {
	if l.cfg.Paused != nil {
		if err := l.cfg.Paused(paused); err != nil {
			return err
		}
	}
	l.paused = paused
	return nil
}

// goOnToEnd continues a paused group that was asked to end, or it would never hear of it.
func (l *loop) goOnToEnd() {
	if l.paused {
		l.paused = false
		l.sampler.resumePaused(func() {})
	}
}
