package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

var returnMeasurement = measurement{
	name: "return", title: "From the end of the command to the return",
	text: `How long whoever waits for mlrun waits after the command has ended. For an exit, the command writes down the time and exits, so its own
exit is included. For the limit (512 MiB, SIGTERM ends the command) the end is when the kernel says so: a pidfd of the
command becomes readable. "From the last page" adds what comes before: the stop, the measurement, the
signal, and the kernel freeing the memory. The detection delay (` + "`memory.detectionDelayUs`" + `) is the part before the stop: from the last
sample under the limit to the breach.`,
	run: (*rig).returns,
}

// leaver is a way to run a command.
type leaver struct {
	series
	command func(args ...string) []string
}

func (r *rig) returns() ([]table, error) {
	exit, err := r.afterExit()
	if err != nil {
		return nil, err
	}
	limit, err := r.afterLimit()
	return append([]table{exit}, limit...), err
}

func (r *rig) afterExit() (table, error) {
	bare := &leaver{series{label: "posix_spawn"}, func(args ...string) []string { return args }}
	list := []*leaver{bare}
	for _, l := range r.limiters() {
		list = append(list, &leaver{series{label: l.name}, func(args ...string) []string { return l.command(limited, args...) }})
	}
	if t := r.tools.timeout; t != "" {
		list = append(list, &leaver{series{label: "timeout"}, func(args ...string) []string { return append([]string{t, "60"}, args...) }})
	}
	for range r.runs {
		for _, l := range list {
			if err := r.leaveOnce(l); err != nil {
				return table{}, err
			}
		}
	}
	var all []*series
	for _, l := range list {
		all = append(all, &l.series)
	}
	return summary(fmt.Sprintf("After an exit, %d runs:", r.runs), "ms", &bare.series, all...), nil
}

func (r *rig) leaveOnce(l *leaver) error {
	n, file, err := r.note()
	if err != nil {
		return err
	}
	defer n.Close()
	c, err := r.spawn(l.command(r.leave, "-note", file)...)
	if err != nil {
		return err
	}
	e, err := c.wait()
	if err != nil {
		return err
	}
	if !e.state.Success() {
		return fmt.Errorf("%s: %v", l.label, e.state)
	}
	l.addTime(e.at.Sub(time.Unix(0, n.Last.Load())))
	return nil
}

func (r *rig) afterLimit() ([]table, error) {
	var death, last, delay []*series
	limiters := r.limiters()
	for _, l := range limiters {
		death = append(death, &series{label: l.name + ", from the end"})
		last = append(last, &series{label: l.name + ", from the last page"})
		delay = append(delay, &series{label: l.name + ", detection delay"})
	}
	for range r.runs {
		for i, l := range limiters {
			if err := r.exceedOnce(l, death[i], last[i], delay[i]); err != nil {
				return nil, err
			}
		}
	}
	return []table{summary(fmt.Sprintf("After the limit, %d runs:", r.runs), "ms", nil, slices.Concat(death, last, delay)...)}, nil
}

// exceedOnce watches the end of a command that exceeds its limit from outside.
func (r *rig) exceedOnce(l *limiter, death, last, delay *series) error {
	n, file, err := r.note()
	if err != nil {
		return err
	}
	defer n.Close()
	c, err := r.spawn(l.command(limited, r.touch, "-note", file)...)
	if err != nil {
		return err
	}
	died := make(chan deathReport, 1)
	pid, err := r.await(n.PID.Load)
	if err == nil {
		go func() { died <- awaitDeath(int(pid)) }()
	}
	e, werr := c.wait()
	if err != nil || werr != nil {
		return fmt.Errorf("%s: %v, %v", filepath.Base(c.args[0]), err, werr)
	}
	d := <-died
	if d.err != nil {
		return d.err
	}
	death.addTime(max(0, e.at.Sub(d.at)))
	last.addTime(e.at.Sub(time.Unix(0, n.Last.Load())))
	v, err := l.verdict()
	if err == nil && v.Reason != "" {
		delay.addTime(v.delay())
	}
	return err
}

// deathReport is when a process ended.
type deathReport struct {
	at  time.Time
	err error
}
