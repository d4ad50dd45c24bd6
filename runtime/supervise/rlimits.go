package supervise

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
	"mlrun/rlimit"
	"mlrun/runtime/launch"
)

const (
	relimitTime  = 2 * time.Second       // how long processes with other limits are looked for
	relimitAgain = 20 * time.Millisecond // between two looks: who was being forked at the first has its old limits
	relimitClean = 2                     // looks in a row that find nothing
)

// unchanged are the processes whose limits may not be set.
type unchanged struct {
	types string
	ids   []proc.ID
}

// add adds those of whom types were not changed.
func (e *unchanged) add(types string, ids []proc.ID) {
	if len(ids) == 0 {
		return
	}
	e.types = strings.TrimPrefix(e.types+", "+types, ", ")
	for _, id := range ids {
		if !slices.Contains(e.ids, id) {
			e.ids = append(e.ids, id)
		}
	}
}

func (e *unchanged) Error() string {
	names := make([]string, len(e.ids))
	for i, id := range e.ids {
		names[i] = strings.TrimSpace(fmt.Sprintf("%d %s", id.PID, proc.Root.Name(id.PID)))
	}
	return e.types + ": changed, but not of process " + strings.Join(names, ", ") + ", which has other credentials"
}

// updateProcesses changes what the kernel keeps of each member, in a goroutine of its own, and then goes on with the update. One comes after the
// other.
func (l *loop) updateProcesses(r Request) {
	u, group, reply := *r.Update, l.group, r.Reply
	go func() {
		l.changing.Lock()
		defer l.changing.Unlock()
		var (
			left  unchanged
			place *placing
			err   error
		)
		if u.Place != nil {
			place = newPlacing(u.Place, l.nice)
			err = place.check(group.Leader())
		}
		if err == nil && len(u.Rlimits) > 0 {
			u.Held, err = relimit(group, u.Rlimits, rlimit.MayRaise(), &left)
		}
		if err != nil {
			reply(Snapshot{}, err)
			return
		}
		if place != nil {
			left.add("linux.resources", place.all(group))
			if u.Place.Nice != nil {
				l.nice = *u.Place.Nice
			}
		}
		u.done = true
		r.Update = &u
		r.Reply = func(s Snapshot, e error) {
			if e == nil && len(left.ids) > 0 {
				e = &left
			}
			reply(s, e)
		}
		if !l.post(func(l *loop) { l.update(r) }) {
			reply(Snapshot{}, ErrNotRunning)
		}
	}()
}

// relimit changes limits of every member, until looks at them find none that has not been changed: a child that is being forked meanwhile may have
// those that its parent had before. It returns what they come to for the leader, and adds to left whose may not be changed. With an error nothing
// is changed.
//
// A member is set once: one that lowers its limits after that, or raises a soft one, may. One that has lowered its hard limit before keeps it when
// raising takes a privilege that there is not.
func relimit(group *proc.Group, changes []rlimit.Change, mayRaise bool, left *unchanged) (held []rlimit.Limit, err error) {
	group.Update(time.Now())
	if held, err = plan(group.Leader(), changes, mayRaise); err != nil {
		return nil, err
	}
	if err := marked(group, changes); err != nil {
		return nil, err
	}
	done := map[proc.ID]bool{}
	var denied []proc.ID
	end := time.Now().Add(relimitTime)
	for clean := 0; clean < relimitClean && time.Now().Before(end); {
		clean++
		for _, id := range group.Members() {
			if done[id] || !proc.Root.Alive(id) {
				continue
			}
			done[id] = true
			changed, err := set(id, changes, mayRaise)
			switch {
			case errors.Is(err, unix.EPERM):
				denied = append(denied, id)
			case changed:
				clean = 0
			}
		}
		if clean > 0 && clean < relimitClean {
			time.Sleep(relimitAgain)
		}
		group.Update(time.Now())
	}
	names := make([]string, len(changes))
	for i, c := range changes {
		names[i] = c.Name
	}
	left.add(strings.Join(names, ", "), denied)
	return held, nil
}

// plan is what changes come to for the leader of a group, or why they may not be made.
func plan(leader proc.ID, changes []rlimit.Change, mayRaise bool) (held []rlimit.Limit, err error) {
	for _, c := range changes {
		soft, hard, err := rlimit.Of(leader.PID, c.Type)
		switch {
		case errors.Is(err, unix.ESRCH):
			return nil, ErrNotRunning
		case errors.Is(err, unix.EPERM): // it has other credentials, and the others of the group may not
			list, _ := rlimit.Read("/proc", leader.PID)
			now, _ := rlimit.Find(list, c.Name)
			soft, hard = now.Soft, now.Hard
		case err != nil:
			return nil, err
		}
		l := c.Apply(soft, hard)
		switch most := rlimit.Ceiling("/proc", l.Type); {
		case l.Soft > l.Hard:
			return nil, rlimit.Check(l, hard, true)
		case l.Hard > hard && !mayRaise:
			return nil, fmt.Errorf("%s: hard limit %s is above the %s of process %d, and raising it takes CAP_SYS_RESOURCE: ask for at most %s",
				l.Name, rlimit.Value(l.Hard), rlimit.Value(hard), leader.PID, rlimit.Value(hard))
		case l.Hard > hard && l.Hard > most:
			return nil, fmt.Errorf("%s: hard limit %s is above the %d that the kernel gives to anybody: ask for at most that, or raise the sysctl fs.nr_open",
				l.Name, rlimit.Value(l.Hard), most)
		}
		held = append(held, l)
	}
	return held, nil
}

// marked refuses to change the limit that marks processes of the run (proc.Seal).
func marked(group *proc.Group, changes []rlimit.Change) error {
	for _, c := range changes {
		if c.Name != "RLIMIT_RTTIME" {
			continue
		}
		for _, id := range group.Members() {
			if _, hard, err := rlimit.Of(id.PID, c.Type); err == nil && hard == proc.Seal(proc.Self()) {
				return errors.New(c.Name + ": marks the processes of a container that was created with --pid-file: give it to mlrun create")
			}
		}
	}
	return nil
}

// set changes the limits of one process. changed is false if it had them.
func set(id proc.ID, changes []rlimit.Change, mayRaise bool) (changed bool, err error) {
	for _, c := range changes {
		soft, hard, err := rlimit.Of(id.PID, c.Type)
		if err != nil {
			return changed, err
		}
		l := c.Apply(soft, hard)
		if !mayRaise {
			l.Hard = min(l.Hard, hard)
		}
		l.Soft = min(l.Soft, l.Hard)
		if l.Soft == soft && l.Hard == hard {
			continue
		}
		if !proc.Root.Alive(id) {
			return changed, unix.ESRCH // its number may be somebody else's in a moment
		}
		if err := rlimit.Set(id.PID, l); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// newest is list with those of added in place of the same types.
func newest(list, added []rlimit.Limit) (all []rlimit.Limit) {
	all = append(all, added...)
	for _, l := range list {
		if _, again := rlimit.Find(added, l.Name); !again {
			all = append(all, l)
		}
	}
	return all
}

// lower gives a guest that waits at its gate the limits of updates, where its own are higher: it may have been prepared before them.
func (l *loop) lower(id proc.ID) {
	if id.PID == 0 {
		return
	}
	for _, g := range l.given {
		soft, hard, err := rlimit.Of(id.PID, g.Type)
		if err != nil || hard <= g.Hard {
			continue // it may have other credentials, and its steps have set what it was asked to have
		}
		_ = rlimit.Set(id.PID, rlimit.Limit{Type: g.Type, Soft: min(soft, g.Soft), Hard: g.Hard})
	}
}

// examine remembers what tells whether a limit ended the payload, while it is a zombie.
func (l *loop) examine(e launch.Event) {
	if !e.Known || !e.Status.Signaled() || l.proc == nil {
		return
	}
	d := &death{signal: e.Status.Signal(), cpu: -1, explicit: map[string]bool{}}
	switch d.signal {
	case unix.SIGXCPU, unix.SIGXFSZ, unix.SIGKILL, unix.SIGSEGV:
	default:
		return
	}
	for _, name := range []string{"RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_RTTIME", "RLIMIT_STACK"} {
		t, _ := rlimit.Lookup(name)
		own, ok := rlimit.Find(l.given, name)
		for _, c := range l.cfg.Launch.Rlimits {
			if !ok && c.Name == name {
				own, ok = rlimit.Limit{Type: t, Soft: c.Soft, Hard: c.Hard}, true
			}
		}
		if d.explicit[name] = ok; !ok { // inherited
			own.Type = t
			own.Soft, own.Hard, _ = rlimit.Get(t)
		}
		d.asked = append(d.asked, own)
	}
	d.now = d.asked
	if l.group != nil {
		pid := l.proc.PID
		now, err := rlimit.Read("/proc", pid)
		cpu, ok := proc.Root.LimitedCPU(pid)
		realtime := hasRealtime(pid)
		// Its parent may be somebody else, and has waited for it: then what was read may be of another process.
		if s, e := proc.Root.Stat(pid); e == nil && s.ID() == l.group.Leader() && err == nil && ok {
			d.now, d.cpu, d.realtime = now, cpu, realtime
		}
	}
	l.death = d
}

// judge says in the verdict that a limit ended the payload, if one did.
func (l *loop) judge(v *Verdict) {
	if l.death == nil || v.Reason != ReasonSignaled {
		return
	}
	if v.Rusage != nil {
		l.death.maxrss = v.Rusage.MaxRSS
	}
	if reason, r := rlimited(*l.death); r != nil {
		v.Reason, v.Rlimit = reason, r
	}
}
