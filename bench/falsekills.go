package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

var falsekillsMeasurement = measurement{
	name: "falsekills", title: "False kills", proof: true,
	text: `Workloads that stay under their limit for 0.3 s in ways that are easily mistaken for more: each must end by itself, with exit code 0. The peak is
the greatest that mlrun measured, of the limit: how near it was.`,
	run: (*rig).falsekills,
}

// honesty is a workload that is under its limit.
type honesty struct {
	how, label  string
	size, limit int64 // bytes
	file        bool
}

var honesties = []honesty{
	{"zombies", "8 MiB in each of up to 500 processes that end and are never reaped", 40 * mib, 56 * mib, false},
	{"late", "the same, reaped after 50 ms", 40 * mib, 56 * mib, false},
	{"forks", "/bin/true, as often as two threads can start it", 40 * mib, 48 * mib, false},
	{"cow", "200 MiB, and 8 MiB of them written by each of eight forked workers that take turns", 200 * mib, 272 * mib, false},
	{"mapped", "a mapped file of 90 MiB, windows of which are mapped, used and unmapped", 90 * mib, 98 * mib, true},
}

func (r *rig) falsekills() ([]table, error) {
	if runtime.GOOS != linux {
		return nil, nil
	}
	file := r.path("database")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(file, 90*mib); err != nil {
		return nil, err
	}
	var tables []table
	var broken []error
	for _, l := range r.modes {
		list, peaks := make([]tally, len(honesties)), make([]series, len(honesties))
		for range r.runs {
			for i, h := range honesties {
				bad, err := r.honestOnce(l, h, file, &list[i], &peaks[i])
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", l.name, h.how, err)
				}
				if bad != nil && len(broken) < 20 {
					broken = append(broken, fmt.Errorf("%s, %s: %w", l.name, h.how, bad))
				}
			}
		}
		t := table{caption: fmt.Sprintf("%s, %s:", l.name, plural(r.runs, "run")), head: []string{"", "false kills", "peak, % of the limit (median)", "max"}}
		for i, c := range list {
			_, greatest := spread(peaks[i].values)
			t.rows = append(t.rows, []string{honesties[i].label, fmt.Sprintf("%d of %d", c.runs-c.good, c.runs),
				number(median(peaks[i].values)), number(greatest)})
		}
		tables = append(tables, t)
	}
	return tables, errors.Join(broken...)
}

func (r *rig) honestOnce(l *limiter, h honesty, file string, count *tally, peak *series) (bad, err error) {
	tag := r.mark()
	defer r.sweep(tag)
	args := []string{r.honest, "-how", h.how, "-size", bytesFlag(h.size)}
	if h.file {
		args = append(args, "-file", file)
	}
	e, err := r.run(l.command(h.limit, args...)...)
	if err != nil {
		return nil, err
	}
	v, err := l.verdict()
	if err != nil {
		return nil, err
	}
	if v.Reason != "memory-limit" && !e.state.Success() {
		return nil, fmt.Errorf("%v with reason %q: the workload did not work", e.state, v.Reason)
	}
	count.runs++
	peak.add(float64(v.Memory.Peak) / float64(h.limit) * 100)
	if v.Reason == "memory-limit" {
		return fmt.Errorf("killed at %s of %s MiB", number(float64(v.Memory.AtBreach)/mib), number(float64(h.limit)/mib)), nil
	}
	count.good++
	return nil, nil
}
