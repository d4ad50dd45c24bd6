package groupfs

import (
	"math"
	"testing"

	"mlrun/proc"
)

// TestSeals has seals that follow each other: each is lower, also of moves in the same moment, and of a move of who is in a run.
func TestSeals(t *testing.T) {
	limit := uint64(math.MaxUint64)
	for n := range uint64(1000) {
		s := newSeal(123456, n, limit)
		if s == 0 || s >= limit || s >= sealTop {
			t.Fatalf("seal %d after %d", s, limit)
		}
		if at := sealedAt(s); at < 123456 || at > 123456+1000 {
			t.Fatalf("sealed at %d", at)
		}
		limit = s
	}
	run := proc.Seal(proc.ID{PID: 4194303, Start: 5000})
	if s := newSeal(5000, 1, run); s == 0 || s >= run {
		t.Errorf("seal %d of a process with %d", s, run)
	}
	if later := proc.Seal(proc.ID{PID: 2, Start: 5002}); later >= newSeal(5000, 1, run) {
		t.Error("the seal of a run that is started later is not lower")
	}
	if s := newSeal(5000, 1, 1000); s != 0 {
		t.Errorf("seal %d of a process that has a limit", s)
	}
	if at := sealedAt(math.MaxUint64); at != 0 {
		t.Errorf("who has no seal was sealed at %d", at)
	}
}
