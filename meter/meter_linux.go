package meter

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// boundAge is how long the bound that goes on from an exact reading is trusted.
const boundAge = time.Second

// sharedMin is the resident size from which processes with equal sizes are asked whether they share their memory.
const sharedMin = 1 << 20

// sharedMost is how many address spaces of equal sizes a process is compared with: forked workers look alike.
const sharedMost = 32

// maxLag keeps the margin for counter lag useful on machines with many CPUs, where the worst case does not happen.
const maxLag = 8 << 20

// entry is one process of the set.
type entry struct {
	proc.ID
	statm int // descriptor of /proc/PID/statm, -1 to open it each time
	path  string
	dead  bool // a zombie without threads: it stays one

	size, rss, shared int64 // bytes, as of the last look; shared: file-backed and shmem pages
	rss0              int64 // RSS when the base was read, -1 when it is newer than the base
	flt0              uint64
}

// Meter measures one set of processes. It is not safe for concurrent use. Close it.
type Meter struct {
	fs       proc.FS
	page     int64
	set      map[int]*entry
	list     []*entry
	noRollup bool // Linux before 4.14
	huge     bool // the machine has a pool of huge pages
	lag      int64

	hugeFaults bool // a page fault may bring a huge page at any time
	buf        []byte
	same       map[[2]int64][]*entry // by size and RSS, one for each address space

	base   int64 // the last exact reading
	baseAt time.Time
}

// New returns a meter that reads below fs (proc.Root).
func New(fs proc.FS) *Meter {
	m := &Meter{fs: fs, page: int64(os.Getpagesize()), set: map[int]*entry{}, buf: make([]byte, 4096), same: map[[2]int64][]*entry{}}
	// Resident sizes are percpu counters since Linux 6.2: each CPU holds back up to max(32, 2 x CPUs) pages of a
	// process. (Before, each thread held back up to 64 page faults; since 6.17 statm is exact.)
	cpus := runtime.NumCPU()
	m.lag = min(int64(cpus)*int64(max(32, 2*cpus))*m.page, maxLag)
	if b, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); err == nil {
		m.hugeFaults = bytes.Contains(b, []byte("[always]"))
	}
	return m
}

// Close gives all descriptors back.
func (m *Meter) Close() { m.Set(nil) }

// Set makes ids the processes that are measured. What is known of those that stay is kept.
func (m *Meter) Set(ids []proc.ID) {
	want := make(map[int]bool, len(ids))
	for _, id := range ids {
		want[id.PID] = true
		if e := m.set[id.PID]; e != nil {
			if e.ID == id {
				continue
			}
			m.remove(e)
		}
		e := &entry{ID: id, rss0: -1, statm: -1}
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
	b, err := m.readStatm(e)
	if err != nil {
		return false
	}
	e.size, e.rss, e.shared = m.parseStatm(b)
	if e.size == 0 {
		return m.lookThreads(e)
	}
	if m.huge {
		e.rss += m.hugetlb(e)
	}
	return true
}

func (m *Meter) readStatm(e *entry) ([]byte, error) {
	if e.statm < 0 {
		// Out of descriptors when it was added: the pid may be reused, so it is checked.
		if s, err := m.fs.Stat(e.PID); err != nil || s.Start != e.Start {
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
	s, err := m.fs.Stat(e.PID)
	if err != nil || s.Start != e.Start {
		return false
	}
	if s.State == 'Z' && s.Threads <= 1 {
		e.dead = true
		return true
	}
	tid := m.liveThread(e)
	if tid == "" {
		return true
	}
	b, err := m.read(e.path + "/task/" + tid + "/statm")
	if err == nil {
		e.size, e.rss, e.shared = m.parseStatm(b)
	}
	return true
}

// liveThread is a thread of a process whose first thread ended, "" if there is none.
func (m *Meter) liveThread(e *entry) string {
	d, err := os.Open(e.path + "/task")
	if err != nil {
		return ""
	}
	defer d.Close()
	tids, _ := d.Readdirnames(-1)
	for _, tid := range tids {
		if tid == strconv.Itoa(e.PID) {
			continue
		}
		if b, err := m.read(e.path + "/task/" + tid + "/statm"); err == nil {
			if size, _, _ := m.parseStatm(b); size > 0 {
				return tid
			}
		}
	}
	return ""
}

// parseStatm parses "size resident shared ..." in pages (proc_pid_statm(5)) to bytes.
func (m *Meter) parseStatm(b []byte) (size, resident, shared int64) {
	var f [3]int64
	n := 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			f[n] = f[n]*10 + int64(c-'0')
		case n == 2:
			return f[0] * m.page, f[1] * m.page, f[2] * m.page
		default:
			n++
		}
	}
	return f[0] * m.page, f[1] * m.page, f[2] * m.page
}

// hugetlb is the HugetlbPages line of /proc/PID/status, in bytes.
func (m *Meter) hugetlb(e *entry) int64 {
	b, err := m.read(e.path + "/status")
	if err != nil {
		return 0
	}
	return field(b, "HugetlbPages:")
}

// sharesMemory tells whether e has the address space of another process that was seen in this round.
func (m *Meter) sharesMemory(e *entry) bool {
	if e.rss < sharedMin || len(m.list) == 1 {
		return false
	}
	key := [2]int64{e.size, e.rss}
	const kcmpVM = 1 // KCMP_VM, Linux 3.5
	list := m.same[key]
	for _, o := range list[:min(len(list), sharedMost)] {
		if r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(o.PID), uintptr(e.PID), kcmpVM, 0, 0, 0); errno == 0 && r == 0 {
			return true
		}
	}
	m.same[key] = append(list, e)
	return false
}

// Bound returns an upper bound of the memory of the set, in bytes. It takes the cheap one, the sum of RSS and of what the
// kernel's counters may lag behind, when that is not above enough. gone tells that a process has ended since Set.
func (m *Meter) Bound(now time.Time, enough int64) (bound int64, gone bool) {
	clear(m.same)
	for _, e := range m.list {
		if !m.look(e) {
			e.dead, e.rss = true, 0
			gone = true
			continue
		}
		if e.dead || m.sharesMemory(e) {
			continue
		}
		bound += e.rss
	}
	bound += m.lag
	if bound <= enough || m.baseAt.IsZero() || now.Sub(m.baseAt) > boundAge {
		return bound, gone
	}
	return min(bound, m.sinceBase()), gone
}

// sinceBase is the bound that goes on from the last exact reading.
func (m *Meter) sinceBase() int64 {
	sum := m.base
	for _, e := range m.list {
		if e.dead {
			continue
		}
		if e.rss0 < 0 {
			sum += e.rss
			continue
		}
		grown := max(e.rss-e.rss0, 0)
		if s, err := m.fs.Stat(e.PID); err == nil && s.MinFlt >= e.flt0 {
			grown = max(grown, int64(s.MinFlt-e.flt0)*m.page)
		}
		sum += grown
	}
	return sum
}
