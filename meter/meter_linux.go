package meter

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// minAge is how long the bound that goes on from an exact reading is trusted at least, and ageCost how many times what
// the reading took: so renewing it takes at most one part in ageCost of the time.
const (
	minAge  = time.Second
	ageCost = 100
)

// sharedMin is the resident size from which processes with equal sizes are asked whether they share their memory.
const sharedMin = 1 << 20

// sharedMost is how many address spaces of equal sizes a process is compared with: forked workers look alike.
const sharedMost = 32

// entry is one process of the set.
type entry struct {
	proc.ID
	statm int // descriptor of /proc/PID/statm, -1 to open it each time
	path  string
	dead  bool // a zombie without threads: it stays one
	gone  bool

	size int64    // bytes of address space, as of the last look
	now  resident // as of the last look
	stat counters

	based bool     // the base has it:
	then  resident // as it was then
	stat0 counters

	// Of the exact reading that is made:
	begin  resident // when it began
	begin0 counters
	read   resident // just before the process was read
	read0  counters

	shares bool // it has the address space of another one
	round  int  // in which origin was found
	origin origin
	next   *entry // with the same sizes and another address space
}

// Meter measures one set of processes. It is not safe for concurrent use. Close it.
type Meter struct {
	fs       proc.FS
	page     int64
	newest   *proc.LastPID
	set      map[int]*entry
	list     []*entry
	noRollup bool // Linux before 4.14
	huge     bool // the machine has a pool of huge pages
	unit     units

	settled    bool // unit is complete, and this is known:
	hugeFaults bool // a page fault may bring a huge page at any time
	buf        []byte
	same       map[[2]int64]*entry // by size and RSS
	round      int
	order      []*entry
	stopped    bool // for ExactStopped

	base    int64 // upper bound from the last exact reading,
	ownBase int64 // and of what is not of files
	baseAt  time.Time
	baseEnd uint64 // clock ticks since boot when it was complete
	age     time.Duration
	event0  events
	swap0   int64 // bytes that the set had swapped out then
}

// New returns a meter that reads below fs (proc.Root).
func New(fs proc.FS) *Meter {
	page := int64(os.Getpagesize())
	return &Meter{fs: fs, page: page, newest: fs.LastPID(), unit: units{lag: lag(page)}, set: map[int]*entry{}, buf: make([]byte, 4096), same: map[[2]int64]*entry{}}
}

// Another returns a meter of the same kind with an empty set, for another goroutine.
func (m *Meter) Another() *Meter {
	o := New(m.fs)
	o.unit, o.hugeFaults, o.settled, o.noRollup = m.unit, m.hugeFaults, m.settled, m.noRollup
	return o
}

// settle reads what the kernel is set to bring with one page fault, once: a hundred system calls that only exact readings need.
func (m *Meter) settle() {
	if m.settled {
		return
	}
	m.settled = true
	m.unit = unitsOf(sysHuge, m.page)
	if b, err := os.ReadFile(sysHuge + "/enabled"); err == nil {
		m.hugeFaults = bytes.Contains(b, []byte("[always]"))
	}
}

// Close gives all descriptors back.
func (m *Meter) Close() {
	m.Set(nil)
	m.newest.Close()
}

// Set makes ids the processes that are measured. What is known of those that stay is kept, but for one that seemed to be gone: who
// lists it again knows better.
func (m *Meter) Set(ids []proc.ID) {
	want := make(map[int]bool, len(ids))
	for _, id := range ids {
		want[id.PID] = true
		if e := m.set[id.PID]; e != nil {
			if e.ID == id && !e.gone {
				continue
			}
			m.remove(e)
		}
		e := &entry{ID: id, statm: -1}
		e.path = string(m.fs) + "/" + strconv.Itoa(id.PID)
		if fd, err := unix.Open(e.path+"/statm", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
			e.statm = fd
		}
		m.set[id.PID] = e
	}
	m.list = m.list[:0]
	for pid, e := range m.set {
		if !want[pid] {
			m.remove(e)
			continue
		}
		m.list = append(m.list, e)
	}
	m.huge = len(m.list) > 0 && m.hasHugePages()
}

func (m *Meter) remove(e *entry) {
	if e.statm >= 0 {
		unix.Close(e.statm)
	}
	delete(m.set, e.PID)
}

// hasHugePages tells whether hugetlb pages can be in use; most machines have none, and are spared a read per process.
func (m *Meter) hasHugePages() bool {
	for _, name := range []string{"nr_hugepages", "nr_overcommit_hugepages"} {
		fd, err := unix.Open(string(m.fs)+"/sys/vm/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		n, err := unix.Read(fd, m.buf)
		unix.Close(fd)
		if err == nil && n > 0 && m.buf[0] != '0' {
			return true
		}
	}
	return false
}

// look reads the sizes of a process. false: it is gone.
func (m *Meter) look(e *entry) bool {
	if e.dead {
		return true
	}
	if e.gone {
		return false
	}
	b, err := m.readStatm(e)
	if err != nil {
		e.gone, e.now = true, resident{}
		return false
	}
	e.size, e.now = m.parseStatm(b)
	if e.size == 0 && !m.lookThreads(e) {
		e.gone, e.now = true, resident{}
		return false
	}
	if m.huge && !e.dead {
		e.now.pool = m.hugetlb(e)
	}
	return true
}

func (m *Meter) readStatm(e *entry) ([]byte, error) {
	if e.statm < 0 {
		// Out of descriptors when it was added: the pid may be reused, so it is checked.
		if !m.count(e) {
			return nil, proc.ErrGone
		}
		return m.read(e.path + "/statm")
	}
	for {
		n, err := unix.Pread(e.statm, m.buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return nil, proc.ErrGone
		}
		return m.buf[:n], nil
	}
}

// read reads a file of /proc as a whole into the meter's buffer, which grows as needed.
func (m *Meter) read(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n := 0
	for {
		if n == len(m.buf) {
			m.buf = append(m.buf, make([]byte, len(m.buf))...)
		}
		k, err := unix.Read(fd, m.buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if k == 0 {
			return m.buf[:n], nil
		}
		n += k
	}
}

// lookThreads handles a process whose first thread has no memory: a zombie, or one whose other threads go on.
func (m *Meter) lookThreads(e *entry) bool {
	if !m.count(e) {
		return false
	}
	if e.stat.state == 'Z' && e.stat.threads <= 1 {
		e.dead = true
		return true
	}
	tid := m.liveThread(e)
	if tid == "" {
		return true
	}
	b, err := m.read(e.path + "/task/" + tid + "/statm")
	if err == nil {
		e.size, e.now = m.parseStatm(b)
	}
	return true
}

// liveThread is a thread of a process whose first thread ended, "" if there is none.
func (m *Meter) liveThread(e *entry) string {
	for _, n := range m.fs.Threads(e.PID) {
		if n == e.PID {
			continue
		}
		tid := strconv.Itoa(n)
		if b, err := m.read(e.path + "/task/" + tid + "/statm"); err == nil {
			if size, _ := m.parseStatm(b); size > 0 {
				return tid
			}
		}
	}
	return ""
}

// parseStatm parses "size resident shared ..." in pages (proc_pid_statm(5)) to bytes. Shared is RssFile + RssShmem.
func (m *Meter) parseStatm(b []byte) (size int64, r resident) {
	var f [3]int64
	n := 0
	for _, c := range b {
		if c >= '0' && c <= '9' {
			f[n] = f[n]*10 + int64(c-'0')
		} else if n++; n == len(f) {
			break
		}
	}
	file := min(f[2], f[1])
	return f[0] * m.page, resident{anon: (f[1] - file) * m.page, file: file * m.page}
}

// hugetlb is the HugetlbPages line of /proc/PID/status, in bytes.
func (m *Meter) hugetlb(e *entry) int64 {
	b, err := m.read(e.path + "/status")
	if err != nil {
		return 0
	}
	return field(b, "HugetlbPages:")
}

// sharesMemory tells whether e has the address space of another process that was seen since m.same was cleared.
func (m *Meter) sharesMemory(e *entry) bool {
	if e.now.rss() < sharedMin || len(m.list) == 1 {
		return false
	}
	key := [2]int64{e.size, e.now.rss()}
	const kcmpVM = 1 // KCMP_VM, Linux 3.5
	first := m.same[key]
	for o, n := first, 0; o != nil && n < sharedMost; o, n = o.next, n+1 {
		if r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(o.PID), uintptr(e.PID), kcmpVM, 0, 0, 0); errno == 0 && r == 0 {
			return true
		}
	}
	e.next, m.same[key] = first, e
	return false
}

// Bound returns an upper bound of the memory of the set, in bytes. It takes the cheapest that is not above enough: the sum
// of RSS, that without processes that share their memory, what goes on from the last exact reading, or the sum that counts pages of
// files once. gone tells that a process has ended since Set.
func (m *Meter) Bound(now time.Time, enough int64) (bound int64, gone bool) {
	for _, e := range m.list {
		if !m.look(e) {
			gone = true
		}
		bound += e.now.rss()
	}
	bound += m.unit.lag
	if bound <= enough {
		return bound, gone
	}
	clear(m.same)
	m.round++
	for _, e := range m.list {
		if e.shares = !e.dead && !e.gone && m.sharesMemory(e); e.shares {
			bound -= e.now.rss()
		}
	}
	if bound <= enough {
		return bound, gone
	}
	own := m.Own()
	if m.Based(now) {
		all, anon := m.sinceBase()
		bound, own = min(bound, all), min(own, anon)
	}
	if bound > enough {
		bound = m.byFiles(bound, own, enough)
	}
	return bound, gone
}

// Based tells whether there is an exact reading that a bound can go on from.
func (m *Meter) Based(now time.Time) bool { return !m.baseAt.IsZero() && now.Sub(m.baseAt) <= m.age }

const (
	costPerGiB     = 10 * time.Millisecond // of a walk of page tables (4 KiB pages)
	costPerProcess = 200 * time.Microsecond
)

// Estimate is about what an exact reading would take, as of the newest Bound.
func (m *Meter) Estimate() time.Duration {
	var rss int64
	for _, e := range m.list {
		rss += e.now.rss()
	}
	return time.Duration(float64(rss)/(1<<30)*float64(costPerGiB)) + time.Duration(len(m.list))*costPerProcess
}

// Least is what the set has at least, in bytes, as of the newest Bound, without a walk of page tables: see Certain.
func (m *Meter) Least() (bytes int64) {
	for _, e := range m.list {
		if !e.dead && !e.gone {
			bytes = max(bytes, e.now.anon)
		}
	}
	return bytes
}

// Certain is what the set has at least, as of the newest Bound, without a walk of page tables: the most anonymous memory of one process.
// It shares that only with processes that were forked in the set.
func (m *Meter) Certain() Reading {
	r := Reading{At: time.Now(), Memory: m.Least()}
	for _, e := range m.list {
		if e.dead || e.gone {
			continue
		}
		r.Processes++
		r.Upper += e.now.rss()
		r.Each = append(r.Each, Usage{ID: e.ID, Memory: e.now.anon})
	}
	return r
}

// Own is an upper bound of what the set has that is not of files, in bytes, as of the newest Bound: the sum of it.
func (m *Meter) Own() int64 {
	own := m.unit.lag
	for _, e := range m.list {
		if !e.shares && !e.gone && !e.dead {
			own += e.now.anon + e.now.pool
		}
	}
	return own
}

// sinceBase is the bound that goes on from the last exact reading, of everything and of what is not of files.
func (m *Meter) sinceBase() (all, own int64) {
	for _, e := range m.list {
		if !e.gone && !e.dead && !m.count(e) {
			e.gone, e.now = true, resident{}
		}
	}
	sum := tally{unit: m.unit, event: m.events().since(m.event0, m.swap0)}
	anon := sum
	for _, e := range m.list {
		if e.gone {
			continue // its share moves to the others; whoever waited for it has its faults
		}
		p := member{origin: m.originOf(e), now: e.now, faults: e.stat.faults, waited: e.stat.waited}
		if e.based {
			p.then = e.then
			p.faults -= e.stat0.faults
			p.waited -= e.stat0.waited
		}
		if e.shares {
			p.origin, p.then = known, e.now // only its faults are its own
		}
		sum.add(p)
		anon.add(p.own())
	}
	return sum.bound(m.base), anon.bound(m.ownBase)
}

// originOf tells what the base knows of e: nothing, if its parent may not be the one that forked it, or is none of the set.
func (m *Meter) originOf(e *entry) origin {
	if e.round == m.round {
		return e.origin
	}
	e.round, e.origin = m.round, stranger // a loop of parents, which reused pids could make, ends here
	if e.based {
		e.origin = known
	} else if o := m.set[e.stat.parent]; e.Start > m.baseEnd && o != nil && !o.gone && !o.dead && m.originOf(o) != stranger {
		e.origin = heir
	}
	return e.origin
}
