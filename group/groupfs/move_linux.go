package groupfs

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/group"
	"mlrun/group/fuse"
	"mlrun/meter"
	"mlrun/proc"
)

// A seal is the value of RLIMIT_RTTIME, in microseconds, of a process that has moved: half a million years and more, which is no limit. The kernel
// hands it down through every fork and execve, and lets nobody but CAP_SYS_RESOURCE raise it, so that each move has a lower one. It begins as
// proc.Seal does, so that the seals of runs and of moves are in the order of time, and has a bit that no pid has.
const (
	sealTop  = 1 << 62
	sealTick = 23      // the lowest bit of the time, in 1/100 s since boot
	sealMove = 1 << 22 // pids are lower (PID_MAX_LIMIT, linux/threads.h)
)

// newSeal is a seal for move number n that is lower than the limit so far; 0 when there is none.
func newSeal(now, n, before uint64) uint64 {
	if before <= sealTop && sealTop-before>>sealTick >= now {
		now = (sealTop-before)>>sealTick + 1
	}
	s := uint64(sealTop) - (now<<sealTick | sealMove | n%sealMove)
	if now >= 1<<(62-sealTick) || s > sealTop {
		return 0
	}
	return s
}

// sealedAt is when the process got its seal, or when the run that it is the seal of began; 0 without one.
func sealedAt(limit uint64) uint64 {
	if limit >= sealTop {
		return 0
	}
	return (sealTop - limit) >> sealTick
}

// How often the moved are looked at: when there is room, and at most.
const (
	lookSeldom = 100 * time.Millisecond
	lookOften  = 5 * time.Millisecond
	// growth is how fast memory may grow, in bytes a second, for the time of the next look.
	growth = 4 << 30
)

// moved are the processes of one move.
type moved struct {
	seal  uint64
	group group.ID
	first proc.ID
	seat  *group.Seat
	meter *meter.Meter

	// members are those seen last, and room what the group had for them then.
	members []proc.ID
	room    group.Room
	doomed  bool
}

// movers are all who have moved.
type movers struct {
	fs   *FS
	wake chan struct{}
	over chan struct{}
	done chan struct{}
	last *proc.LastPID

	mu   sync.Mutex
	n    uint64
	all  map[uint64]*moved // by their seals
	seen int               // the newest pid of the last look at all processes
}

func newMovers(f *FS) *movers {
	m := &movers{fs: f, wake: make(chan struct{}, 1), over: make(chan struct{}), done: make(chan struct{}), all: map[uint64]*moved{}}
	m.last = f.proc.LastPID()
	go m.watch()
	return m
}

func (m *movers) close() {
	close(m.over)
	<-m.done
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.all {
		v.seat.Leave()
		v.meter.Close()
	}
	clear(m.all)
	m.last.Close()
}

// poke has everybody looked at now.
func (m *movers) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// rtTime is RLIMIT_RTTIME of a process, of which any thread may be named.
func rtTime(pid int) (l unix.Rlimit, err error) {
	err = unix.Prlimit(pid, unix.RLIMIT_RTTIME, nil, &l)
	return l, err
}

// identify finds the process of a thread.
func (m *movers) identify(tid int) (proc.Stat, error) {
	if tid <= 0 {
		return proc.Stat{}, fmt.Errorf("the caller is not in the pid namespace of the server: %w", unix.EPERM)
	}
	pid, err := m.fs.proc.ProcessOf(tid)
	if err != nil {
		return proc.Stat{}, err
	}
	return m.fs.proc.Stat(pid)
}

// move takes a process, and what it forks from now on, to a group.
func (m *movers) move(c fuse.Caller, to group.ID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	st, err := m.identify(c.PID)
	if err != nil {
		return err
	}
	was, err := rtTime(st.PID)
	if err != nil {
		return unmovable(c, st.PID, err)
	}
	old := m.all[was.Max]
	if old != nil && old.group == to {
		return nil
	}
	m.n++
	v := &moved{seal: newSeal(proc.Now(), m.n, was.Max), group: to, first: st.ID(), room: group.Unlimited(), members: []proc.ID{st.ID()}}
	if v.seal == 0 || was.Max < sealTop>>1 {
		return fmt.Errorf("process %d has an RLIMIT_RTTIME of its own, which would have to be changed: %w", st.PID, unix.EPERM)
	}
	if v.seat, err = m.join(v, old); err != nil {
		return err
	}
	soft := min(was.Cur, v.seal)
	if err := unix.Prlimit(st.PID, unix.RLIMIT_RTTIME, &unix.Rlimit{Cur: soft, Max: v.seal}, nil); err != nil {
		v.seat.Leave()
		m.poke() // for the count of old
		return unmovable(c, st.PID, err)
	}
	v.meter = meter.New(m.fs.proc)
	m.all[v.seal] = v
	_ = v.seat.Bell(m.poke)
	m.poke()
	return nil
}

// unmovable is why the limit of a process that moves is not to be read or set (prlimit(2)).
func unmovable(c fuse.Caller, pid int, err error) error {
	if errors.Is(err, unix.EPERM) && int(c.UID) != os.Getuid() {
		return fmt.Errorf("process %d is user %d's: to move it takes a server with CAP_SYS_RESOURCE: %w", pid, c.UID, err)
	}
	return fmt.Errorf("process %d is not to be moved: %w", pid, err)
}

// join takes a seat for one process, which is not to be counted where it was by then: groups above both places have it once.
func (m *movers) join(v, old *moved) (*group.Seat, error) {
	if old != nil && old.group != group.System {
		n := int64(len(old.members))
		old.seat.Publish(group.Use{Processes: max(n-1, 0)})
		defer m.poke()
	}
	bound, _ := m.fs.proc.Resident(v.first.PID)
	return m.fs.tree.Join(v.group, group.Member{Kind: group.Process, Name: m.fs.proc.Name(v.first.PID), Process: v.first, Processes: 1, Memory: bound})
}

// clone makes a group below another, moves the caller there, and returns the reference that the open file has.
func (m *movers) clone(c fuse.Caller, parent group.ID) (group.ID, *group.Seat, error) {
	st, err := m.identify(c.PID)
	if err != nil {
		return 0, nil, err
	}
	ref, id, err := m.fs.tree.CreateSeat(parent, group.Change{}, int(c.UID), group.Member{Kind: group.Handle, Name: "clone", Process: st.ID()})
	if err != nil {
		return 0, nil, err
	}
	if err := m.move(c, id); err != nil {
		ref.Leave()
		return 0, nil, err
	}
	return id, ref, nil
}

// groupOf is the group that a process is in: the one that it has moved to, or that of the run that it is in, whichever came later.
func (m *movers) groupOf(tid int) group.ID {
	st, err := m.identify(tid)
	if err != nil {
		return group.System
	}
	seal := uint64(math.MaxUint64)
	if l, err := rtTime(st.PID); err == nil {
		seal = l.Max
	}
	m.mu.Lock()
	v := m.all[seal]
	m.mu.Unlock()
	run, began := m.runOf(st, seal)
	switch {
	case v != nil && (run == 0 || sealedAt(seal) >= began):
		return v.group
	case run != 0:
		return run
	}
	return group.System
}

// runOf finds the run that a process is in by its parents, of which the supervisor is one, or by the seal of the supervisor. began is when that was
// started; the group is 0 when there is none.
func (m *movers) runOf(st proc.Stat, seal uint64) (id group.ID, began uint64) {
	list, err := m.fs.tree.Members(group.System)
	if err != nil {
		return 0, 0
	}
	runs := map[proc.ID]group.ID{}
	for _, r := range list {
		if r.Kind != group.Run {
			continue
		}
		runs[r.Process] = r.Group
		if proc.Seal(r.Process) == seal {
			id, began = r.Group, r.Process.Start
		}
	}
	if len(runs) == 0 {
		return 0, 0
	}
	const deep = 4096 // of a tree of processes that changes meanwhile
	for range deep {
		if g, ok := runs[st.ID()]; ok && st.Start >= began {
			return g, st.Start
		}
		if st.PPID <= 1 {
			break
		}
		if st, err = m.fs.proc.Stat(st.PPID); err != nil {
			break
		}
	}
	return id, began
}
