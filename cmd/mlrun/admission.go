package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"mlrun/admission"
	"mlrun/bundle"
	"mlrun/runtime"
)

// admissionFlags are what has to be true before a program is executed.
type admissionFlags struct{ available, pressure, reserve, timeout, scope string }

func (w *admissionFlags) add(f *pflag.FlagSet) {
	f.StringVar(&w.available, "wait-memory", "", "wait until so much memory (`AMOUNT`: 10%, 2G) is available before the program is executed")
	f.StringVar(&w.timeout, "wait-timeout", "", "`TIME` after which the wait is given up, with exit code 75: seconds, or 5m; default: never")
	f.StringVar(&w.pressure, "wait-pressure", "", "wait until the pressure of memory (PSI, some avg10) is below `PERCENT`")
	f.StringVar(&w.scope, "wait-scope", "", "what waits: start, or tree: each program, too, that it and all that it starts execute (`SCOPE`; default start)")
	f.StringVar(&w.reserve, "reserve", "", "memory (`SIZE`) that the program is expected to use, which others that wait leave alone; default: its limit, else what it used before")
}

// set puts the flags that were given into o.
func (w *admissionFlags) set(f *pflag.FlagSet, o *runtime.CreateOptions) error {
	if err := notEmpty(f, "wait-memory", "wait-timeout", "wait-pressure", "wait-scope", "reserve"); err != nil {
		return err
	}
	a := &o.Admission
	if w.available != "" {
		amount, err := bundle.ParseAvailable(w.available)
		if err != nil {
			return usagef("--wait-memory: %v", err)
		}
		a.Available = &amount
	}
	var err error
	if w.pressure != "" {
		if a.Pressure, err = bundle.ParsePressure(w.pressure); err != nil {
			return usagef("--wait-pressure: %v", err)
		}
	}
	if w.scope != "" {
		if a.Scope, err = bundle.ParseScope(w.scope); err != nil {
			return usagef("--wait-%v", err)
		}
	}
	if w.reserve != "" {
		if a.Reserve, err = bundle.ParseSize(w.reserve); err != nil {
			return usagef("--reserve: %v", err)
		}
	}
	if w.timeout != "" {
		if a.Timeout, err = bundle.ParseTime(w.timeout); err != nil {
			return usagef("--wait-timeout: %v", err)
		}
	}
	return nil
}

// admitting shows how a wait for memory goes: that there is one, and its end; with verbose what is looked at, too.
func (a *app) admitting(verbose bool) func(runtime.AdmissionEvent) {
	return func(e runtime.AdmissionEvent) {
		switch {
		case e.Kind == admission.Looked && verbose:
			a.notice("memory: required %s, available %s, %d MB of %d MB", percent(e.Required+e.Reserve, e.Total), percent(e.Available-e.Outstanding, e.Total),
				(e.Available-e.Outstanding)>>20, e.Total>>20)
		case e.Kind == admission.Held:
			a.waits = true
			a.notice("waiting for memory: %s wanted, %s available", size(e.Required+e.Reserve), size(max(0, e.Available-e.Outstanding)))
		case e.Kind == admission.Admitted && (a.waits || verbose):
			a.notice("released after %v: %s available", e.Waited.Round(time.Millisecond), size(max(0, e.Available-e.Outstanding)))
		}
	}
}

func percent(n, total int64) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(total)) }
