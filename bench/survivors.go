package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// settled is how long after the death of a process of mlrun everything must be gone.
const settled = 200 * time.Millisecond

var survivorsMeasurement = measurement{
	name: "survivors", title: "Survivors", proof: true,
	text: `One of mlrun's processes gets SIGKILL at a random moment. The payload has a child, a session, two daemons and a chain of eight sessions by
then, or is about to. Survivors are processes of the payload that are alive 200 ms later; "last seen" is how long after the kill
there was one.`,
	run: (*rig).survivors,
}

// assassination is a choice of the process that is killed.
type assassination struct {
	label   string
	detach  bool
	started bool          // wait until run --detach returns
	within  time.Duration // of the start, or of the return
	victim  func(r *rig, tag, id string, foreground int) (member, bool)
}

var assassinations = []assassination{
	{"mlrun limit", false, false, 100 * time.Millisecond, (*rig).foreground},
	{"mlrun limit, in its first milliseconds", false, false, 8 * time.Millisecond, (*rig).foreground},
	{"the reaper of mlrun limit", false, false, 100 * time.Millisecond, (*rig).foregroundReaper},
	{"mlrun run --detach, at its start: supervisor, reaper or payload", true, false, 15 * time.Millisecond, (*rig).anyone},
	{"the supervisor of a detached container", true, true, 50 * time.Millisecond, (*rig).supervisor},
	{"the reaper of a detached container", true, true, 50 * time.Millisecond, (*rig).reaper},
}

// killed counts what became of the runs.
type killed struct {
	runs, survivors, busy, own int // busy: runs in which there was a payload when the victim died; own: processes of mlrun left
	last                       series
	seen                       string // those of one run
}

func (r *rig) survivors() ([]table, error) {
	if runtime.GOOS != linux {
		return nil, nil
	}
	list := make([]killed, len(assassinations))
	var broken []error
	for range r.runs {
		for i, a := range assassinations {
			before := list[i].survivors
			if err := r.assassinate(a, &list[i]); err != nil {
				return nil, fmt.Errorf("%s: %w", a.label, err)
			}
			if n := list[i].survivors - before; n > 0 && len(broken) < 20 {
				broken = append(broken, fmt.Errorf("%s: %s after %v; for example %s", a.label, plural(n, "survivor"), settled, list[i].seen))
			}
		}
	}
	t := table{caption: fmt.Sprintf("%s:", plural(r.runs, "run")),
		head: []string{"killed", "survivors", "of mlrun itself", "runs", "with a payload", "last seen, ms (median)", "max"}}
	for i, k := range list {
		_, greatest := spread(k.last.values)
		t.rows = append(t.rows, []string{assassinations[i].label, fmt.Sprint(k.survivors), fmt.Sprint(k.own), fmt.Sprint(k.runs), fmt.Sprint(k.busy),
			number(median(k.last.values)), number(greatest)})
	}
	return []table{t}, errors.Join(broken...)
}

// assassinate is one run that counts: one in which the victim was there in time.
func (r *rig) assassinate(a assassination, k *killed) error {
	for range 50 {
		if ok, err := r.tryAssassinate(a, k); ok || err != nil {
			return err
		}
	}
	return errors.New("the process to kill was never there")
}

func (r *rig) tryAssassinate(a assassination, k *killed) (ok bool, err error) {
	n, file, err := r.note()
	if err != nil {
		return false, err
	}
	defer n.Close()
	tag := r.mark()
	defer r.sweep(tag)
	args, id := r.modes[0].command(limited, r.flee, "-how", "family", "-note", file), ""
	if a.detach {
		b, err := r.bundle(limited, r.flee, "-how", "family", "-note", file)
		if err != nil {
			return false, err
		}
		defer os.RemoveAll(b)
		id = r.fresh("survivors")
		defer r.remove(id)
		args = []string{r.mlrun, "run", "--detach", "--root", r.root(), "--id", id, b}
	}
	c, err := r.spawn(args...)
	if err != nil {
		return false, err
	}
	waited := false
	wait := func() (err error) {
		if !waited {
			waited = true
			_, err = c.wait()
		}
		return err
	}
	defer func() { err = errors.Join(err, wait()) }()
	defer func() { _ = c.proc.Kill() }()
	if a.started {
		if err := wait(); err != nil {
			return false, err
		}
	}
	time.Sleep(rand.N(a.within))
	victim, found := a.victim(r, tag, id, c.proc.Pid)
	if !found || killMember(victim) != nil {
		return false, r.ctx.Err()
	}
	k.observe(tag, time.Now(), victim)
	return true, r.ctx.Err()
}

// until is when the last survivor was seen that lives longer than it should, but not longer than patient.
func (k *killed) until(tag string, death time.Time, last time.Duration) time.Duration {
	const patient = 5 * time.Second
	for last >= settled && last < patient && len(payload(members(tag))) > 0 {
		last = time.Since(death)
		time.Sleep(time.Millisecond)
	}
	return last
}

// observe looks for survivors until they have had their time.
func (k *killed) observe(tag string, death time.Time, victim member) {
	last := time.Duration(0)
	for first := true; ; first = false {
		at := time.Since(death)
		all := members(tag)
		rest := payload(all)
		if len(rest) > 0 {
			last = time.Since(death)
			if first {
				k.busy++
			}
		}
		if at < settled {
			time.Sleep(time.Millisecond)
			continue
		}
		if len(rest) > 0 {
			k.seen = fmt.Sprintf("%v after the death of %v", all, victim)
		}
		k.runs++
		k.survivors += len(rest)
		k.own += len(all) - len(rest)
		k.last.addTime(k.until(tag, death, last))
		return
	}
}

func (r *rig) foreground(tag, _ string, pid int) (member, bool) { return identity(pid) }

func (r *rig) foregroundReaper(tag, _ string, pid int) (member, bool) { return reaperOf(pid) }

// anyone is the supervisor that mlrun run --detach has started, its reaper, or the payload that is not executed yet. Others, such as the child
// that the Go runtime forks to find out what the kernel can do, are gone in any case.
func (r *rig) anyone(tag, _ string, _ int) (member, bool) {
	var list []member
	for _, m := range members(tag) {
		args, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(m.pid), "cmdline"))
		if strings.HasPrefix(m.command, "mlrun: ") || bytes.HasPrefix(args, []byte("mlrun\x00supervise\x00")) {
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		return member{}, false
	}
	return list[rand.N(len(list))], true
}

func (r *rig) supervisor(_, id string, _ int) (member, bool) {
	b, err := r.output(r.mlrun, "state", "--root", r.root(), id)
	var st struct{ MLRun struct{ Supervisor int } }
	if err != nil || json.Unmarshal(b, &st) != nil || st.MLRun.Supervisor == 0 {
		return member{}, false
	}
	return identity(st.MLRun.Supervisor)
}

func (r *rig) reaper(tag, id string, _ int) (member, bool) {
	s, ok := r.supervisor(tag, id, 0)
	if !ok {
		return member{}, false
	}
	return reaperOf(s.pid)
}

// reaperOf is the child of a supervisor that is between it and the payload.
func reaperOf(supervisor int) (member, bool) {
	for _, pid := range children(supervisor) {
		if m, ok := identity(pid); ok && strings.HasPrefix(m.command, "mlrun") {
			return m, true
		}
	}
	return member{}, false
}
