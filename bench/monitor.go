package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// watched is how long the monitor is measured.
const watched = 10 * time.Second

var monitorMeasurement = measurement{
	name: "monitor", title: "CPU time of the monitor",
	text: `CPU time that the limiter itself uses in 10 s while its command is idle (4 KiB pages), as milliseconds and as a share of one core. "Whole run" is
` + "`memory.monitorCpuMs`" + ` of the verdict: start, growth of the command, the 10 s, and the end.`,
	run: (*rig).monitor,
}

// idle is something idle that is watched.
type idle struct {
	label       string
	size, limit int64 // bytes
	procs       int
}

const gib = 1 << 30

var idles = []idle{
	{"1 process, 100 MiB of 1 GiB", 100 << 20, gib, 1},
	{"1 process, 2 GiB of 4 GiB (50 %)", 2 * gib, 4 * gib, 1},
	{"1 process, 2 GiB of 2.04 GiB (98 %)", 2 * gib, 2 * gib * 100 / 98, 1},
	{"100 processes, 1 MiB each, of 4 GiB", 1 << 20, 4 * gib, 100},
}

// watch is one kind of idleness under one limiter.
type watch struct {
	idle
	limiter         *limiter
	cpu, run, count series // ms, ms, samples

	child *child // while it runs
	used  time.Duration
}

func (r *rig) monitor() ([]table, error) {
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	need, rounds := int64(0), (r.runs+7)/8
	for _, i := range idles {
		need += i.size * int64(i.procs)
	}
	if have := available(); have < need*5/4 {
		return nil, fmt.Errorf("needs %d MiB of memory, and %d MiB are available", need*5/4>>20, have>>20)
	}
	var tables []table
	lists := map[string][]*watch{}
	for _, i := range idles {
		for _, l := range r.limiters() { // one each: they run at the same time
			lists[l.name] = append(lists[l.name], &watch{idle: i, limiter: l})
		}
	}
	for range rounds {
		for name, list := range lists {
			if err := r.watchAll(list); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	for _, l := range r.limiters() {
		tables = append(tables, monitorTable(fmt.Sprintf("%s, %d runs:", l.name, rounds), lists[l.name]))
	}
	return tables, nil
}

func monitorTable(caption string, list []*watch) table {
	t := table{caption: caption, head: []string{"", "median, ms in 10 s", "min", "max", "of a core", "whole run, ms", "samples"}}
	for _, w := range list {
		w.cpu.label = w.label
		share := median(w.cpu.values) / float64(watched.Milliseconds()) * 100
		row := append(w.cpu.row(), number(share)+" %", "-", "-")
		if len(w.run.values) > 0 {
			row[5], row[6] = number(median(w.run.values)), number(median(w.count.values))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// watchAll starts everything one by one, watches it for the same 10 s, and ends it.
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
		if w.used, err = cpuTime(w.child.proc.Pid); err != nil {
			return err
		}
	}
	select {
	case <-time.After(watched):
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	for _, w := range list {
		now, err := cpuTime(w.child.proc.Pid)
		if err != nil {
			return err
		}
		w.cpu.addTime(now - w.used)
	}
	for _, w := range list {
		if err := w.finish(); err != nil {
			return fmt.Errorf("%s: %w", w.label, err)
		}
	}
	return nil
}

// begin starts the limiter and waits until its command is idle.
func (r *rig) begin(w *watch) error {
	n, file, err := r.note()
	if err != nil {
		return err
	}
	defer n.Close()
	args := w.limiter.command(w.limit, r.hold, "-note", file, "-size", strconv.FormatInt(w.size, 10), "-procs", strconv.Itoa(w.procs))
	if w.child, err = r.spawn(args...); err != nil {
		return err
	}
	_, err = r.await(n.Ready.Load)
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
