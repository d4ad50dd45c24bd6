package runtime

import (
	"time"

	"mlrun/admission"
	"mlrun/runtime/execgate"
)

// ExecNotice tells of a program that has to wait for memory, or does not any more.
type ExecNotice = execgate.Notice

// The outcomes of an ExecNotice.
const (
	ExecHolds  = execgate.Holds
	ExecLet    = execgate.Let
	ExecForced = execgate.Forced
	ExecGone   = execgate.Gone
)

const (
	vigilTime  = 3 * time.Second       // a run that has used next to no CPU time for so long does nothing,
	vigilCPU   = 10 * time.Millisecond // which is as little as this
	vigilLeast = 64 << 20              // bytes that a run has to have before it is let past others in the line
)

// vigil finds out whether a run holds itself up: programs of it wait for memory that only the run could give back, and all that could do so does
// nothing. It is a value without a clock.
type vigil struct {
	since time.Time
	cpu   time.Duration
}

// look is told what the run has (bytes) and has used (CPU time), since when the oldest of its programs waits, and how that stands. It tells whether
// that one is to be let through. What others use they may give back, and reservations become void: neither is a reason.
func (v *vigil) look(now, oldest time.Time, memory int64, cpu time.Duration, e admission.Event) bool {
	if v.since.IsZero() || cpu-v.cpu > vigilCPU || cpu < v.cpu || now.Sub(v.since) > 4*vigilTime {
		v.since, v.cpu = now, cpu
	}
	if now.Sub(v.since) < vigilTime || now.Sub(oldest) < vigilTime {
		return false
	}
	short := e.Required + e.Reserve - e.Available
	switch {
	case short > 0 && memory >= short: // it would fit if the run gave back what it has
	case short <= 0 && e.Ahead > 0 && memory >= vigilLeast: // those ahead may wait for what the run has
	default:
		return false
	}
	*v = vigil{}
	return true
}
