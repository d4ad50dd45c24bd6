package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

var monitorMeasurement = measurement{
	name: "monitor", title: "CPU time of the monitor",
	text: `CPU time that the limiter itself uses (mlrun and its reaper, by their CPU clocks) while the memory of its command stays as it is (4 KiB
pages), as milliseconds and as a share of one core. "Whole run" is ` + "`memory.monitorCpuMs`" + ` of the verdict: start, growth of the
command, the time measured, and the end. The share of the limit is that of the memory the workload touches. Where 100 processes share a
segment, the sum of their resident sets is far over the limit, and their proportional sets are under it.`,
	run: (*rig).monitor,
}

// steady is something whose memory does not change.
type steady struct {
	label string
	size  int64 // bytes of all of it
	args  func(*rig) []string
	full  []int64 // percent of the limit; each is a run of its own
	group int     // what has the same number is measured at the same time
}

func bytesFlag(n int64) string { return strconv.FormatInt(n, 10) }

func holdArgs(size int64, then string) func(*rig) []string {
	return func(r *rig) []string { return []string{r.hold, "-size", bytesFlag(size), "-then", then} }
}

func crowdArgs(procs int, flag string, size int64) func(*rig) []string {
	return func(r *rig) []string { return []string{r.crowd, "-procs", strconv.Itoa(procs), flag, bytesFlag(size)} }
}

const mib = 1 << 20

// setUp is how long a workload may take to touch its memory, with others that do the same.
const setUp = 3 * time.Minute

var both = []int64{50, 98}

// steadies are measured in groups: those that are idle and need little together, those that need more memory or CPU by themselves.
var steadies = []steady{
	{"1 process, 100 MiB", 100 * mib, holdArgs(100*mib, "idle"), both, 0},
	{"1 process, 4 GiB", 4 * gib, holdArgs(4*gib, "idle"), both, 0},
	{"100 processes, 1 MiB each", 100 * mib, crowdArgs(100, "-each", mib), both, 0},
	{"1,000 processes, 1 MiB each", 1000 * mib, crowdArgs(1000, "-each", mib), both, 0},
	{"100 processes that share 4 GiB", 4 * gib, crowdArgs(100, "-share", 4*gib), both, 1},
	{"1 process, 1 GiB, that uses the CPU", gib, holdArgs(gib, "burn"), []int64{98}, 2},
	{"1 process, 1 GiB, that maps, touches and unmaps 1 MiB in a loop", gib, holdArgs(gib, "churn"), []int64{98}, 3},
}

// limit is the limit that the workload has percent of, with what its Go runtime needs.
func (s steady) limit(percent int64) int64 {
	const goRuntime = 2 * mib
	return (s.size + goRuntime) * 100 / percent
}

// watch is one steady workload under one limiter.
type watch struct {
	steady
	percent         int64
	limiter         *limiter
	cpu, run, count series // ms, ms, samples

	child *child // while it runs
	used  time.Duration
}

func (r *rig) monitor() ([]table, error) {
	if runtime.GOOS != linux {
		return nil, nil
	}
	rounds := max(1, r.runs/defaultRuns)
	lists := map[string][]*watch{}
	for group := 0; ; group++ {
		watches, err := r.watchGroup(group, rounds)
		if err != nil {
			return nil, err
		}
		if len(watches) == 0 {
			break
		}
		for _, w := range watches {
			lists[w.limiter.name] = append(lists[w.limiter.name], w)
		}
	}
	var tables []table
	for _, l := range r.limiters() {
		tables = append(tables, monitorTable(fmt.Sprintf("%s, %v, %s:", l.name, r.watch, plural(rounds, "run")), r.watch, lists[l.name]))
	}
	return tables, nil
}

// watchGroup measures a group under each limiter in turn; no watches when there is no such group.
func (r *rig) watchGroup(group, rounds int) (all []*watch, err error) {
	need := int64(0)
	perLimiter := make([][]*watch, len(r.limiters()))
	for i, l := range r.limiters() {
		for _, s := range steadies {
			if s.group != group {
				continue
			}
			for _, percent := range s.full {
				if i == 0 {
					need += s.size
				}
				w := &watch{steady: s, percent: percent, limiter: l.again(r)}
				perLimiter[i], all = append(perLimiter[i], w), append(all, w)
			}
		}
	}
	if have := available(); have < need*5/4 {
		return nil, fmt.Errorf("needs %d MiB of memory, and %d MiB are available", need*5/4>>20, have>>20)
	}
	for range rounds {
		for _, list := range perLimiter {
			if len(list) == 0 {
				continue
			}
			r.progress(fmt.Sprintf("monitor, %s: %s ...", list[0].limiter.name, list[0].label))
			if err := r.watchAll(list); err != nil {
				return nil, fmt.Errorf("%s: %w", list[0].limiter.name, err)
			}
		}
	}
	return all, nil
}

func monitorTable(caption string, watched time.Duration, list []*watch) table {
	t := table{caption: caption, head: []string{"", "of the limit", "median, ms", "min", "max", "of a core", "whole run, ms", "samples"}}
	for _, w := range list {
		w.cpu.label = w.label
		share := median(w.cpu.values) / float64(watched.Milliseconds()) * 100
		figures := w.cpu.row()
		row := append([]string{figures[0], fmt.Sprintf("%d %%", w.percent)}, figures[1:]...)
		row = append(row, number(share)+" %", "-", "-")
		if len(w.run.values) > 0 {
			row[6], row[7] = number(median(w.run.values)), number(median(w.count.values))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// watchAll starts everything one by one, watches it for the same time, and ends it.
func (r *rig) watchAll(list []*watch) (err error) {
	defer func() {
		for _, w := range list {
			if w.child != nil {
				_, _ = w.child.end()
				w.child = nil
			}
		}
	}()
	for _, w := range list {
		if err := r.begin(w); err != nil {
			return fmt.Errorf("%s: %w", w.label, err)
		}
	}
	for _, w := range list {
		if w.used, err = limiterTime(w.child.proc.Pid); err != nil {
			return err
		}
	}
	if err := r.sleep(r.watch); err != nil {
		return err
	}
	for _, w := range list {
		now, err := limiterTime(w.child.proc.Pid)
		if err != nil {
			return fmt.Errorf("%s, %d %% of the limit: %w", w.label, w.percent, err)
		}
		w.cpu.addTime(now - w.used)
	}
	for _, w := range list {
		if err := w.finish(); err != nil {
			return fmt.Errorf("%s, %d %% of the limit: %w", w.label, w.percent, err)
		}
	}
	return nil
}

// begin starts the limiter and waits until its command is steady.
func (r *rig) begin(w *watch) error {
	n, file, err := r.note()
	if err != nil {
		return err
	}
	defer n.Close()
	args := w.limiter.command(w.steady.limit(w.percent), append(w.args(r), "-note", file)...)
	if w.child, err = r.spawnFor(time.Duration(len(steadies))*setUp+r.watch, args...); err != nil {
		return err
	}
	_, err = r.awaitFor(setUp, n.Ready.Load)
	return err
}

// finish ends the command and reads the verdict.
func (w *watch) finish() error {
	c := w.child
	w.child = nil
	e, err := c.end()
	if err != nil {
		return err
	}
	v, err := w.limiter.verdict()
	if err != nil || v.Reason == "" {
		return err
	}
	if v.Reason == "memory-limit" {
		return fmt.Errorf("%v: the limit was exceeded", e.state)
	}
	w.run.add(v.Memory.MonitorCPUMS)
	w.count.add(float64(v.Memory.Samples))
	return nil
}

// available is MemAvailable of /proc/meminfo in bytes.
func available() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemAvailable:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}
