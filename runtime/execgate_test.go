package runtime

import (
	"testing"
	"time"

	"mlrun/admission"
)

// A run is let past its own wait only when nothing else can end that.
func TestVigil(t *testing.T) {
	short := admission.Event{Required: 1000 << 20, Available: 700 << 20} // by 300 MiB
	for _, c := range []struct {
		name   string
		memory int64
		busy   time.Duration // CPU time each second
		waited time.Duration
		event  admission.Event
		want   bool
	}{
		{"holds what is missing, and does nothing", 400 << 20, 0, time.Minute, short, true},
		{"holds less", 200 << 20, 0, time.Minute, short, false},
		{"works", 400 << 20, 20 * time.Millisecond, time.Minute, short, false},
		{"has just begun to wait", 400 << 20, 0, -10 * time.Second, short, false},
		{"reservations, which become void", 4000 << 20, 0, time.Minute, admission.Event{Required: 100, Available: 1000, Outstanding: 1000}, false},
		{"behind somebody who may wait for it", 400 << 20, 0, time.Minute, admission.Event{Required: 100, Available: 1000, Ahead: 1}, true},
		{"behind somebody, with next to nothing", 4 << 20, 0, time.Minute, admission.Event{Required: 100, Available: 1000, Ahead: 1}, false},
		{"the reservation is what does not fit", 400 << 20, 0, time.Minute, admission.Event{Reserve: 1000 << 20, Available: 700 << 20}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var v vigil
			now, got := time.Now(), 0
			oldest := now.Add(-c.waited)
			for i := range 8 {
				if v.look(now.Add(time.Duration(i)*time.Second), oldest, c.memory, time.Duration(i)*c.busy, c.event) {
					got++
				}
			}
			if got > 0 != c.want || got > 2 {
				t.Errorf("%d times in 8 s", got)
			}
		})
	}
}
