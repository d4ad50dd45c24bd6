package batch

import (
	"context"
	"time"

	"mlrun/admission"
)

// NewGate makes the jobs of a batch wait in the line of all runs of the user.
func NewGate(q *admission.Queue) Gate { return gate{q} }

type gate struct{ q *admission.Queue }

// life is longer than any job lives.
const life = 100 * 365 * 24 * time.Hour

// Admit implements Gate. What a job says that it needs is kept for it as long as it runs. What is only guessed is void after a while, as it is for
// other runs.
func (g gate) Admit(ctx context.Context, c Claim, held func()) (Ticket, error) {
	settle := time.Duration(life)
	if c.Basis == ByShare || c.Basis == ByHistory {
		settle = admission.DefaultSettle
	}
	t, err := g.q.Join(admission.Criteria{Reserve: c.Expected, Settle: settle, Observe: func(e admission.Event) {
		if e.Kind == admission.Held {
			held()
		}
	}})
	if err != nil {
		return nil, err
	}
	if t.TryNow() {
		return t, nil
	}
	if err := t.Wait(ctx); err != nil {
		t.Release()
		return nil, err
	}
	return t, nil
}
