package supervise

import "time"

// gateEvery is how often a gate whose programs wait is told what the run uses.
const gateEvery = time.Second

// oversee tells the gate what the run uses, until that has ended.
func (l *loop) oversee(g Gate, s *sampler) {
	t := time.NewTicker(gateEvery)
	defer t.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-t.C:
		}
		if !g.Waits() {
			continue
		}
		if sn, ok := s.question(questionWait); ok {
			g.Look(sn.Current, l.group.Tally().CPU)
		}
	}
}
