package supervise

import (
	"fmt"
	"strings"
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
		u := l.group.Usage()
		sn.User, sn.System, sn.Rusage = u.User, u.System, readRusage(u)
		for _, p := range u.Top {
			sn.Peaks = append(sn.Peaks, Peak{p.ID, strings.ToValidUTF8(p.Comm, "\uFFFD"), p.MaxRSS})
		}
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
	if !u.done && (len(u.Rlimits) > 0 || u.Place != nil) {
		if err := u.conflict(l.cfg.Memory); err != nil { // before anything is changed
			r.Reply(Snapshot{}, err)
			return
		}
		l.updateProcesses(r)
		return
	}
	if err := l.record(u); err != nil {
		r.Reply(Snapshot{}, err) // what cannot be recorded does not come into force
		return
	}
	apply := func() {
		l.cfg.Memory = u.policy(l.cfg.Memory)
		l.given = newest(l.given, u.Held)
		if u.Place != nil {
			l.place.Add(u.Place)
		}
		r.Reply(Snapshot{}, nil)
	}
	l.rebudget(u)
	s := l.sampler
	if s == nil || u.Limit == nil && u.Swap == nil && u.High == nil {
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

// record tells of an update that is about to come into force.
func (l *loop) record(u *Update) error {
	if err := u.conflict(l.cfg.Memory); err != nil || l.cfg.Updated == nil {
		return err
	}
	return l.cfg.Updated(*u)
}

// rebudget puts the limits of u that are held by looks in place.
func (l *loop) rebudget(u *Update) {
	b := &l.cfg.Budget
	tasks, quota := u.Tasks != nil && u.Sampled, u.Quota != nil || u.Period != nil
	if tasks {
		b.Tasks = *u.Tasks
	}
	if u.Quota != nil {
		b.Quota = max(*u.Quota, 0)
	}
	if u.Period != nil {
		b.Period = *u.Period
	}
	if l.sampler != nil && (tasks || quota) {
		l.sampler.rebudget(b.Calm(), quota)
	}
}

// memory is what limits of memory a policy has with u, in bytes; <= 0 is none.
func (u *Update) memory(p limit.Policy) (most, swap, high int64) {
	most, swap, high = p.Limit, p.Swap, p.High
	for _, v := range []struct{ from, to *int64 }{{u.Limit, &most}, {u.Swap, &swap}, {u.High, &high}} {
		if v.from != nil {
			*v.to = *v.from
		}
	}
	return most, swap, high
}

// conflict tells why limits of memory are not possible beside each other.
func (u *Update) conflict(p limit.Policy) error {
	switch most, swap, high := u.memory(p); {
	case high > 0 && most > 0 && high > most:
		return fmt.Errorf("a soft limit of %d bytes is over the memory limit of %d", high, most)
	case swap > 0 && most > swap:
		return fmt.Errorf("a memory limit of %d bytes is over that of memory and swap together, %d", most, swap)
	}
	return nil
}

// policy is p with the limits of u.
func (u *Update) policy(p limit.Policy) limit.Policy {
	c := p.Config
	c.Limit, c.Swap, c.High = u.memory(p)
	return limit.New(c)
}

// tell tells the watchers what has happened.
func (l *loop) tell(o Occurrence) {
	for _, f := range l.watchers {
		f(o)
	}
}
