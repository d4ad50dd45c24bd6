package supervise

import (
	"cmp"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/meter"
	"mlrun/proc"
)

const (
	// settleAfter is how long a run has lasted when its sampler gets a thread and events: a short job does not pay for them.
	settleAfter = 20 * time.Millisecond
	eventMost   = 256             // members whose counters are opened at once: the others have inherited them
	eventRounds = 5               // attempts to have events of everything, when members are forked while they are opened,
	eventRetry  = 1 * time.Second // and then as many again after this long, and after twice as long each time that this is not enough
	nearLimit   = 64 << 20        // headroom under which page faults are waited for
	faultGap    = 100 * time.Microsecond
	dozeUnder   = 300 * time.Millisecond // no sleep is worth the trouble when the next sample is not due before
	awakeFor    = 50 * time.Millisecond  // after a look found somebody awake nobody is asked: counters of who runs are read by an interrupt
	sleepMost   = 10 * time.Second       // how long a group that sleeps is left alone
	faultGrowth = 256 << 10              // bytes that a group must have grown by since the sample before
)

// eventState is what a sampler knows of events.
type eventState struct {
	tried    bool
	rounds   int
	opened   []proc.ID          // members whose counters are being opened
	covered  map[proc.ID]uint64 // members with counters, and since when (proc.Now): what they start then inherits them
	below    map[int][]int      // whose counters were opened, by the reaper above them; nil: nobody has joined
	alone    map[int]bool       // who joined without a reaper of the run above: they take its place in below
	retry    time.Time          // when to begin again; zero: not at all
	patience time.Duration
	complete bool      // everything that is a member is watched
	asleep   bool      // and has no CPU: nothing can grow before it gets one
	deaf     bool      // the newest faults led to no growth: they are ignored until the next deadline
	awake    time.Time // when somebody was found to have used a CPU
	checked  time.Time // when credentials were looked at
	foreign  bool      // and those of a member were others
}

// settle gives the sampler a thread of its own, whose waits cost half of what the runtime's timers do, and begins with events.
func (s *sampler) settle() {
	s.events.tried = true
	runtime.LockOSThread()
	w, err := meter.NewWatch()
	if err != nil {
		runtime.UnlockOSThread() // it goes on with the runtime's timers
		return
	}
	hurry()
	s.mu.Lock()
	s.watch = w
	s.mu.Unlock()
	if s.mode == meter.Poll {
		return
	}
	s.events.covered, s.events.patience = map[proc.ID]uint64{}, eventRetry
	s.cover(time.Now())
}

// cover begins to open the counters of the members that may be without.
func (s *sampler) cover(now time.Time) {
	e := &s.events
	e.retry = time.Time{}
	s.group.Update(now)
	more := uncovered(e.covered, s.group.Members(), s.fs.Stat)
	switch {
	case len(more) == 0 && e.rounds > 0:
		e.complete, e.covered = true, nil
		s.mu.Lock()
		s.stats.memory.Meter = string(meter.Events)
		s.mu.Unlock()
	case len(more) > 0 && len(more) <= eventMost && e.rounds < eventRounds:
		s.prepare(more)
	default:
		e.rounds, e.retry = 0, now.Add(e.patience)
		e.patience *= 2
	}
}

// joined opens the counters of a member that no other one has started.
func (s *sampler) joined(id proc.ID, observed bool) {
	e := &s.events
	if e.below == nil {
		e.below, e.alone = map[int][]int{}, map[int]bool{}
	}
	if observed {
		e.alone[id.PID] = true
	}
	if e.covered == nil && !e.complete {
		return // no events, or not yet: it is there when they begin
	}
	if e.complete {
		e.complete, e.covered = false, map[proc.ID]uint64{}
		for _, m := range s.group.Members() {
			if m != id {
				e.covered[m] = 0
			}
		}
	}
	e.asleep, e.rounds = false, 0
	if len(e.opened) == 0 {
		s.cover(time.Now())
	}
}

// remember notes below which reaper processes are whose counters are opened. The payload's own are given back by the end of the run only: as long
// as nobody has joined there is nothing to note.
func (s *sampler) remember(pids []int) {
	if s.events.below == nil {
		return
	}
	members := map[int]bool{}
	for _, id := range s.group.Members() {
		members[id.PID] = true
	}
	for _, pid := range pids {
		if r := s.reaperOf(pid, members); r != 0 {
			s.events.below[r] = append(s.events.below[r], pid)
		}
	}
}

// reaperOf is the first process above a member that is none, or the last one before it when that joined alone; 0 when that cannot be found.
func (s *sampler) reaperOf(pid int, members map[int]bool) int {
	const deep = 100
	for range deep {
		st, err := s.fs.Stat(pid)
		if err != nil {
			return 0
		}
		if members[st.PPID] {
			pid = st.PPID
			continue
		}
		if s.events.alone[pid] {
			return pid
		}
		return st.PPID
	}
	return 0
}

// ended gives the counters back of what was below a reaper that has ended.
func (s *sampler) ended(reaper int) {
	if s.watch == nil {
		return
	}
	for _, pid := range s.events.below[reaper] {
		s.watch.Release(pid)
	}
	delete(s.events.below, reaper)
	delete(s.events.alone, reaper)
}

// uncovered lists the members that may be without counters: all but those whose counters were opened, and those that a covered one has
// started since. An orphan is opened itself: nobody knows who started it. (One that a subreaper within the group has adopted passes for
// that one's child.)
func uncovered(covered map[proc.ID]uint64, members []proc.ID, stat func(int) (proc.Stat, error)) (list []proc.ID) {
	byPID := make(map[int]proc.ID, len(members))
	for _, id := range members {
		byPID[id.PID] = id
	}
	slices.SortFunc(members, func(a, b proc.ID) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID)) })
	for _, id := range members {
		if _, ok := covered[id]; ok {
			continue
		}
		st, err := stat(id.PID)
		if err != nil || st.Start != id.Start {
			continue // gone
		}
		parent, known := byPID[st.PPID]
		if since, ok := covered[parent]; known && ok && since < id.Start {
			covered[id] = 0 // from its birth on
			continue
		}
		list = append(list, id)
	}
	return list
}

// closeEvents ends what settle began. The goroutine stays locked to its thread, whose priority was changed: so they end together.
func (s *sampler) closeEvents() {
	s.mu.Lock()
	w := s.watch
	s.watch, s.over = nil, true
	s.mu.Unlock()
	if w != nil {
		w.Close()
	}
	if s.mapped != nil {
		s.mapped.Close()
	}
}

// prepare opens the counters of members, in another goroutine, since that takes some milliseconds.
func (s *sampler) prepare(ids []proc.ID) {
	pids := make([]int, len(ids))
	for i, id := range ids {
		pids[i] = id.PID
	}
	s.events.rounds++
	s.events.opened = ids
	s.remember(pids)
	w := s.watch
	go func() {
		c, err := w.Prepare(pids)
		if !s.post(func() { s.attach(c, err) }) && err == nil {
			c.Close()
		}
	}()
}

// attach begins to use counters. Members that were forked while they were opened may be without: then theirs are opened, too.
func (s *sampler) attach(c *meter.Counters, err error) {
	if err != nil {
		if s.mode == meter.Events && s.report.deaf != nil {
			s.report.deaf(err)
		}
		s.events.covered, s.events.opened = nil, nil
		return // deadlines remain
	}
	s.watch.Attach(c)
	for _, id := range s.events.opened {
		s.events.covered[id] = proc.Now()
	}
	s.events.opened = nil
	s.cover(time.Now())
}

// interest is what ends a wait early.
func (s *sampler) interest() (on meter.Cause) {
	if room := min(s.policy.Headroom(s.use), s.share.room.Memory); !s.events.deaf && !s.muted && s.paused == nil && room > 0 && room < nearLimit {
		on |= meter.Faulted
	}
	if s.events.asleep {
		on |= meter.Woke
	}
	return on
}

// faulted takes a sample since memory was touched near the limit. A group that touches memory without growing is left alone until
// the next deadline.
func (s *sampler) faulted(now time.Time) time.Duration {
	s.events.asleep = false
	if s.paused != nil {
		return pausedEvery
	}
	before := s.use.Memory
	wait := s.sample(now)
	s.lastTaken = now
	s.events.deaf = s.use.Memory-before < faultGrowth
	return s.slowDown(now, max(wait, faultGap))
}

// credentials tells whether a member may have executed a set-user-ID program, whose counters the kernel has taken away: its files in /proc
// belong to another user then (proc(5)). Of many members that is known for a second; fresh tells that it was looked at now.
func (s *sampler) credentials(now time.Time) (foreign, fresh bool) {
	uid := uint32(os.Geteuid())
	members := s.group.Members()
	if len(members) > lookFrom && now.Sub(s.events.checked) < time.Second {
		return s.events.foreign, false
	}
	s.events.checked, s.events.foreign = now, false
	for _, id := range members {
		var st unix.Stat_t
		if unix.Stat(string(s.fs)+"/"+strconv.Itoa(id.PID), &st) == nil && st.Uid != uid {
			s.events.foreign = true
		}
	}
	return s.events.foreign, true
}

// doze waits without a deadline when nobody of the group has a CPU: who sleeps does not grow. The longest wait remains, for
// what others do to shared pages. A member of another user has no counters if it got there by a set-user-ID program, which is how a user's
// gets there; one of root's has most likely given its privileges up, and kept them.
func (s *sampler) doze(now time.Time, wait time.Duration) time.Duration {
	s.events.deaf, s.events.asleep = false, false
	if !s.events.complete || wait >= dozeUnder && !s.share.limited() || s.ceiling || s.throttle.active() {
		return wait
	}
	if now.Sub(s.events.awake) < awakeFor {
		return wait
	}
	if !s.watch.Sleep() {
		s.events.awake = now
		return wait
	}
	foreign, fresh := s.credentials(now)
	if s.events.asleep = !foreign || os.Geteuid() == 0; !s.events.asleep {
		return wait
	}
	// Nobody runs, so there is time for what would have got in the way.
	if s.newPeak(now) {
		s.aside(nil)
	}
	s.warn(now, s.policy.Max)
	if foreign || !fresh {
		return s.policy.Max
	}
	return sleepMost
}
