package group

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mlrun/proc"
	"mlrun/rendezvous"
)

// Kind is what a seat is for.
type Kind int64

// The kinds of seats.
const (
	Run     Kind = iota // a run with a supervisor, which is told when it is to end
	Process             // a process and what it starts, that somebody watches
	Handle              // an open handle: it refers to the group, uses nothing, and is never a victim
)

func (k Kind) String() string {
	return [...]string{"run", "process", "handle"}[min(max(k, 0), 2)]
}

// MarshalText is String.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Member is who takes a seat.
type Member struct {
	Kind      Kind    `json:"kind"`
	Name      string  `json:"name"`            // of the run, up to 192 bytes
	Process   proc.ID `json:"process"`         // who is in charge of it: the supervisor, or the process itself
	Processes int64   `json:"processes"`       // that it starts with; of a Handle 0
	Memory    int64   `json:"memory"`          // bytes at most, as of its newest sample
	Group     ID      `json:"group"`           // of Members
	Doom      *Doom   `json:"ending,omitzero"` // of Members: the group that ends it
}

// Resource is what a limit is of.
type Resource int64

// The resources whose limits end runs.
const (
	Memory    Resource = iota + 1 // bytes
	Processes                     // processes
	Asked                         // none: End was called
)

// Doom tells a run that it is to end, and why.
type Doom struct {
	Group    ID       `json:"group"`
	Label    string   `json:"label"`
	What     Resource `json:"-"`
	Limit    int64    `json:"limit"`
	Observed int64    `json:"observed"` // of the whole group
}

// Use is what a run uses at some moment.
type Use struct {
	Bound     int64 // bytes, at most
	Sure      int64 // bytes, of which is known that they are used
	Processes int64
	Exact     bool // Sure was read from every process just now
	Kernel    bool // the kernel holds the limit of processes
}

// Room is how much a run may grow before a group that it is in is over a limit: negative when one is.
type Room struct {
	Memory    int64 // bytes; math.MaxInt64: unlimited
	Processes int64
	Most      int64 // bytes: the most that the run itself may have before that
	Read      bool  // somebody wants the memory of the run to be read exactly
}

// Unlimited is the room of a run without limits.
func Unlimited() Room {
	return Room{Memory: math.MaxInt64, Processes: math.MaxInt64, Most: math.MaxInt64}
}

// Seat is a place in a group. Publish, Next, Doomed and Settle are called by one goroutine; all else is safe for concurrent use.
type Seat struct {
	t    *tree
	i    int // -1: of the system's group, which counts nothing
	gone atomic.Bool

	bell *os.File   // by which it is woken; nil: nobody wakes it
	mu   sync.Mutex // of bell

	shape  int64
	known  bool
	levels []level
	base   time.Time
	mono   int64
}

// level is a group above a seat, and the seats below that.
type level struct {
	at    int
	seats []int
}

// text are the bytes of words.
func text(w []int64) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(&w[0])), len(w)*8) }

// Join takes a seat in a group, which lasts until Leave, Tree.Close, or the end of this process. The error is ErrProcesses or ErrMemory when a limit does not
// permit it.
func (t *Tree) Join(id ID, m Member) (s *Seat, err error) {
	err = t.change(func() error {
		at, err := t.find(id)
		if err != nil {
			return err
		}
		s, err = t.join(at, &m)
		return err
	})
	return s, err
}

// CreateSeat makes a group and takes a seat in it, in one step: the group ends with the seat, unless somebody else refers to it then. A Member with processes
// must be permitted by the groups above, too.
func (t *Tree) CreateSeat(parent ID, c Change, owner int, m Member) (s *Seat, id ID, err error) {
	err = t.change(func() error {
		var at int
		if id, at, err = t.create(parent, &c, owner, false); err != nil {
			return err
		}
		if s, err = t.join(at, &m); err != nil {
			t.clean()
		}
		return err
	})
	return s, id, err
}

func (t *tree) join(at int, m *Member) (*Seat, error) {
	s := &Seat{t: t, i: -1, base: time.Now(), mono: rendezvous.Monotonic()}
	if at < 0 {
		return s, nil
	}
	if m.Processes < 0 || m.Processes > MaxCount || m.Kind < Run || m.Kind > Handle {
		return nil, fmt.Errorf("%w: %d processes of a %v", ErrInvalid, m.Processes, m.Kind)
	}
	if err := t.admits(at, m.Processes, nil); err != nil {
		return nil, err
	}
	i, err := t.place(hSeats, func(i int) bool { return t.load(cGroup, i) == 0 }, seatsAt, seatSize)
	if err != nil {
		return nil, err
	}
	if ok, err := t.lockSeat(i); err != nil || !ok {
		return nil, t.wrap("lock", cmp.Or(err, error(unix.EAGAIN)))
	}
	s.i, t.seated = i, true
	r := t.seat(i)
	clear(r)
	n := copy(text(r[sText:])[:maxName], m.Name)
	r[sKind], r[sPID], r[sStart], r[sName] = int64(m.Kind), int64(m.Process.PID), int64(m.Process.Start), int64(n)
	r[sNumber] = atomic.AddInt64(&t.head[hJoined], 1)
	for c := cGroup + 1; c < columns; c++ {
		t.store(c, i, 0)
	}
	t.store(cProcs, i, m.Processes)
	t.store(cAt, i, rendezvous.Monotonic())
	if m.Kind == Handle {
		t.store(cUntil, i, asleep)
	}
	t.own[i] = s
	t.store(cGroup, i, int64(at)+1)
	atomic.AddInt64(&t.head[hShape], 1)
	return s, nil
}

// admits tells which limit does not permit n more processes in a group. What of the groups above is in except counts them already.
func (t *tree) admits(at int, n int64, except []int) error {
	if n == 0 {
		return nil
	}
	t.sweep(at)
	for _, a := range t.up(at) {
		g := t.group(a)
		if g[gProcesses] == None && g[gMemory] == None || slices.Contains(except, a) {
			continue
		}
		c := t.infos(a)[0].Counts
		if most := g[gProcesses]; most != None && c.Processes+n > most {
			return fmt.Errorf("%s: %w: %d of %d; mlrun group set changes it", t.name(a), ErrProcesses, c.Processes, most)
		}
		if most := g[gMemory]; most != None && c.Memory >= most {
			return fmt.Errorf("%s: %w: at most %d of %d bytes are in use; mlrun group set changes it", t.name(a), ErrMemory, c.Memory, most)
		}
	}
	return nil
}

// sweep takes the seats below a group from those that have ended. It needs the lock.
func (t *tree) sweep(at int) {
	for _, k := range t.under(at) {
		if !t.lives(k) {
			t.vacate(k)
		}
	}
}

// vacate frees a seat.
func (t *tree) vacate(i int) {
	t.store(cGroup, i, 0)
	removeBell(t.dir, i)
	atomic.AddInt64(&t.head[hShape], 1)
}

// Group is the group that the seat is in.
func (s *Seat) Group() ID {
	if s.i < 0 || s.gone.Load() {
		return System
	}
	return s.t.id(int(s.t.load(cGroup, s.i)) - 1)
}

// Move takes the seat, with its processes, to another group. When a limit there does not permit it, it stays where it is. A seat that is, or comes, into the
// system's group cannot be moved: Leave and Join are for that.
func (s *Seat) Move(id ID) error {
	if s.i < 0 || id == System {
		return ErrSystem
	}
	return s.t.change(func() error {
		if s.gone.Load() {
			return ErrClosed
		}
		at, err := s.t.find(id)
		if err != nil {
			return err
		}
		if err := s.t.admits(at, s.t.load(cProcs, s.i), s.t.up(int(s.t.load(cGroup, s.i))-1)); err != nil {
			return err
		}
		s.t.store(cGroup, s.i, int64(at)+1)
		atomic.AddInt64(&s.t.head[hShape], 1)
		s.t.clean()
		return nil
	})
}

// Leave gives the seat back. It may be called more than once.
func (s *Seat) Leave() {
	if s.i < 0 || s.gone.Load() {
		return
	}
	_ = s.t.change(func() error { // without the lock: with the end of this process
		if s.gone.Load() {
			return nil
		}
		s.end()
		s.t.vacate(s.i)
		s.t.unlockSeat(s.i)
		s.t.clean()
		return nil
	})
}

// end is the end of a seat, as far as this process goes.
func (s *Seat) end() {
	s.gone.Store(true)
	delete(s.t.own, s.i)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bell != nil {
		s.bell.Close()
	}
}

// now is the monotonic clock, which is the same for all processes.
func (s *Seat) now() int64 { return s.mono + int64(time.Since(s.base)) }

// Publish tells the others what the run uses, and returns how much more it may. It makes no system call.
func (s *Seat) Publish(u Use) Room {
	room := Unlimited()
	if s.i < 0 || s.gone.Load() {
		return room
	}
	t := s.t
	t.store(cBound, s.i, u.Bound)
	t.store(cSure, s.i, min(u.Sure, u.Bound))
	t.store(cProcs, s.i, u.Processes)
	t.store(cHeld, s.i, btoi(u.Kernel))
	now := s.now()
	t.store(cAt, s.i, now)
	if u.Exact {
		t.store(cRead, s.i, now)
	}
	s.survey()
	for _, l := range s.levels {
		g := t.group(l.at)
		if most := atomic.LoadInt64(&g[gMemory]); most != None {
			left := most - t.sum(cBound, l.seats)
			room.Memory = min(room.Memory, left)
			room.Most = min(room.Most, u.Bound+left)
		}
		if most := atomic.LoadInt64(&g[gProcesses]); most != None {
			room.Processes = min(room.Processes, most-t.sum(cProcs, l.seats))
		}
	}
	room.Read = t.load(cWant, s.i) > t.load(cRead, s.i)
	return room
}

func btoi(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// sum adds up a column, of seats that still are what they were.
func (t *tree) sum(c int, seats []int) (n int64) {
	col := t.column(c)
	for _, i := range seats {
		n += atomic.LoadInt64(&col[i])
	}
	return n
}

// survey finds out which seats are below the groups above this one, if that has changed.
func (s *Seat) survey() {
	t := s.t
	shape := atomic.LoadInt64(&t.head[hShape])
	if s.known && shape == s.shape {
		return
	}
	s.shape, s.known = shape, true
	s.levels = s.levels[:0]
	for _, a := range t.up(int(t.load(cGroup, s.i)) - 1) {
		g := t.group(a)
		if atomic.LoadInt64(&g[gMemory]) != None || atomic.LoadInt64(&g[gProcesses]) != None {
			s.levels = append(s.levels, level{at: a})
		}
	}
	if len(s.levels) == 0 {
		return
	}
	for k := range t.count(hSeats) {
		g := t.load(cGroup, k)
		for n, at := 0, int(g)-1; at >= 0 && at < maxItems && n < maxDepth; n++ {
			for j := range s.levels {
				if s.levels[j].at == at {
					s.levels[j].seats = append(s.levels[j].seats, k)
				}
			}
			at = int(atomic.LoadInt64(&t.group(at)[gParent]))
		}
	}
}

// Limited tells whether a group above has a limit, as of the newest Publish.
func (s *Seat) Limited() bool { return len(s.levels) > 0 }

// Next tells the others that the run is looked at again after wait, or with sleeps not before it runs again, and wakes those who would look too
// late: within says how soon a group with so much room has to be looked at again by everybody in it. It makes a system call only to wake somebody.
func (s *Seat) Next(wait time.Duration, sleeps bool, within func(room int64) time.Duration) {
	if s.i < 0 || s.gone.Load() {
		return
	}
	t, until := s.t, int64(asleep)
	if !sleeps {
		until = s.now() + int64(wait)
	}
	t.store(cUntil, s.i, until)
	for _, l := range s.levels {
		most := atomic.LoadInt64(&t.group(l.at)[gMemory])
		if most == None || len(l.seats) == 1 {
			continue
		}
		soon := int64(within(most - t.sum(cBound, l.seats)))
		for _, k := range l.seats {
			if u, at := t.load(cUntil, k), t.load(cAt, k); k != s.i && u != asleep && u > at+soon {
				t.store(cUntil, k, at+soon) // so that nobody else wakes it, too
				ring(t.dir, k)
			}
		}
	}
}

// Doomed returns why the run is to end, nil as long as it is not.
func (s *Seat) Doomed() *Doom {
	if s.i < 0 || s.gone.Load() {
		return nil
	}
	return s.t.doom(s.i)
}

func (t *tree) doom(i int) *Doom {
	id := ID(t.load(cDoom, i))
	if id == 0 {
		return nil
	}
	d := &Doom{Group: id, What: Resource(t.load(cDoomWhat, i)), Limit: t.load(cDoomLimit, i), Observed: t.load(cDoomSeen, i)}
	for _, a := range t.up(int(t.load(cGroup, i)) - 1) {
		if t.id(a) == id {
			d.Label = t.label(a)
		}
	}
	return d
}

// Members lists the seats of a group and of all below it, in the order in which they have joined.
func (t *Tree) Members(id ID) (list []Member, err error) {
	type numbered struct {
		Member
		n int64
	}
	var all []numbered
	err = t.change(func() error {
		at, err := t.find(id)
		if err != nil {
			return err
		}
		t.clean()
		for k, g := range t.column(cGroup)[:t.count(hSeats)] {
			if g == 0 || at >= 0 && !slices.Contains(t.up(int(g)-1), at) {
				continue
			}
			r := t.seat(k)
			all = append(all, numbered{Member{
				Kind: Kind(r[sKind]), Name: string(text(r[sText:])[:min(max(r[sName], 0), maxName)]),
				Process:   proc.ID{PID: int(r[sPID]), Start: uint64(r[sStart])},
				Processes: t.load(cProcs, k), Memory: t.load(cBound, k), Group: t.id(int(g) - 1), Doom: t.doom(k),
			}, r[sNumber]})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b numbered) int { return cmp.Compare(a.n, b.n) })
	for _, m := range all {
		list = append(list, m.Member)
	}
	return list, err
}
