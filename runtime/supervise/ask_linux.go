package supervise

import (
	"time"

	"mlrun/limit"
)

// list answers with the members.
func (l *loop) list(r Request) {
	if l.group == nil {
		r.Reply(Snapshot{}, ErrNotRunning)
		return
	}
	go func() {
		l.group.Update(time.Now())
		r.Reply(Snapshot{Members: l.group.Members()}, nil)
	}()
}

// usage answers with the memory and the CPU time.
func (l *loop) usage(r Request) {
	if l.group == nil || l.state.exited {
		r.Reply(Snapshot{}, ErrNotRunning)
		return
	}
	s, held := l.sampler, l.state.held
	go func() {
		sn := Snapshot{Processes: 1}
		if s != nil {
			sn, _ = s.question(questionWait)
		}
		sn.Frozen = held
		t := l.group.Tally()
		sn.User, sn.System = t.User, t.System
		r.Reply(sn, nil)
	}()
}

// update puts other limits in place. What of memory is used already may be over them: then that is a breach.
func (l *loop) update(r Request) {
	u := r.Update
	if u == nil || l.group == nil || l.state.exited || l.state.phase >= stopping {
		r.Reply(Snapshot{}, ErrNotRunning)
		return
	}
	if len(u.Rlimits) > 0 {
		l.updateRlimits(r)
		return
	}
	if l.cfg.Updated != nil {
		if err := l.cfg.Updated(*u); err != nil {
			r.Reply(Snapshot{}, err) // what cannot be recorded does not come into force
			return
		}
	}
	apply := func() {
		l.cfg.Memory = u.policy(l.cfg.Memory)
		l.given = newest(l.given, u.Held)
		r.Reply(Snapshot{}, nil)
	}
	s := l.sampler
	if u.Tasks != nil && u.Sampled {
		l.cfg.Budget.Tasks = *u.Tasks
		if s != nil {
			budget := l.cfg.Budget
			s.post(func() { s.account.budget, s.account.due = budget, time.Now() })
		}
	}
	if m := l.cfg.Memory; s == nil || m.Limit == u.Limit && m.Swap == u.Swap && m.High == u.High {
		apply()
		return
	}
	posted := s.post(func() {
		if !s.ceiling {
			s.policy, s.warned, s.muted, s.again = u.policy(s.policy), 0, false, true
		}
		go l.post(func(*loop) { apply() })
	})
	if !posted {
		r.Reply(Snapshot{}, ErrNotRunning)
	}
}

// policy is p with the limits of u.
func (u *Update) policy(p limit.Policy) limit.Policy {
	c := p.Config
	c.Limit, c.Swap, c.High = u.Limit, u.Swap, u.High
	return limit.New(c)
}

// tell tells the watchers what has happened.
func (l *loop) tell(o Occurrence) {
	for _, f := range l.watchers {
		f(o)
	}
}
