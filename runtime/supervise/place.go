package supervise

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
	"mlrun/runtime/launch"
)

// placing is a Place that is being put in force.
type placing struct {
	Place
	base  int          // nice value that the run had before
	mask  []uint64     // CPUs as a bit set
	seen  map[int]bool // threads that have it
	first bool         // no look at the threads is over yet
}

func newPlacing(p *Place, base int) *placing {
	s := &placing{Place: *p, base: base, seen: map[int]bool{}, first: true}
	for _, n := range p.CPUs {
		for len(s.mask) <= n/64 {
			s.mask = append(s.mask, 0)
		}
		s.mask[n/64] |= 1 << (n % 64)
	}
	return s
}

// all puts it in force for every thread of every member, until looks at them find none without it. It returns those that may not be changed.
func (p *placing) all(group *proc.Group) (denied []proc.ID) {
	group.Update(time.Now())
	no := map[proc.ID]bool{}
	end := time.Now().Add(relimitTime)
	for clean := 0; clean < relimitClean && time.Now().Before(end); {
		clean++
		for _, id := range group.Members() {
			if no[id] || !proc.Root.Alive(id) {
				continue
			}
			changed, err := p.one(id.PID)
			switch {
			case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
				no[id] = true
				denied = append(denied, id)
			case changed:
				clean = 0
			}
		}
		p.first = false
		if clean > 0 && clean < relimitClean {
			time.Sleep(relimitAgain)
		}
		group.Update(time.Now())
	}
	return denied
}

// baseNice is the nice value that a process of the run was started with when it has not chosen one. own is that of this process before it made some
// of its threads better.
func baseNice(c *launch.Config, own int) int {
	switch {
	case c.Nice != nil:
		return *c.Nice
	case c.Scheduler != nil:
		return int(c.Scheduler.Nice)
	}
	return own
}

// settle gives a guest that waits at its gate what updates have asked for: it may have been prepared before them.
func (l *loop) settle(id proc.ID) {
	if id.PID == 0 || l.place.empty() {
		return
	}
	p := newPlacing(&l.place, baseNice(&l.cfg.Launch, l.own))
	p.first = false // it may have been prepared after them, too
	_, _ = p.one(id.PID)
}
