package runtime

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"mlrun/admission"
	"mlrun/bundle"
)

// Admission is what has to be true before the program of a container is executed, in place of what its bundle says. What is zero is the bundle's.
type Admission struct {
	Available *admission.Amount // so much memory of the machine is available, beyond what is reserved
	Pressure  float64           // the pressure of memory (admission.Host.Pressure) is below it, in percent
	Reserve   int64             // bytes that the program is expected to use
	Timeout   time.Duration     // how long that is waited for
	Scope     bundle.Scope      // what waits
}

// AdmissionEvent is what a wait for memory came to.
type AdmissionEvent = admission.Event

// gate is what is asked of the admission of a start.
type gate struct {
	Available string        `json:"available,omitempty"` // as admission.ParseAmount reads it
	Pressure  float64       `json:"pressure,omitempty"`  // percent
	Reserve   int64         `json:"reserve,omitempty"`   // bytes; 0: the memory limit, else what earlier runs have used
	Timeout   time.Duration `json:"timeoutNs,omitempty"`
	Settle    time.Duration `json:"settleNs,omitempty"`
	Tree      bool          `json:"tree,omitempty"` // each program that the run executes waits
}

// gate is what is asked for, by the options or else by the bundle; nil when nothing is.
func (o *CreateOptions) gate() *gate {
	a, b := o.Admission, o.Bundle.Settings.Admission
	if a.Available == nil {
		a.Available = b.Available
	}
	g := &gate{
		Pressure: either(a.Pressure, b.Pressure), Reserve: either(a.Reserve, b.Reserve), Timeout: either(a.Timeout, b.Timeout), Settle: b.Settle,
		Tree: either(a.Scope, b.Scope) == bundle.ScopeTree,
	}
	if a.Available != nil {
		g.Available = a.Available.String()
	}
	if a.Available == nil && g.Pressure == 0 && g.Reserve == 0 && !g.Tree {
		return nil
	}
	return g
}

// either is a, or b when a is zero.
func either[T comparable](a, b T) T {
	var zero T
	if a == zero {
		return b
	}
	return a
}

// criteria are those of the gate. limit is the memory limit in bytes, expected what earlier runs have used; <= 0: unknown.
func (g *gate) criteria(limit, expected int64) admission.Criteria {
	c := admission.Criteria{Pressure: g.Pressure, Reserve: g.Reserve, Settle: g.Settle}
	if g.Available != "" {
		c.Available, _ = admission.ParseAmount(g.Available) // it was read before
	}
	if g.Tree {
		return c // each program reserves for itself
	}
	if c.Reserve <= 0 {
		c.Reserve = max(limit, 0)
	}
	if c.Reserve == 0 {
		c.Reserve = max(expected, 0)
	}
	return c
}

// checkAdmission refuses what can never be satisfied on this machine.
func (o *CreateOptions) checkAdmission() error {
	g := o.gate()
	if g == nil {
		return nil
	}
	if g.Tree {
		if err := checkExecGate(o); err != nil {
			return err
		}
	}
	limit := o.memory().Limit
	c := g.criteria(limit, 0)
	h := admission.ThisHost()
	for _, part := range []struct {
		criteria         admission.Criteria
		given            bool // by the options
		flag, annotation string
	}{
		{admission.Criteria{Available: c.Available}, o.Admission.Available != nil, "--wait-memory", bundle.AdmissionAvailableAnnotation},
		{admission.Criteria{Pressure: c.Pressure}, o.Admission.Pressure > 0, "--wait-pressure", bundle.AdmissionPressureAnnotation},
	} {
		if err := h.Check(part.criteria); err != nil {
			return fmt.Errorf("%s: %w", o.source(part.given, part.flag, part.annotation), err)
		}
	}
	if err := h.Check(admission.Criteria{Available: c.Available, Reserve: c.Reserve}); err != nil {
		where := o.source(o.Admission.Reserve > 0, "--reserve", bundle.AdmissionReserveAnnotation)
		if g.Reserve <= 0 {
			where = "memory limit of " + fmt.Sprint(limit) + " bytes, which is reserved unless --reserve or " + bundle.AdmissionReserveAnnotation + " says what the program uses"
		}
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

// scopeSource says where the scope of the wait was asked for.
func (o *CreateOptions) scopeSource() string {
	return o.source(o.Admission.Scope != 0, "--wait-scope tree", bundle.AdmissionScopeAnnotation)
}

// source says where something was asked for.
func (o *CreateOptions) source(given bool, flag, annotation string) string {
	if given {
		return flag
	}
	return fmt.Sprintf("%s: annotations[%q]", filepath.Join(o.Bundle.Dir, "config.json"), annotation)
}

// admissionKey is under which name the memory that a program has used is remembered.
func admissionKey(b *bundle.Bundle) string {
	return b.Dir + "\x00" + strings.Join(b.Spec.Process.Args, "\x00")
}
