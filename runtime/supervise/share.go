package supervise

import (
	"time"

	"mlrun/group"
	"mlrun/limit"
	"mlrun/meter"
)

// share is what a sampler knows of the groups that the run is in.
type share struct {
	seat   *group.Seat // nil: it is in none
	room   limit.Shared
	most   int64 // bytes that the run itself may have in them
	sure   int64 // bytes of the newest exact reading,
	upper  int64 // and its bound then
	read   time.Time
	cost   time.Duration
	report func(group.Doom, bool, []Victim)
	kernel func() bool // the kernel holds the limits of processes of these groups; nil: it does not

	doomed bool // the run was told to end
	hoped  bool // and then to end at once
}

const (
	shareLoose = 1 << 20               // bytes between bound and certainty that are worth an exact reading
	doomEvery  = 20 * time.Millisecond // looks at a run that was told to end
	// settleEvery is how often one of those looks whose group is over a limit by bounds: it is others who have to tell what is certain, and need the processors for that.
	settleEvery = time.Millisecond
)

// limited tells whether a group has a limit that the run must obey, as of the newest sample.
func (h *share) limited() bool { return h.seat != nil && h.seat.Limited() }

// note remembers an exact reading.
func (h *share) note(r meter.Reading) {
	h.sure, h.upper, h.read, h.cost = r.Memory, r.Upper, time.Now(), r.Cost
}

// certain is what the run has for sure, in bytes: what it had at the newest exact reading, less what its bound has fallen by since.
func (h *share) certain(bound, least int64) int64 {
	sure := h.sure
	if bound < h.upper {
		sure -= h.upper - bound
	}
	return max(sure, least, 0)
}

// publish tells the other runs of the groups what this one uses.
func (s *sampler) publish(exact bool) group.Room {
	h := &s.share
	bound := s.use.Memory
	if exact {
		bound = min(bound, h.upper)
	}
	room := h.seat.Publish(group.Use{
		Bound: bound, Sure: h.certain(bound, s.meter.Least()), Processes: int64(s.group.Size()), Exact: exact, Kernel: h.kernel != nil && h.kernel(),
	})
	h.room, h.most = limit.Shared{Memory: room.Memory, Tasks: room.Processes}, room.Most
	return room
}

// shared takes part in the limits of the groups, and returns when to look again: after wait at most.
func (s *sampler) shared(now time.Time, wait time.Duration) time.Duration {
	h := &s.share
	if h.seat == nil {
		return wait
	}
	room := s.publish(false)
	if h.limited() {
		h.seat.Sweep()
	}
	if s.told() {
		return min(wait, doomEvery)
	}
	if (room.Memory < 0 || room.Read) && s.readShared(now) {
		room = s.publish(true)
	}
	if room.Memory < 0 || room.Processes < 0 {
		_ = h.seat.Settle() // else at the next sample
		if s.told() {
			return min(wait, doomEvery)
		}
		return min(wait, max(s.policy.NextShared(s.use, h.room), settleEvery))
	}
	return min(wait, s.policy.NextShared(s.use, h.room))
}

// readShared reads exactly what the groups have to know: no more often than makes a fifth of the time. false: it is known well enough.
func (s *sampler) readShared(now time.Time) bool {
	h := &s.share
	if sure := h.certain(s.use.Memory, s.meter.Least()); s.use.Memory-sure <= shareLoose {
		h.sure, h.upper = sure, s.use.Memory
		return true
	}
	if now.Sub(h.read) < duty*h.cost {
		return false
	}
	s.verify(false)
	return true
}

// told tells whether the run is to end for a group, and has that happen.
func (s *sampler) told() bool {
	h := &s.share
	d := h.seat.Doomed()
	if d == nil {
		return false
	}
	over := h.seat.Beyond()
	hopeless := d.What == group.Memory && d.Limit+over > limit.GroupCeiling(d.Limit)
	if !h.doomed || hopeless && !h.hoped {
		h.doomed, h.hoped = true, hopeless
		h.report(*d, hopeless, s.victims(s.meter.Certain(), false))
	}
	return true
}

// awaited tells the others when this run is looked at again.
func (s *sampler) awaited(wait time.Duration) {
	if h := &s.share; h.seat != nil {
		h.seat.Next(wait, s.events.asleep, s.policy.Within)
	}
}

// listen makes those able to wake this supervisor who share a group with it.
func (l *loop) listen() {
	seat := l.cfg.Seat
	if seat == nil {
		return
	}
	err := seat.Bell(func() { l.post(func(l *loop) { l.rung() }) })
	if err != nil && l.cfg.Log != nil {
		l.cfg.Log.Warn("others cannot wake this run when it is to end for a group: " + err.Error())
	}
}

// rung is called when others want the run to be looked at.
func (l *loop) rung() {
	if s := l.sampler; s != nil {
		s.post(func() { s.again, s.events.asleep = true, false })
	} else if d := l.cfg.Seat.Doomed(); d != nil && l.state.phase < stopping {
		l.doomed(*d, false, nil)
	}
}

// doomed ends the run for a group.
func (l *loop) doomed(d group.Doom, urgent bool, top []Victim) {
	cause := ReasonKilled
	switch d.What {
	case group.Memory:
		cause, urgent = ReasonMemory, urgent || l.cfg.Strict
	case group.Processes:
		cause = ReasonPids
	}
	if l.state.reason == "" && !l.state.exited {
		l.verdict.Group = &InGroup{ID: int64(d.Group), Label: d.Label, Limit: d.Limit, Observed: d.Observed, Unit: "bytes"}
		l.verdict.Top = top
		switch d.What {
		case group.Processes:
			l.verdict.Group.Unit = "processes"
		case group.Asked:
			l.verdict.Group.Unit = ""
		}
	}
	l.event(event{kind: evExceeded, cause: cause, urgent: urgent})
}
