package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// verdict is the part of mlrun's verdict that is used here; docs/verdict.md has all of it.
type verdict struct {
	Reason  string
	Escaped int64
	Memory  struct {
		AtBreach, Peak, Samples int64
		DetectionDelayUs        int64
		MonitorCPUMS            float64
		Meter                   string
	}
}

func (v verdict) delay() time.Duration {
	return time.Duration(v.Memory.DetectionDelayUs) * time.Microsecond
}

// limiter is a program that limits the memory of a command.
type limiter struct {
	name   string
	args   []string // before the limit
	report string   // file of the verdict, set by a flag that command adds; "" for a limiter without one
}

// meters are the values of mlrun limit --meter.
var meters = []string{"events", "poll"}

// findModes finds out how mlrun limit can meter here: in each of its ways, or in the only one.
func (r *rig) findModes() {
	plain := []string{r.mlrun, "limit", "--quiet"}
	help, err := r.output(r.mlrun, "limit", "--help")
	if err == nil && strings.Contains(string(help), "--meter") {
		for _, m := range meters {
			l := &limiter{name: "mlrun, " + m, args: append(slices.Clone(plain), "--meter", m), report: r.path("verdict-" + m)}
			if why := r.probe(l, m); why != "" {
				r.tools.missing = append(r.tools.missing, fmt.Sprintf("mlrun limit --meter %s (%s)", m, why))
				continue
			}
			r.modes = append(r.modes, l)
		}
	}
	if len(r.modes) == 0 {
		r.modes = []*limiter{{name: "mlrun limit", args: plain, report: r.path("verdict")}}
	}
}

// probe tells why a way to meter is not measured; "" when it works.
func (r *rig) probe(l *limiter, meter string) string {
	if _, err := r.output(l.command(limited, r.nop)...); err != nil {
		return err.Error()
	}
	b, err := r.output(r.mlrun, "features")
	if err != nil {
		return err.Error()
	}
	var f struct {
		MLRun struct {
			Memory struct{ Meter, NoEvents string }
		}
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return err.Error()
	}
	if m := f.MLRun.Memory; meter == "events" && m.Meter != meter {
		return m.NoEvents
	}
	return ""
}

// limiters are mlrun in each of its modes, and the other one if it is there.
func (r *rig) limiters() []*limiter {
	list := slices.Clone(r.modes)
	if r.tools.memlimit != "" {
		list = append(list, &limiter{name: filepath.Base(r.tools.memlimit), args: []string{r.tools.memlimit}})
	}
	return list
}

// again is the same limiter with a verdict of its own: it can run beside the other.
func (l *limiter) again(r *rig) *limiter {
	other := *l
	if l.report != "" {
		other.report = r.path(r.fresh("verdict"))
	}
	return &other
}

// command is the command line that runs command under a limit in bytes.
func (l *limiter) command(limit int64, command ...string) []string {
	args := slices.Clone(l.args)
	if l.report != "" {
		args = append(args, "--report", l.report)
	}
	return append(append(args, strconv.FormatInt(limit, 10), "--"), command...)
}

// verdict reads the verdict of the last run; the zero verdict when the limiter writes none.
func (l *limiter) verdict() (v verdict, err error) {
	if l.report == "" {
		return v, nil
	}
	b, err := os.ReadFile(l.report)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(b, &v)
}
