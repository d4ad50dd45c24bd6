//go:build !portable

package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/bundle"
	"mlrun/group"
	"mlrun/group/userns"
	"mlrun/runtime/launch"
)

// namespaces are those in which the kernel counts the processes of the groups that a run is in.
type namespaces struct {
	dir    userns.Directory
	holder userns.Holder
	close  func() // gives the descriptors back
	limits map[group.ID]int64
}

// namespacesDir is in the directory of the tree.
const namespacesDir = "userns"

// nest has a payload started in the namespaces of its groups, and makes them where there are none. A nil after means that there are none to be had:
// the limits are sampled. Otherwise it is called when the payload waits at the gate, with its pid, or with 0 when there is none; nobody else
// makes namespaces of groups until then.
func (s *session) nest(c *launch.Config) (after func(pid int)) {
	levels, err := s.levels()
	if err == nil && len(levels) > 0 {
		after, err = s.nestIn(c, levels)
	}
	if err != nil {
		s.rt.log.Warn("the limits of processes of its groups are held by looking at them: "+err.Error(), "id", s.rec.ID)
	}
	return after
}

// levels are the groups above the run that have a limit of processes, outermost first: none where the kernel does not hold it.
func (s *session) levels() (levels []userns.Level, err error) {
	b := s.opts.Bundle
	if s.seat == nil || b.Settings.PidsMode == bundle.PidsSampled || noTasks(b) != "" {
		return nil, nil
	}
	for id := s.seat.Group(); id > group.System; {
		info, err := s.groups.Status(id)
		if err != nil {
			return nil, err
		}
		if n := info.Limits.Processes; n != group.None {
			levels = append([]userns.Level{{Group: int64(id), Limit: uint64(n)}}, levels...)
		}
		id = info.Parent
	}
	return levels, nil
}

func (s *session) nestIn(c *launch.Config, levels []userns.Level) (after func(int), err error) {
	n := &namespaces{dir: userns.Directory(filepath.Join(s.rt.GroupsDir(), namespacesDir))}
	unlock, err := n.lock()
	if err != nil {
		return nil, err
	}
	holders, err := n.dir.Holders(levels)
	if err != nil {
		unlock()
		return nil, err
	}
	j := userns.Find(levels, holders)
	own := c.Tasks != nil
	c.Tasks, c.Eager = nested(c.Tasks, &j, c.Rlimits), false
	return func(pid int) {
		defer unlock()
		if j.Namespace != nil {
			j.Namespace.Close()
		}
		if pid == 0 {
			return
		}
		if err := s.keep(n, pid, j.Levels, own); err != nil {
			s.rt.log.Warn("other runs of its groups do not find their namespaces: "+err.Error(), "id", s.rec.ID)
		}
	}, nil
}

// keep keeps the namespaces of a payload, and tells others.
func (s *session) keep(n *namespaces, pid int, levels []userns.Level, own bool) error {
	all := levels
	if own {
		all = append(append([]userns.Level(nil), levels...), userns.Level{}) // its own one is below them
	}
	closeAll, err := userns.Open(pid, all)
	if err != nil {
		return err
	}
	n.close, n.holder = closeAll, userns.Holder{PID: os.Getpid(), Levels: all[:len(levels)]}
	n.limits = map[group.ID]int64{}
	for _, l := range levels {
		n.limits[group.ID(l.Group)] = int64(l.Limit)
	}
	s.mu.Lock()
	s.spaces = n
	s.rec.Nested = levels[len(levels)-1].Limit
	s.mu.Unlock()
	return n.dir.Publish(n.holder)
}

// held tells whether the kernel holds the limits of processes of the groups as they are now.
func (s *session) held() bool {
	s.mu.Lock()
	n := s.spaces
	s.mu.Unlock()
	return n != nil && s.seat.Holds(n.limits)
}

// release takes back what keep has told, and gives the namespaces up.
func (s *session) release() {
	s.mu.Lock()
	n := s.spaces
	s.spaces = nil
	s.mu.Unlock()
	if n != nil {
		n.dir.Retract(n.holder)
		n.close()
	}
}

// lockWait is how long a run waits for others that make their namespaces, which takes a millisecond each.
var lockWait = 10 * time.Second

// lock waits for the lock under which namespaces are looked for, made and published.
func (n *namespaces) lock() (unlock func(), err error) {
	if err := os.Mkdir(string(n.dir), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(string(n.dir), "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	// Somebody who was stopped while it had the lock (SIGSTOP) keeps nobody from starting.
	for end := time.Now().Add(lockWait); ; time.Sleep(time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR && err != unix.EWOULDBLOCK || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return func() {
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // also of what a child has inherited
		f.Close()
	}, nil
}

// nested puts the limit of tasks of a run, if it has one that the kernel holds, into the namespaces of its groups.
func nested(own *launch.Tasks, j *userns.Joint, before []launch.Rlimit) *launch.Tasks {
	t := &launch.Tasks{Joined: j.Joined}
	if j.Namespace != nil {
		t.Namespace = int(j.Namespace.Fd())
	}
	for _, l := range j.Levels {
		t.Outer = append(t.Outer, atMost(l.Limit, before))
	}
	if own != nil {
		t.Max = own.Max
		return t
	}
	last := len(t.Outer) - 1
	t.Outer, t.Max = t.Outer[:last], t.Outer[last]
	return t
}
