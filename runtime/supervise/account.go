package supervise

import (
	"time"

	"mlrun/limit"
	"mlrun/meter"
	"mlrun/proc"
)

// account is what a sampler knows of everything besides memory that is limited.
type account struct {
	budget limit.Budget
	due    time.Time // zero: nothing is limited
	report func(excess, limit.Spent)

	at      time.Time     // of the newest tally
	tally   time.Duration // CPU time of the group as of then
	lost    bool          // there are processes that nobody waits for
	active  time.Time     // when CPU time was last seen to grow
	tasks   int64
	said    limit.Excess
	over    bool // the group was told to end
	hurried bool // and then to end at once
	ration  limit.Ration
	stopped time.Duration // for how long the group was stopped since at
}

// excess is a limit that was exceeded.
type excess struct {
	what   limit.Excess
	urgent bool // no grace period
}

const (
	tallySlack = 50 * time.Millisecond  // by which a tally may be off when processes end while it is made
	stillRan   = time.Millisecond       // running time that is found out about later
	lostAgain  = 20 * time.Millisecond  // between looks at a group that loses CPU time, so that it is little
	tasksAgain = 10 * time.Millisecond  // between looks at a group that was told to end
	settleSoon = 300 * time.Microsecond // after which most that were told to stop have
	tallies    = 3                      // that are made when one is not plausible
)

// plausible tells whether the group can have used as much CPU time by now, and not less than was seen.
func (a *account) plausible(cpu time.Duration, now time.Time) bool {
	grown := cpu - a.tally
	return grown >= 0 && grown <= now.Sub(a.at)*time.Duration(max(a.budget.CPUs, 1))+tallySlack
}

// count takes a tally. A process that is waited for while that is done can be counted twice or not at all, which the next tally does not repeat.
func (s *sampler) count(now time.Time) {
	a := &s.account
	var t proc.Tally
	for range tallies {
		t = s.group.Tally()
		if a.plausible(t.CPU, now) {
			break
		}
	}
	cpu := max(t.CPU, a.tally)
	if cpu > a.tally {
		a.active = now
	}
	a.tally, a.tasks, a.lost = cpu, t.Tasks, t.Unwaited > 0
}

// audit looks at what is limited besides memory, and returns when to do that again.
func (s *sampler) audit(now time.Time) {
	a := &s.account
	first := a.at.IsZero()
	if first {
		a.at, a.active, a.ration = now, now, a.budget.Begin()
	}
	if s.throttle.halted != nil {
		a.stopped += now.Sub(s.throttle.since)
		s.throttle.since = now
	}
	before := a.tally
	if now.Sub(a.at)-a.stopped > stillRan || a.at == now {
		s.count(now)
	} // else nobody has run
	if first {
		before = a.tally // what was used before is no quota's
	}
	if s.holding.Load() {
		a.active = now // it cannot use any
	}
	spent := limit.Spent{CPU: a.tally, Wall: now.Sub(s.start), Idle: now.Sub(a.active), Tasks: a.tasks}
	if len(a.budget.Huge) > 0 {
		spent.Huge = meter.HugePages(s.fs, s.group.Members(), sizes(a.budget.Huge))
	}
	s.judge(spent)
	next := a.budget.Next(spent)
	if a.budget.CPU > 0 && a.lost {
		next = min(next, lostAgain)
	}
	switch {
	case a.said != limit.Within && !a.hurried:
		next = max(next, tasksAgain)
	case a.said != limit.Within:
		next = s.policy.Max
	}
	if a.budget.Rations() && !s.ending() && s.paused == nil {
		next = min(next, s.dole(now, a.tally-before))
	}
	a.at, a.stopped = now, 0
	a.due = now.Add(min(next, s.policy.Max))
}

func sizes(list []limit.Huge) (sizes []int64) {
	for _, h := range list {
		sizes = append(sizes, h.Size)
	}
	return sizes
}

// judge reports a limit that is exceeded: once, and again when a group that was told to end gets worse.
func (s *sampler) judge(spent limit.Spent) {
	a := &s.account
	what := a.budget.Exceeded(spent)
	urgent := what == limit.OverTasks && a.budget.Urgent(spent)
	if what == limit.Within || a.said != limit.Within && !urgent || a.hurried {
		return
	}
	a.said, a.hurried = what, urgent
	a.report(excess{what, urgent}, spent)
}

// dole stops the group when it has used up its quota of CPU time, and returns when to look again.
func (s *sampler) dole(now time.Time, used time.Duration) time.Duration {
	a := &s.account
	var stop, next time.Duration
	a.ration, stop, next = a.budget.Ration(a.ration, now.Sub(a.at), a.stopped, used)
	if stop == 0 || s.throttle.halted != nil {
		return next
	}
	s.stopFor(now, stop, false)
	if soon := now.Add(settleSoon); s.due.Before(s.throttle.thawAt) && soon.Before(s.due) {
		s.due = soon // then everybody has stopped, and there is no look until they go on
	}
	s.mu.Lock()
	s.stats.periods++
	s.mu.Unlock()
	return stop
}

// rebudget puts other limits in place. A group that is stopped for a quota that is another one now goes on, and is looked at.
func (s *sampler) rebudget(b limit.Budget, quota bool) {
	s.post(func() {
		a, now := &s.account, time.Now()
		if t := &s.throttle; quota && t.halted != nil && !t.soft {
			s.release(now)
		}
		if !a.budget.Rations() {
			a.ration = b.Begin()
		}
		a.budget, a.due = b, now
	})
}

// endThrottle lets a group that was told to end go on, for good.
func (s *sampler) endThrottle() {
	s.post(func() {
		s.account.over = true
		s.release(time.Now())
		s.throttle.stopAt = time.Time{}
	})
}

// exceeded ends the run for a limit other than that of memory.
func (l *loop) exceeded(e excess, s limit.Spent) {
	if l.verdict.Exceeded == nil && l.state.reason == "" && !l.state.exited {
		l.verdict.Exceeded = exceeded(l.cfg.Budget, e.what, s)
	}
	l.event(event{kind: evExceeded, cause: reasons[e.what], urgent: e.urgent})
}
