package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// quick is how many more rounds the quick measurements get.
const quick = 10

var launchMeasurement = measurement{
	name: "launch", title: "Launch",
	text: `From before the fork to the return, for /bin/true. mlrun run and the other runtimes read a bundle; mlrun's has a memory limit and stays in the
namespaces of the caller, the others' have a file system, a mount and a pid namespace, which they do not go without. bwrap has the mount
namespace that it always makes (as an ordinary user also a user namespace), with the file system of the host.`,
	run: (*rig).launch,
}

// timed is a command line whose duration is measured.
type timed struct {
	series
	args     func() []string // of the next run
	optional *string         // another tool may fail: why it did goes here, and it is left out from then on
}

// same is a command line that is the same in every run.
func same(label string, args ...string) *timed {
	return &timed{series: series{label: label}, args: func() []string { return args }}
}

func (r *rig) launch() ([]table, error) {
	b, err := r.bundle(limited, r.nop)
	if err != nil {
		return nil, err
	}
	bare := same("posix_spawn", r.nop)
	list := []*timed{bare, same("mlrun run", r.mlrun, "run", "--root", r.root(), b)}
	for _, l := range r.limiters() {
		list = append(list, same(l.name, l.command(limited, r.nop)...))
	}
	if t := r.tools.timeout; t != "" {
		list = append(list, same("timeout", t, "60", r.nop))
	}
	if b := r.tools.bwrap; b != "" {
		list = append(list, &timed{series: series{label: "bwrap"}, optional: &r.tools.bwrapBroken, args: func() []string {
			return []string{b, "--bind", "/", "/", r.nop}
		}})
	}
	oci, err := r.ociLaunches()
	if err != nil {
		return nil, err
	}
	return r.timeAll("%d runs:", bare, append(list, oci...))
}

// ociLaunches are the other runtimes that can run a container here.
func (r *rig) ociLaunches() ([]*timed, error) {
	if len(r.tools.oci) == 0 {
		return nil, nil
	}
	dir, err := r.ociBundle(r.nop)
	if err != nil {
		return nil, err
	}
	var list []*timed
	for _, o := range r.tools.oci {
		list = append(list, &timed{series: series{label: o.name + " run"}, optional: &o.broken, args: func() []string {
			return o.command(r.dir, "run", "--bundle", dir, r.fresh("launch"))
		}})
	}
	return list, nil
}

// timeAll measures command lines in turn. One of another tool that fails is left out from then on.
func (r *rig) timeAll(caption string, base *timed, list []*timed) ([]table, error) {
	rounds := r.runs * quick
	for range rounds {
		for _, t := range list {
			if t.optional != nil && *t.optional != "" {
				continue
			}
			took, err := r.time(t.args()...)
			switch {
			case err == nil:
				t.addTime(took)
			case t.optional != nil && r.ctx.Err() == nil:
				*t.optional = r.why(t.args())
				t.values = nil
			default:
				return nil, err
			}
		}
	}
	all := []*series{}
	for _, t := range list {
		all = append(all, &t.series)
	}
	return []table{summary(fmt.Sprintf(caption, rounds), "ms", &base.series, all...)}, nil
}

// why runs a command line that failed once more and returns the first line of what it says.
func (r *rig) why(args []string) string {
	var text strings.Builder
	cmd := exec.CommandContext(r.ctx, args[0], args[1:]...)
	cmd.Stderr = &text
	var err error
	if a := r.tools.apart[args[0]]; a != nil {
		a.do(func() { err = cmd.Run() })
	} else {
		err = cmd.Run()
	}
	line, _, _ := strings.Cut(text.String(), "\n")
	switch {
	case line != "":
		return line
	case err != nil:
		return err.Error()
	}
	return "fails sometimes"
}

var stateMeasurement = measurement{
	name: "state", title: "Asking for the state of a container",
	text: `The state of a running container, and its statistics; of the other runtimes', the state of a created one. The bare command is /bin/true
again.`,
	run: (*rig).state,
}

func (r *rig) state() ([]table, error) {
	b, err := r.bundle(limited, r.hold, "-note", r.path("note"))
	if err != nil {
		return nil, err
	}
	id := r.fresh("state")
	if err := r.detach(b, id); err != nil {
		return nil, err
	}
	defer r.remove(id)
	bare := same("posix_spawn", r.nop)
	list := []*timed{
		bare, same("mlrun state", r.mlrun, "state", "--root", r.root(), id),
		same("mlrun events --stats", r.mlrun, "events", "--root", r.root(), "--stats", id),
	}
	for _, o := range r.tools.oci {
		if o.broken != "" {
			continue
		}
		id := r.fresh("state")
		defer r.always(o.command(r.dir, "delete", "--force", id)...)
		if err := r.createOCI(o, id); err != nil {
			o.broken = err.Error()
			continue
		}
		list = append(list, &timed{
			series: series{label: o.name + " state"}, optional: &o.broken, args: func() []string { return o.command(r.dir, "state", id) },
		})
	}
	return r.timeAll("%d runs:", bare, list)
}

// createOCI creates a container of another runtime.
func (r *rig) createOCI(o *ociTool, id string) error {
	dir, err := r.ociBundle(r.nop)
	if err != nil {
		return err
	}
	args := o.command(r.dir, "create", "--bundle", dir, id)
	if _, err := r.time(args...); err != nil {
		return errors.New(r.why(args))
	}
	return nil
}

// detach starts a container of hold in the background, and returns when its memory is touched.
func (r *rig) detach(bundle, id string) error {
	n, _, err := r.note()
	if err != nil {
		return err
	}
	defer n.Close()
	if _, err := r.time(r.mlrun, "run", "--detach", "--root", r.root(), "--id", id, bundle); err != nil {
		return err
	}
	if _, err = r.await(n.Ready.Load); err != nil {
		r.remove(id)
	}
	return err
}

// remove ends a container.
func (r *rig) remove(id string) {
	if err := r.always(r.mlrun, "delete", "--root", r.root(), "--force", id); err != nil {
		r.problems = append(r.problems, err)
	}
}

// always runs a program, whether or not the benchmark was interrupted.
func (r *rig) always(args ...string) error {
	c, err := r.spawn(args...)
	if err != nil {
		return err
	}
	e, err := c.wait()
	if err == nil && !e.state.Success() {
		err = fmt.Errorf("%s: %v", strings.Join(args, " "), e.state)
	}
	return err
}
