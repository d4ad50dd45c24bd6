package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mlrun/bundle"
	"mlrun/group"
	"mlrun/proc"
	"mlrun/runtime/supervise"
)

// groupsDir is the directory of the tree of limit groups below the state directory. It is no container's: the name is no id.
const groupsDir = "@groups"

// GroupsDir is the directory of the tree of limit groups of all who have this state directory (package group).
func (r *Runtime) GroupsDir() string { return filepath.Join(r.store.Root(), groupsDir) }

// Groups opens the tree of limit groups. The caller closes it.
func (r *Runtime) Groups() (*group.Tree, error) {
	if err := r.store.Ready(); err != nil {
		return nil, err
	}
	return group.Open(r.GroupsDir())
}

// LookAtGroups is Groups that makes nothing: where there is no tree, it is empty. The superuser may look at that of anybody.
func (r *Runtime) LookAtGroups() (*group.Tree, error) {
	if os.Geteuid() != 0 {
		if err := r.store.Check(); err != nil {
			return nil, err
		}
	}
	return group.Look(r.GroupsDir())
}

// EndGroup tells every run of a group and below it to end, as often as it is called also those that have come since. Supervisors that are stopped (SIGSTOP, Ctrl-Z) are
// continued: they could end nothing.
func EndGroup(t *group.Tree, id group.ID) error {
	if _, err := t.End(id); err != nil {
		return err
	}
	members, err := t.Members(id)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Kind != group.Run {
			continue
		}
		if st, err := proc.Root.Stat(m.Process.PID); err != nil || st.ID() != m.Process || !st.Stopped() {
			continue
		}
		if h, err := proc.OpenID(proc.Root, m.Process); err == nil {
			_ = h.Signal(unix.SIGCONT)
			h.Close()
		}
	}
	return nil
}

// findGroup finds the limit group of a container that is to be made, before anything is.
func (r *Runtime) findGroup(o *CreateOptions) error {
	name, where := o.Group, ""
	if name == "" {
		name, where = o.Bundle.Settings.Group, fmt.Sprintf("%s: annotations[%q]: ", o.Bundle.File, bundle.GroupAnnotation)
	}
	if name == "" {
		return nil
	}
	t, err := r.LookAtGroups()
	if err != nil {
		return err
	}
	o.group, err = t.Lookup(name)
	if err != nil && where != "" {
		err = fmt.Errorf("%s%w", where, err)
	}
	return errors.Join(err, t.Close())
}

// join takes the seat of the session in its limit group, if it has one.
func (s *session) join(cfg *supervise.Config) error {
	if s.rec.Group <= group.System { // it limits and counts nothing
		return nil
	}
	t, err := s.rt.Groups()
	if err != nil {
		return err
	}
	s.groups = t
	s.seat, err = t.Join(s.rec.Group, group.Member{Kind: group.Run, Name: s.rec.ID, Process: s.rec.Supervisor, Processes: 1})
	if err != nil {
		return err
	}
	cfg.Seat = s.seat
	cfg.Nest, cfg.HeldTasks = s.nest, s.held
	return nil
}

// leave gives the seat back.
func (s *session) leave() {
	s.release()
	if s.seat != nil {
		s.seat.Leave()
	}
	if s.groups != nil {
		_ = s.groups.Close()
	}
	s.seat, s.groups = nil, nil
}
