//go:build !linux && !darwin

package meter

import (
	"time"

	"mlrun/proc"
)

// Meter measures one set of processes.
type Meter struct{}

// New returns a meter that knows nothing on this platform.
func New(proc.FS) *Meter { return &Meter{} }

// Close does nothing here.
func (*Meter) Close() {}

// Set does nothing here.
func (*Meter) Set([]proc.ID) {}

// Bound knows nothing here.
func (*Meter) Bound(time.Time, int64) (int64, bool) { return 0, false }

// Exact knows nothing here.
func (*Meter) Exact() Reading { return Reading{} }

// ExactUntil knows nothing here.
func (*Meter) ExactUntil(int64) Reading { return Reading{} }
