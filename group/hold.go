package group

import "sync/atomic"

// Holds tells whether limits, by group, are the limits of processes of all groups above the seat that have one, as they are now: what the kernel holds
// is what it was told when a run began. It is called by the goroutine that calls Publish.
func (s *Seat) Holds(limits map[ID]int64) bool {
	if s.i < 0 || s.gone.Load() {
		return false
	}
	s.survey()
	n := 0
	for _, l := range s.levels {
		most := atomic.LoadInt64(&s.t.group(l.at)[gProcesses])
		if most == None {
			continue
		}
		if held, ok := limits[s.t.id(l.at)]; !ok || held != most {
			return false
		}
		n++
	}
	return n > 0
}
