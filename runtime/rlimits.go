package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"mlrun/bundle"
	"mlrun/rlimit"
	"mlrun/runtime/launch/origlimit"
)

// check is Check with the limits of the options in place of those of the bundle. All that is wrong is in the error.
func (o *CreateOptions) check() error {
	var wrong []error
	if err := check(o.Bundle, o.Rlimits); err != nil {
		wrong = append(wrong, err)
	}
	o.rlimits = slices.Clone(o.Bundle.Rlimits)
	for _, c := range o.Rlimits {
		i := slices.IndexFunc(o.rlimits, func(l rlimit.Limit) bool { return l.Name == c.Name })
		now, err := ownLimit(c.Type)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		base := now
		if i >= 0 {
			base = o.rlimits[i]
		} else {
			i = len(o.rlimits)
			o.rlimits = append(o.rlimits, base)
		}
		o.rlimits[i] = c.Apply(base.Soft, base.Hard)
		if err := checkLimit(o.rlimits[i], now.Hard); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) == 1 {
		return wrong[0]
	}
	return errors.Join(wrong...)
}

// ownLimit is the limit that this process was started with, and that a payload inherits: the Go runtime has raised the soft RLIMIT_NOFILE
// since.
func ownLimit(t rlimit.Type) (rlimit.Limit, error) {
	soft, hard, err := rlimit.Get(t)
	if t.Resource == unix.RLIMIT_NOFILE && origlimit.Known {
		soft = min(origlimit.NoFile.Soft, rlimit.Infinity)
	}
	return rlimit.Limit{Type: t, Soft: soft, Hard: hard}, err
}

// checkLimit is rlimit.Check for a process with a hard limit, with what the kernel refuses to everybody.
func checkLimit(l rlimit.Limit, hard uint64) error {
	if most := rlimit.Ceiling("/proc", l.Type); l.Hard > most && l.Hard > hard {
		return fmt.Errorf("%s: hard limit %s is above the %d that the kernel gives to anybody: ask for at most that, or raise the sysctl fs.nr_open",
			l.Name, rlimit.Value(l.Hard), most)
	}
	return rlimit.Check(l, hard, l.Hard > hard && rlimit.MayRaise())
}

// rlimits are the resource limits that a container was created with, or that Update gave it.
func (r *record) rlimits() (list []rlimit.Limit) {
	for _, l := range r.Limits {
		if t, ok := rlimit.Lookup(l.Name); ok && l.Held == heldKernel {
			list = append(list, rlimit.Limit{Type: t, Soft: l.Soft, Hard: l.Hard})
		}
	}
	return list
}

// execRlimits are those of a process that is executed in a container: those that it names, those of the container for what it does not name, and
// changes of both. None may be raised above that of the container.
func (o *ExecOptions) execRlimits(b *bundle.Bundle, rec *record) ([]rlimit.Limit, error) {
	var wrong []error
	above := func(l rlimit.Limit, most uint64) {
		wrong = append(wrong, fmt.Errorf("%s: hard limit %s is above the %s of the container: ask for at most that, or raise it with mlrun update --rlimit",
			l.Name, rlimit.Value(l.Hard), rlimit.Value(most)))
	}
	list, container := slices.Clone(b.Rlimits), rec.rlimits()
	for _, l := range container {
		if own, named := rlimit.Find(list, l.Name); !named {
			list = append(list, l)
		} else if err := rlimit.Check(own, l.Hard, false); err != nil {
			above(own, l.Hard)
		}
	}
	for _, c := range o.Rlimits {
		base, ok := rlimit.Find(list, c.Name)
		if !ok {
			var err error
			if base, err = rec.liveLimit(c.Type); err != nil {
				return nil, err
			}
			list = append(list, base)
		}
		l := c.Apply(base.Soft, base.Hard)
		most := base.Hard
		if in, ok := rlimit.Find(container, c.Name); ok {
			most = in.Hard
		}
		switch {
		case l.Hard > most:
			above(l, most)
		case l.Soft > l.Hard:
			wrong = append(wrong, rlimit.Check(l, l.Hard, false))
		}
		list[slices.IndexFunc(list, func(have rlimit.Limit) bool { return have.Name == c.Name })] = l
	}
	return list, errors.Join(wrong...)
}

// settled are the limits of a process to execute that need no look at those of this process: the supervisor sets them, and they were compared with
// those of the container, which it has set before.
func (o *ExecOptions) settled(rec *record) (list []rlimit.Change) {
	if o.CallerReaps {
		return nil // this process sets them
	}
	for _, l := range rec.rlimits() {
		list = append(list, rlimit.Change{Type: l.Type})
	}
	return list
}

// liveLimit is the limit that the payload has now.
func (r *record) liveLimit(t rlimit.Type) (rlimit.Limit, error) {
	if r.Payload == nil {
		return rlimit.Limit{}, fmt.Errorf("%s: %w", r.ID, ErrNotRunning)
	}
	list, err := rlimit.Read("/proc", r.Payload.PID)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%s: %w", r.ID, ErrNotRunning)
	}
	l, ok := rlimit.Find(list, t.Name)
	if err == nil && !ok {
		err = fmt.Errorf("%s: process %d: %s is not in /proc/%d/limits", r.ID, r.Payload.PID, t.Name, r.Payload.PID)
	}
	return l, err
}

// withRlimits is a process object with these limits in place of its own.
func withRlimits(process json.RawMessage, limits []rlimit.Limit) (json.RawMessage, error) {
	var p map[string]json.RawMessage
	if err := json.Unmarshal(process, &p); err != nil {
		return nil, err
	}
	list := make([]specs.POSIXRlimit, len(limits))
	for i, l := range limits {
		list[i] = specs.POSIXRlimit{Type: l.Name, Soft: l.Soft, Hard: l.Hard}
	}
	b, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	p["rlimits"] = b
	return json.Marshal(p)
}

// checkRlimits refuses limits that the kernel does not know, and hard ones that this process may not raise. What is replaced is not looked at.
func checkRlimits(limits []rlimit.Limit, replaced []rlimit.Change) (p []bundle.Problem) {
	for i, l := range limits {
		if slices.ContainsFunc(replaced, func(c rlimit.Change) bool { return c.Name == l.Name }) {
			continue
		}
		path := "process.rlimits[" + strconv.Itoa(i) + "]"
		_, hard, err := rlimit.Get(l.Type)
		switch {
		case err != nil:
			p = append(p, bundle.Problem{Path: path + ".type", Found: strconv.Quote(l.Type.Name),
				Want: "a type that this kernel has: " + err.Error()})
		case l.Hard > hard && l.Hard > rlimit.Ceiling("/proc", l.Type):
			p = append(p, bundle.Problem{Path: path + ".hard", Found: strconv.FormatUint(l.Hard, 10),
				Want: "at most " + strconv.FormatUint(rlimit.Ceiling("/proc", l.Type), 10) + ", the sysctl fs.nr_open, which nobody gets beyond"})
		case checkLimit(l, hard) != nil: // soft limits are at most the hard ones: package bundle sees to that
			p = append(p, bundle.Problem{Path: path + ".hard", Found: strconv.FormatUint(l.Hard, 10),
				Want: "at most " + strconv.FormatUint(hard, 10) + ", what this process has: raising it needs CAP_SYS_RESOURCE"})
		}
	}
	return p
}
