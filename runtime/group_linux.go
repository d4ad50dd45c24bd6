package runtime

import (
	"mlrun/group"
	"mlrun/runtime/supervise"
)

// join takes the seat of the session in its limit group, if it has one.
func (s *session) join(cfg *supervise.Config) error {
	if s.rec.Group <= group.System { // it limits and counts nothing
		return nil
	}
	t, err := s.rt.Groups()
	if err != nil {
		return err
	}
	s.groups = t
	s.seat, err = t.Join(s.rec.Group, group.Member{Kind: group.Run, Name: s.rec.ID, Process: s.rec.Supervisor, Processes: 1})
	if err != nil {
		return err
	}
	cfg.Seat = s.seat
	cfg.Nest, cfg.HeldTasks = s.nest, s.held
	return nil
}

// leave gives the seat back.
func (s *session) leave() {
	s.release()
	if s.seat != nil {
		s.seat.Leave()
	}
	if s.groups != nil {
		_ = s.groups.Close()
	}
	s.seat, s.groups = nil, nil
}
