package meter

import (
	"fmt"
	"testing"
)

// The model has processes with page tables of three regions, and does with them what programs and the kernel do. Pages are
// counted in whole numbers: a page has pageSize bytes, which every possible number of mappings divides.
const (
	pageSize = 720720 // divided by 1 to 16
	maxSpace = 14     // address spaces: a page is mapped once in each
	around   = 4      // pages that a fault of a file maps
	hugeSize = 8      // pages of a huge page

	anonEnd = 32 // private memory is 0..anonEnd, a private mapping of a file up to fileEnd, shared memory up to space
	fileEnd = 48
	space   = 64
)

var modelUnits = units{anon: pageSize, file: around * pageSize, huge: hugeSize * pageSize}

// frame is a page of memory.
type frame struct{ anon bool }

// addresses is an address space.
type addresses struct {
	at      [space]*frame
	written bool // the private mapping of the file has copied pages: fork copies its page table
}

// task is a process.
type task struct {
	pid, start     int
	parent         *task
	mem            *addresses // nil: a zombie
	faults, waited int64
	member         bool // of the set
	outside        bool // was outside when the base was read, so it unmaps nothing
	subreaper      bool
	vforked        bool // with its parent's address space
}

// machine is all of it, with what the meter remembers.
type machine struct {
	t     *testing.T
	input []byte
	tasks []*task
	init  *task
	cache [space]*frame // pages of the file and of the shared memory
	clock int
	event events
	forks int64
	log   []string

	base    int64
	ownBase int64
	baseEnd int
	event0  events
	known   map[*task]member // then, and the counters as they were
}

func (m *machine) next() int {
	if len(m.input) == 0 {
		return 0
	}
	b := m.input[0]
	m.input = m.input[1:]
	return int(b)
}

func newMachine(t *testing.T, input []byte) *machine {
	m := &machine{t: t, input: input, init: &task{pid: 1}}
	for i := anonEnd; i < space; i++ {
		m.cache[i] = &frame{}
	}
	m.start(m.init, &addresses{}).member = true
	m.start(m.init, &addresses{}).outside = true
	m.start(m.init, &addresses{}).outside = true
	m.exact(false)
	return m
}

func (m *machine) start(parent *task, mem *addresses) *task {
	m.clock++
	m.forks++
	p := &task{pid: m.clock + 1, start: m.clock, parent: parent, mem: mem}
	m.tasks = append(m.tasks, p)
	return p
}

// pss is what a process has by its page table, and what of it is not of files.
func (m *machine) pss(p *task) (pss, private, own int64) {
	count := map[*frame]int64{}
	seen := map[*addresses]bool{}
	for _, o := range m.tasks {
		if o.mem == nil || seen[o.mem] {
			continue
		}
		seen[o.mem] = true
		for _, f := range o.mem.at {
			count[f]++
		}
	}
	for _, f := range p.mem.at {
		if f != nil {
			pss += pageSize / count[f]
			if f.anon {
				own += pageSize / count[f]
			}
			if count[f] == 1 {
				private += pageSize
			}
		}
	}
	return pss, private, own
}

func (p *task) resident() (r resident) {
	if p.mem == nil {
		return r
	}
	for _, f := range p.mem.at {
		switch {
		case f == nil:
		case f.anon:
			r.anon += pageSize
		default:
			r.file += pageSize
		}
	}
	return r
}

func (m *machine) members() (list []*task) {
	for _, p := range m.tasks {
		if p.member {
			list = append(list, p)
		}
	}
	return list
}

// truth is the memory of the set, and what of it is not of files.
func (m *machine) truth() (sum, own int64) {
	seen := map[*addresses]bool{}
	for _, p := range m.members() {
		if p.mem != nil && !seen[p.mem] {
			seen[p.mem] = true
			pss, _, anon := m.pss(p)
			sum += pss
			own += anon
		}
	}
	return sum, own
}

// exact does what Meter.Exact does; where the group runs, things happen between the readings.
func (m *machine) exact(running bool) {
	list := m.members()
	begin := make([]member, len(list))
	for i, p := range list {
		begin[i] = member{now: p.resident(), faults: p.faults}
	}
	before, forks := m.event, m.forks
	type reading struct{ rss, pss, private, ownRSS, own int64 }
	var read []reading
	seen := map[*addresses]bool{}
	m.known = map[*task]member{}
	drifts := make([]resident, len(list))
	for i, p := range list {
		if running {
			for range m.next() % 4 {
				m.step(m.next(), false)
			}
		}
		r := p.resident()
		m.known[p] = member{then: r, faults: p.faults, waited: p.waited}
		drifts[i] = r
		if p.mem == nil || seen[p.mem] {
			continue
		}
		seen[p.mem] = true
		pss, private, own := m.pss(p)
		read = append(read, reading{r.rss(), pss, private, r.anon, own})
	}
	if running {
		for range m.next() % 4 {
			m.step(m.next(), false)
		}
	}
	sum := tally{unit: modelUnits, event: events{m.event.faulted - before.faulted, m.event.collapsed - before.collapsed, 0}}
	n := m.forks - forks
	var moved int64
	for i, p := range list {
		if !m.exists(p) {
			n++
			continue
		}
		moved += sum.drift(begin[i].now, drifts[i], p.faults-begin[i].faults)
	}
	var pss, own, most, ownMost int64
	for _, r := range read {
		moved += thinned(r.rss, r.pss, r.private, n)
		pss += r.pss
		own += r.own
		most += r.rss
		ownMost += r.ownRSS
	}
	m.base, m.ownBase = min(pss+moved, most), min(own+moved, ownMost)
	m.clock++
	m.baseEnd, m.event0 = m.clock, before
	for _, p := range m.tasks {
		p.outside = !p.member
	}
	if truth, own := m.truth(); !running && (m.base != truth || m.ownBase != own) {
		m.fail("exact reading %d, %d, it has %d, %d", m.base, m.ownBase, truth, own)
	}
}

func (m *machine) exists(p *task) bool {
	for _, o := range m.tasks {
		if o == p {
			return true
		}
	}
	return false
}

// bound does what Meter.sinceBase does.
func (m *machine) bound() (all, own int64) {
	sum := tally{unit: modelUnits, event: events{m.event.faulted - m.event0.faulted, m.event.collapsed - m.event0.collapsed, 0}}
	anon := sum
	list := m.members()
	seen := map[*addresses]bool{}
	for _, p := range list {
		then := m.known[p]
		q := member{origin: m.origin(p), now: p.resident(), then: then.then, faults: p.faults - then.faults, waited: p.waited - then.waited}
		if p.mem != nil && seen[p.mem] {
			q.origin, q.then = known, q.now
		}
		seen[p.mem] = true
		sum.add(q)
		anon.add(q.own())
	}
	return sum.bound(m.base), anon.bound(m.ownBase)
}

func (m *machine) origin(p *task) origin {
	if _, ok := m.known[p]; ok {
		return known
	}
	if p.start <= m.baseEnd || !p.parent.member || p.parent.mem == nil || !m.exists(p.parent) || m.origin(p.parent) == stranger {
		return stranger
	}
	return heir
}

func (m *machine) fail(format string, args ...any) {
	m.t.Helper()
	for _, line := range m.log {
		m.t.Log(line)
	}
	for _, p := range m.tasks {
		m.t.Logf("pid %d of %d: member %v, origin %d, %+v, faults %d, waited %d, then %+v", p.pid, p.parent.pid, p.member, m.origin(p), p.resident(), p.faults, p.waited, m.known[p])
	}
	m.t.Fatalf(format, args...)
}

func (m *machine) check() {
	truth, own := m.truth()
	bound, ownBound := m.bound()
	if truth > bound || own > ownBound {
		pages := func(n int64) string { return fmt.Sprintf("%.3f", float64(n)/pageSize) }
		m.fail("bound %s pages, but the set has %s (base %s); without files %s, it has %s (base %s)",
			pages(bound), pages(truth), pages(m.base), pages(ownBound), pages(own), pages(m.ownBase))
	}
}

func (m *machine) note(p *task, format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf("%d: ", p.pid)+fmt.Sprintf(format, args...))
}

// fault makes p touch page i; write means that it writes.
func (m *machine) fault(p *task, i int, write bool) {
	as := p.mem
	f := as.at[i]
	shared := i >= fileEnd
	switch {
	case i < anonEnd && f == nil:
		as.at[i] = &frame{anon: true}
	case f != nil && f.anon:
		if !write || !m.shared(f) {
			return
		}
		as.at[i] = &frame{anon: true} // copied
	case write && !shared:
		if p.outside && f != nil {
			return
		}
		as.at[i] = &frame{anon: true}
		as.written = true
	case f == nil:
		from := i - i%around
		for k := from; k < from+around; k++ {
			if as.at[k] == nil {
				as.at[k] = m.cache[k]
			}
		}
	default:
		return
	}
	p.faults++
}

func (m *machine) shared(f *frame) bool {
	n := 0
	seen := map[*addresses]bool{}
	for _, o := range m.tasks {
		if o.mem != nil && !seen[o.mem] {
			seen[o.mem] = true
			for _, g := range o.mem.at {
				if g == f {
					n++
				}
			}
		}
	}
	return n > 1
}

func (m *machine) spaces() int {
	seen := map[*addresses]bool{}
	for _, p := range m.tasks {
		if p.mem != nil {
			seen[p.mem] = true
		}
	}
	return len(seen)
}

// step does one thing. Where not all of it can be done, nothing is.
func (m *machine) step(what int, mayRead bool) {
	m.clock++
	p := m.tasks[m.next()%len(m.tasks)]
	if p.mem == nil {
		m.wait(p)
		return
	}
	i := m.next() % space
	what %= 18
	if m.borrowed(p) && (!p.vforked || what != 10 && what != 11) {
		return // vfork: the parent waits, and the child only executes a program or ends
	}
	switch what {
	case 0, 1:
		m.note(p, "touch %d", i)
		m.fault(p, i, false)
	case 2, 3:
		m.note(p, "write %d", i)
		m.fault(p, i, true)
	case 4: // MAP_POPULATE, mlock: get_user_pages counts each fault
		end := min(i+m.next()%16, space)
		for k := i; k < end; k++ {
			m.note(p, "populate %d", k)
			m.fault(p, k, i%2 == 0)
		}
	case 5:
		m.hugeFault(p, i)
	case 6, 7:
		m.fork(p, p)
	case 8: // CLONE_PARENT
		m.fork(p, p.parent)
	case 9: // vfork
		if !p.outside {
			m.note(p, "vfork %d", m.clock+2)
			c := m.start(p, p.mem)
			c.member, c.vforked = p.member, true
		}
	case 10:
		m.exit(p)
	case 11:
		if !p.outside {
			m.note(p, "exec")
			p.mem, p.vforked = &addresses{}, false
			m.fault(p, 0, true)
			m.fault(p, anonEnd, false)
		}
	case 12, 13: // munmap, MADV_DONTNEED
		if !p.outside {
			n := 1 + m.next()%space
			m.note(p, "unmap %d pages at %d", n, i)
			for k := i; k < min(i+n, space); k++ {
				p.mem.at[k] = nil
			}
		}
	case 14: // mremap
		if to := m.next() % anonEnd; i < anonEnd && p.mem.at[to] == nil {
			m.note(p, "move %d to %d", i, to)
			p.mem.at[i], p.mem.at[to] = nil, p.mem.at[i]
		}
	case 15:
		m.collapse(p, i)
	case 16:
		if mayRead {
			m.note(p, "exact reading, running %v", i%2 == 0)
			m.exact(i%2 == 0)
			m.log = append(m.log, "read")
		}
	case 17:
		switch {
		case p.outside && i%4 == 0 && mayRead:
			m.note(p, "joins")
			p.member = true
		case !p.outside:
			m.note(p, "subreaper")
			p.subreaper = true
		}
	}
}

// borrowed tells whether an address space is shared.
func (m *machine) borrowed(p *task) bool {
	for _, o := range m.tasks {
		if o != p && o.mem == p.mem {
			return true
		}
	}
	return false
}

func (m *machine) hugeFault(p *task, i int) {
	from := i % anonEnd / hugeSize * hugeSize
	for k := from; k < from+hugeSize; k++ {
		if p.mem.at[k] != nil {
			return
		}
	}
	m.note(p, "touch a huge page at %d", from)
	for k := from; k < from+hugeSize; k++ {
		p.mem.at[k] = &frame{anon: true}
	}
	p.faults++
	m.event.faulted++
}

// collapse is what khugepaged does: it copies what is there, shared or not, and fills up.
func (m *machine) collapse(p *task, i int) {
	from := i % anonEnd / hugeSize * hugeSize
	if p.outside && p.mem.at[from] == nil {
		return
	}
	m.note(p, "collapse at %d", from)
	for k := from; k < from+hugeSize; k++ {
		p.mem.at[k] = &frame{anon: true}
	}
	m.event.collapsed++
}

// fork copies page tables of private memory, and of a private mapping only if something in it was written.
func (m *machine) fork(p, parent *task) {
	if p.outside || m.spaces() >= maxSpace || parent == m.init && parent != p && !p.member {
		return
	}
	as := &addresses{written: p.mem.written}
	for k, f := range p.mem.at {
		if k < anonEnd || k < fileEnd && as.written {
			as.at[k] = f
		}
	}
	c := m.start(parent, as)
	c.member = p.member
	m.note(p, "fork %d, child of %d", c.pid, parent.pid)
}

func (m *machine) exit(p *task) {
	if p.outside || len(m.members()) == 1 {
		return
	}
	m.note(p, "exit")
	p.mem = nil
	to := p.parent
	for to != m.init && (!to.subreaper || to.mem == nil) {
		to = to.parent
	}
	for _, c := range m.tasks {
		if c.parent == p {
			c.parent = to
		}
	}
}

func (m *machine) wait(p *task) {
	m.note(p, "is waited for by %d", p.parent.pid)
	p.parent.waited += p.faults + p.waited
	for i, o := range m.tasks {
		if o == p {
			m.tasks = append(m.tasks[:i], m.tasks[i+1:]...)
		}
	}
}

// seeds are histories that a weaker bound gets wrong, or did: what, which process, where, and more.
var seeds = []string{
	"",
	"\x00\x00\x01\x02\x00\x02\x0c\x00\x00\x05",                                 // touch, write, unmap
	"\x05\x00\x00\x06\x00\x00\x10\x00\x01\x02\x03\x04\x0c\x00\x00\x08",         // huge page, fork, read, copy, unmap
	"\x05\x00\x00\x05\x00\x08\x06\x00\x00\x0c\x00\x00\x1f",                     // faults whose memory only the child has
	"\x11\x00\x01\x06\x00\x00\x05\x03\x00\x06\x03\x00\x0a\x03\x00\x00\x03\x00", // the same by way of a subreaper
	"\x00\x00\x30\x00\x01\x30\x06\x00\x00\x10\x00\x00\x02\x00\x00\x01\x00\x30\x00\x0a\x03\x00",
	"\x11\x00\x01\x10\x00\x01\x06\x00\x00\x04\x03\x00\x0f\x06\x03\x00\x0a\x03\x00\x00\x03", // the same with small pages
	"\x06\x00\x00\x00\x03\x30\x10\x00\x00\x00\x01\x00\x00\x30\x00\x0c\x00\x30\x10",         // maps what is being read, and unmaps it
	"\x09\x00\x00\x10\x00\x01\x05\x03\x00\x0b\x03\x00\x0a\x00\x00",                         // vfork, read, fault, exec
}

func FuzzBound(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 600 {
			return
		}
		m := newMachine(t, input)
		m.check()
		if b, own := m.bound(); b != m.base || own != m.ownBase {
			t.Fatalf("bound %d of a steady group, base %d", b, m.base)
		}
		for len(m.input) > 0 {
			m.step(m.next(), true)
			m.check()
		}
		// What is steady stays at its base: tightness.
		m.exact(false)
		b, _ := m.bound()
		if truth, _ := m.truth(); b != truth {
			m.fail("bound %d of a steady group, which has %d", b, truth)
		}
	})
}

// TestRandomHistories runs more of the model than the seeds, the same each time.
func TestRandomHistories(t *testing.T) {
	state := uint64(1)
	for range 500 {
		input := make([]byte, 300)
		for i := range input {
			state = state*6364136223846793005 + 1442695040888963407
			input[i] = byte(state >> 56)
		}
		m := newMachine(t, input)
		for len(m.input) > 0 {
			m.step(m.next(), true)
			m.check()
		}
	}
}
