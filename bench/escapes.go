package main

import (
	"errors"
	"fmt"
	"runtime"
)

const (
	escapeLimit = 100 * mib
	escapeSize  = 300 * mib
)

var escapesMeasurement = measurement{
	name: "escapes", title: "Escapes", proof: true,
	text: `A process that gets away in some way, and 300 MiB touched there under a limit of 100 MiB. Caught: the reason is memory-limit, the exit code is 137, and
when mlrun returns no process of the run is left (by a variable in the environment of each, so that none can be missed). "Left the
group" counts the runs in which mlrun saw that (` + "`escaped`" + `).`,
	run: (*rig).escapes,
}

// escape is a way to get away.
type escape struct {
	how, label string
	leaves     bool // the process group
}

var escapes = []escape{
	{"setsid", "a session of its own (setsid)", true},
	{"setpgid", "a process group of its own (setpgid)", true},
	{"daemon", "a daemon (setsid and forked twice)", true},
	{"orphan", "an orphan whose parent ends at once", false},
	{"storm", "300 processes, each forks the next and leads a session", true},
	{"reexec", "a process that executes itself 20 times", false},
	{"join", "a process in the group of another member", true},
}

// tally counts the runs of a proof.
type tally struct {
	label              string
	runs, good, groups int
	survivors          int
	over               series // MiB over the limit at breach
}

func (r *rig) escapes() ([]table, error) {
	if runtime.GOOS != linux {
		return nil, nil
	}
	var tables []table
	var broken []error
	for _, l := range r.modes {
		list := make([]tally, len(escapes))
		for range r.runs {
			for i, e := range escapes {
				list[i].label = e.label
				bad, err := r.escapeOnce(l, e, &list[i])
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", l.name, e.how, err)
				}
				if bad != nil && len(broken) < 20 {
					broken = append(broken, fmt.Errorf("%s, %s: %w", l.name, e.how, bad))
				}
			}
		}
		t := table{caption: fmt.Sprintf("%s, %s:", l.name, plural(r.runs, "run")),
			head: []string{"", "caught", "left the group", "survivors", "over the limit, MiB (median)", "max"}}
		for _, c := range list {
			_, greatest := spread(c.over.values)
			t.rows = append(t.rows, []string{c.label, fmt.Sprintf("%d of %d", c.good, c.runs), fmt.Sprint(c.groups), fmt.Sprint(c.survivors),
				number(median(c.over.values)), number(greatest)})
		}
		tables = append(tables, t)
	}
	return tables, errors.Join(broken...)
}

// escapeOnce is one run; bad says what is wrong with mlrun, err with the benchmark.
func (r *rig) escapeOnce(l *limiter, e escape, count *tally) (bad, err error) {
	n, file, err := r.note()
	if err != nil {
		return nil, err
	}
	defer n.Close()
	tag := r.mark()
	defer r.sweep(tag)
	end, err := r.run(l.command(escapeLimit, r.flee, "-how", e.how, "-size", bytesFlag(escapeSize), "-note", file)...)
	if err != nil {
		return nil, err
	}
	left := members(tag)
	v, err := l.verdict()
	if err != nil {
		return nil, err
	}
	count.runs++
	count.survivors += len(left)
	if v.Escaped > 0 {
		count.groups++
	}
	switch {
	case end.state.ExitCode() != 137 || v.Reason != "memory-limit":
		return fmt.Errorf("not caught: %v with reason %q", end.state, v.Reason), nil
	case len(left) > 0:
		return fmt.Errorf("left over: %v", left), nil
	case e.leaves && v.Escaped == 0:
		return errors.New("left the process group, and escaped is 0"), nil
	}
	count.good++
	count.over.addBytes(v.Memory.AtBreach - escapeLimit)
	return nil, nil
}

// mark gives everything that is started from now on a tag.
func (r *rig) mark() string {
	r.tag = fmt.Sprintf("%s-%s", r.session, r.fresh("run"))
	return r.tag
}

// sweep ends what is left with a tag, and takes it away.
func (r *rig) sweep(tag string) {
	r.tag = ""
	for _, m := range members(tag) {
		_ = killMember(m)
	}
}
