package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"mlrun/bundle"
	"mlrun/runtime"
	"mlrun/runtime/supervise"
)

// budgetFlags are limits besides those of memory.
type budgetFlags struct{ pids, cpus, cpuTime, wallTime, hangTime string }

func (b *budgetFlags) add(f *pflag.FlagSet) {
	f.StringVar(&b.pids, "pids", "", "how many processes and threads (`N`) there may be at once, in place of the bundle's; -1: no limit")
	f.StringVar(&b.cpus, "cpus", "", "how many processors' time (`N`, such as 1.5) may be used, in place of the bundle's quota")
	f.StringVar(&b.cpuTime, "cpu-time", "", "CPU `TIME` that all processes together may use: seconds, or 500ms, 1h30m")
	f.StringVar(&b.wallTime, "wall-time", "", "`TIME` after which the run is ended")
	f.StringVar(&b.hangTime, "hang-time", "", "`TIME` without any use of CPU time after which the run is ended")
}

// set puts the flags that were given into o.
func (b *budgetFlags) set(f *pflag.FlagSet, o *runtime.CreateOptions) error {
	if err := notEmpty(f, "pids", "cpus", "cpu-time", "wall-time", "hang-time"); err != nil {
		return err
	}
	if b.pids != "" {
		n, err := strconv.ParseInt(b.pids, 10, 64)
		if err != nil || n < -1 {
			return usagef("--pids %q: want a number from 0 on, or -1 for no limit", b.pids)
		}
		o.Pids = &n
	}
	if b.cpus != "" {
		var err error
		if o.CPUs, err = parseCPUs(b.cpus, ""); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		flag, value string
		to          *time.Duration
	}{{"cpu-time", b.cpuTime, &o.CPUTime}, {"wall-time", b.wallTime, &o.WallTime}, {"hang-time", b.hangTime, &o.HangTime}} {
		if t.value == "" {
			continue
		}
		d, err := bundle.ParseTime(t.value)
		if err != nil {
			return usagef("--%s: %v", t.flag, err)
		}
		*t.to = d
	}
	return nil
}

// parseCPUs reads a number of processors: digits, and a point among them. strconv knows more, such as 0x1p-2 and inf. What else
// may be said there is for the message.
func parseCPUs(text, also string) (float64, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || strings.Trim(text, "0123456789.") != "" || n < 0.01 || n > bundle.MaxCPU {
		return 0, usagef("--cpus %q: want a number from 0.01 to %d, such as 1.5%s", text, bundle.MaxCPU, also)
	}
	return n, nil
}

// overBudget says which limit besides that of memory ended a run.
func (a *app) overBudget(v *runtime.Verdict) {
	e := v.Exceeded
	if e == nil {
		return
	}
	micros := func(n int64) time.Duration {
		return (time.Duration(n) * time.Microsecond).Round(10 * time.Millisecond)
	}
	var what string
	switch v.Reason {
	case supervise.ReasonPids:
		what = "process limit exceeded: " + strconv.FormatInt(e.Observed, 10) + " of " + strconv.FormatInt(e.Limit, 10)
	case supervise.ReasonHuge:
		what = "huge page limit exceeded: " + size(e.Observed) + " of " + size(e.Limit)
	case supervise.ReasonCPU:
		what = "CPU time limit exceeded: " + micros(e.Observed).String() + " of " + micros(e.Limit).String()
	case supervise.ReasonWall:
		what = "wall time limit exceeded: " + micros(e.Limit).String()
	case supervise.ReasonHang:
		what = "no CPU time was used for " + micros(e.Limit).String()
	}
	a.notice("%s; ended with exit code %d", what, v.ExitCode)
}
