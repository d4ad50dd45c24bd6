package runtime

import (
	"context"

	"mlrun/admission"
	"mlrun/runtime/supervise"
)

// turn is the place of a run in the line, and then its reservation.
type turn struct {
	queue  *admission.Queue
	ticket *admission.Ticket // nil: none yet
	key    string
	told   func(AdmissionEvent)
}

// admit opens the line for the session, if that waits for memory.
func (s *session) admit(cfg *supervise.Config) error {
	g := s.rec.Gate
	if g == nil {
		return nil
	}
	if err := s.rt.store.Ready(); err != nil {
		return err
	}
	q, err := admission.Open(s.rt.AdmissionDir(), admission.ThisHost())
	if err != nil {
		return err
	}
	s.turn = &turn{queue: q, key: admissionKey(s.opts.Bundle)}
	cfg.Admit = s.await
	cfg.Used = s.turn.used
	if g.Tree {
		return s.gateExecs(cfg)
	}
	return nil
}

// await waits for the admission of the program.
func (s *session) await(ctx context.Context) (*supervise.Admission, error) {
	g, t := s.rec.Gate, s.turn
	expected, _ := t.queue.Expect(t.key)
	c := g.criteria(s.rec.Memory.Limit, expected)
	c.Observe = func(e admission.Event) {
		if e.Kind == admission.Held {
			s.setAdmission(waited(e, true))
		}
		if t.told != nil {
			t.told(e)
		}
	}
	ticket, err := join(t.queue, g, c, s.rec.Memory.Limit > 0)
	if err != nil {
		return nil, err
	}
	e, err := g.wait(ctx, ticket)
	a := waited(e, false)
	a.Admitted = err == nil
	s.setAdmission(a)
	if err == nil {
		t.ticket = ticket
	}
	return a, err
}

// waited is an event as the verdict has it.
func waited(e admission.Event, waiting bool) *supervise.Admission {
	return &supervise.Admission{
		Waiting: waiting, WaitedUS: e.Waited.Microseconds(), Required: e.Required, Reserved: e.Reserve, Available: e.Available, Total: e.Total,
		Outstanding: e.Outstanding, Pressure: e.Pressure,
	}
}

// setAdmission stores how the admission stands, for those who ask for the state.
func (s *session) setAdmission(a *supervise.Admission) {
	s.set(func(r *record) { r.Admission = a })
	if s.publish != nil && !s.isSaved() {
		return // it is stored with the rest
	}
	if err := s.save(); err != nil {
		s.rt.log.Warn(err.Error())
	}
}

// used tells the line what the program uses, until that is all that was reserved.
func (t *turn) used(peak int64) bool {
	t.ticket.Used(peak)
	return t.ticket.Outstanding() > 0
}

// end gives the reservation back, and remembers what the program has used.
func (t *turn) end(v *Verdict) {
	if t.ticket != nil {
		t.ticket.Release()
		if v.Memory.Peak > 0 {
			t.queue.Record(t.key, v.Memory.Peak)
		}
	}
	_ = t.queue.Close()
}
