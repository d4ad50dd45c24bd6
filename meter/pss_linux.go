package meter

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// errGrows tells that a process was not stopped although it should be.
var errGrows = errors.New("the process grows while it is read")

// ExactStopped is ExactUntil for a set that was stopped. A process that grows all the same, in a system call that does not end, is not read
// but counted as one that cannot be: a walk of its page tables would follow it to the end of what it takes.
func (m *Meter) ExactStopped(limit int64) Reading {
	m.stopped = true
	defer func() { m.stopped = false }()
	return m.ExactUntil(limit)
}

// Exact measures the set. Without live processes it is all zero.
func (m *Meter) Exact() Reading { return m.ExactUntil(0) }

// ExactUntil is Exact that ends as soon as it is known whether the set is above limit bytes, if that is > 0: when what was read
// is above it, or when the rest cannot take more than half of what is left below it (so that the bound goes on from
// there with some headroom). Reading.Partial tells.
func (m *Meter) ExactUntil(limit int64) Reading {
	r := Reading{At: time.Now()}
	p := pass{m: m, r: &r}
	p.begin()
	if limit > 0 { // the large private ones decide most
		slices.SortFunc(m.order, func(a, b *entry) int { return int(min(max(b.begin.anon-a.begin.anon, -1), 1)) })
	}
	clear(m.same)
	for i, e := range m.order {
		if limit > 0 && (p.certain() > limit || p.most+2*p.rest <= limit) {
			p.leave(m.order[i:])
			break
		}
		p.rest -= e.begin.rss()
		p.measure(e)
	}
	p.end(limit)
	clear(m.order)
	m.order = m.order[:0]
	r.Cost = time.Since(r.At)
	if m.baseAt.Equal(r.At) {
		m.age = max(minAge, ageCost*r.Cost)
	}
	return r
}

// pass is an exact reading that is being made.
type pass struct {
	m     *Meter
	r     *Reading
	event events
	pid   int
	pidOK bool
	still bool // all processes were stopped when it began

	most int64 // upper bound of what was read or looked at,
	own  int64 // and of what is not of files
	rest int64 // resident in what was not read yet
	swap int64

	upper, private, shared int64 // of those that cannot be read
	thin                   []thin
}

// thin is what a reading of one process can be short of.
type thin struct {
	rss, pss, private int64
	own               int64 // what is resident and not of files, beyond its share of that
}

func (p *pass) begin() {
	m := p.m
	m.settle()
	p.pid, p.pidOK = m.newest.Read()
	p.event = m.events()
	p.still = true
	for _, e := range m.list {
		// The faults come first: what happens between the two is counted twice, not never.
		if !e.dead && !e.gone && !m.count(e) {
			e.gone, e.now = true, resident{}
		}
		if !m.look(e) {
			continue
		}
		e.begin, e.begin0, e.read, e.read0 = e.now, e.stat, e.now, e.stat
		if e.dead {
			p.r.Zombies++
			continue
		}
		p.still = p.still && e.stat.stopped()
		p.rest += e.now.rss()
		m.order = append(m.order, e)
	}
}

// certain is what the set has at least.
func (p *pass) certain() int64 { return p.r.Memory + min(p.private+p.shared, p.upper) }

// measure reads one process.
func (p *pass) measure(e *entry) {
	m, r := p.m, p.r
	if !p.still {
		if !m.count(e) || !m.look(e) {
			e.gone, e.now = true, resident{}
			return
		}
		e.read, e.read0 = e.now, e.stat
		if e.dead {
			r.Zombies++
			return
		}
	}
	if e.shares = m.sharesMemory(e); e.shares {
		r.Processes++
		r.Each = append(r.Each, Usage{ID: e.ID, Exact: true})
		return
	}
	u, err := usage{}, error(nil)
	if rss := e.now.rss(); m.stopped && m.look(e) && e.now.rss() > rss {
		err = errGrows
	} else {
		u, err = m.pss(e)
	}
	if err == proc.ErrGone {
		return
	}
	r.Processes++
	rss := e.now.rss()
	if err != nil {
		r.Unreadable++
		p.upper += rss
		p.most += rss
		p.own += e.now.anon + e.now.pool
		p.private += m.private(e)
		p.shared = max(p.shared, e.now.file)
		r.Each = append(r.Each, Usage{ID: e.ID, Memory: rss})
		return
	}
	r.Memory += u.Memory
	r.Swap += u.Swap
	p.most += u.Memory
	p.own += u.own
	p.swap += u.swapped
	p.thin = append(p.thin, thin{max(rss, u.Memory), u.Memory, u.private, max(e.now.anon+e.now.pool-u.own, 0)})
	r.Each = append(r.Each, u.Usage)
}

// leave ends the reading before list.
func (p *pass) leave(list []*entry) {
	p.r.Partial = true
	for _, e := range list {
		if e.shares = p.m.sharesMemory(e); e.shares {
			p.r.Each = append(p.r.Each, Usage{ID: e.ID, Exact: true})
		} else {
			p.most += e.now.rss()
			p.own += e.now.anon + e.now.pool
			p.r.Each = append(p.r.Each, Usage{ID: e.ID, Memory: e.now.rss()})
		}
		p.r.Processes++
	}
}

// end sums up, and makes the reading the base of the bound, unless that would be worse than the one before.
func (p *pass) end(limit int64) {
	m, r := p.m, p.r
	r.Upper = p.most
	if moved := p.moved(); moved > 0 {
		var rss, own int64
		for _, t := range p.thin {
			rss += t.rss - t.pss
			own += t.own
		}
		r.Upper += min(moved, rss)
		p.own += min(moved, own)
	}
	r.Memory = p.certain()
	if r.Partial && r.Upper > limit || p.known() {
		return
	}
	m.base, m.ownBase, m.baseAt, m.baseEnd, m.event0, m.swap0 = r.Upper, p.own, r.At, proc.Now(), p.event, p.swap
	if r.Partial {
		m.swap0 = math.MaxInt32 << 20 // not known
	}
	for _, e := range m.list {
		e.based, e.then, e.stat0 = !e.gone, e.read, e.read0
	}
}

// known tells whether the base before says more than this reading, which was made while the set ran.
func (p *pass) known() bool {
	m := p.m
	if p.r.Upper == p.r.Memory || !m.Based(p.r.At) {
		return false
	}
	m.round++
	before, _ := m.sinceBase()
	return before <= p.r.Upper
}

// moved is by how much the sum may be short because the set was not still.
func (p *pass) moved() (sum int64) {
	m := p.m
	t := tally{unit: m.unit, event: m.events().since(p.event, p.swap)}
	still, quiet, ended := p.still, true, int64(0)
	for _, e := range m.list {
		if !e.gone && !e.dead && !m.count(e) {
			e.gone, e.now = true, resident{}
		}
		if e.gone {
			ended++ // it may have mapped anything before
			continue
		}
		still = still && (e.dead || e.stat.stopped())
		quiet = quiet && e.stat.faults == e.begin0.faults && e.stat.waited == e.begin0.waited
		sum += t.drift(e.begin, e.read, e.stat.faults-e.begin0.faults)
	}
	if !still || ended > 0 {
		ended += p.forks(quiet && ended == 0)
	}
	for _, o := range p.thin {
		sum += thinned(o.rss, o.pss, o.private, ended)
	}
	return sum
}

// forks is how many processes the set may have started since the reading began: as many as pids were allocated, unless all of
// them have parents elsewhere. Of those that have ended already nobody can tell; but a process that forks write-protects its
// memory (copy_present_pte), so it has a page fault as soon as it goes on: a quiet set did not start them.
func (p *pass) forks(quiet bool) int64 {
	const few = 64
	m := p.m
	last, ok := m.newest.Read()
	if !ok || !p.pidOK || last < p.pid {
		return math.MaxInt32 // not known, or the numbers wrapped
	}
	n := int64(last - p.pid)
	if n > few && !quiet {
		return n
	}
	for pid := last; pid > p.pid && last-pid < few; pid-- {
		b, err := m.read(string(m.fs) + "/" + strconv.Itoa(pid) + "/stat")
		if err != nil && quiet {
			continue
		}
		c, _, ok := parseStat(b)
		if err != nil || !ok || m.set[c.parent] != nil || m.set[pid] != nil {
			return n
		}
	}
	return 0
}

// private is what a process that cannot be read has for itself, as far as that is certain: of its anonymous pages, those that it
// has touched since it was forked. The others may still be its parent's. Where huge pages come without being asked for, one
// page fault says nothing about the size, and all anonymous pages count.
func (m *Meter) private(e *entry) int64 {
	if m.hugeFaults {
		return e.now.anon
	}
	return min(e.now.anon, times(e.stat.faults, m.unit.anon))
}

// usage is Usage and what the bound goes on from.
type usage struct {
	Usage
	private int64 // bytes that nobody else has
	own     int64 // bytes, of Memory, that are not of files; all of it where the kernel does not tell (before Linux 5.4)
	swapped int64 // bytes, shared ones fully
}

// pss reads what smaps_rollup, or smaps on kernels before 4.14, says. The error is ErrGone, or a permission.
func (m *Meter) pss(e *entry) (usage, error) {
	u := usage{Usage: Usage{ID: e.ID, Exact: true}}
	dir := e.path
	if b, err := m.readStatm(e); err == nil {
		if size, _ := m.parseStatm(b); size == 0 {
			tid := m.liveThread(e)
			if tid == "" {
				return u, proc.ErrGone
			}
			dir += "/task/" + tid
		}
	}
	if !m.noRollup {
		u, err := m.sum(u, dir+"/smaps_rollup")
		if err != unix.ENOENT {
			return u, err
		}
		if !m.count(e) {
			return u, proc.ErrGone
		}
		m.noRollup = true
	}
	return m.sum(u, dir+"/smaps")
}

func (m *Meter) sum(u usage, path string) (usage, error) {
	b, err := m.read(path)
	if err == unix.ESRCH {
		return u, proc.ErrGone
	}
	if err != nil {
		return u, err
	}
	pss, pool := field(b, "Pss:"), field(b, "Private_Hugetlb:")+field(b, "Shared_Hugetlb:")
	u.Memory, u.own = pss+pool, pss+pool
	if bytes.Contains(b, []byte("\nPss_Anon:")) {
		u.own = field(b, "Pss_Anon:") + pool
	}
	u.Swap = field(b, "SwapPss:")
	u.private = field(b, "Private_Clean:") + field(b, "Private_Dirty:") + pool
	u.swapped = field(b, "Swap:")
	return u, nil
}

// field sums all lines "Name:   123 kB" of b that begin with name, in bytes. The name must match from the start of the line
// to the colon: Pss: is not Pss_Dirty: (Linux 6.0) or SwapPss:.
func field(b []byte, name string) int64 {
	var sum int64
	for i := 0; i < len(b); {
		end := i
		for end < len(b) && b[end] != '\n' {
			end++
		}
		if line := b[i:end]; len(line) > len(name) && string(line[:len(name)]) == name {
			var n int64
			for _, c := range line[len(name):] {
				if c >= '0' && c <= '9' {
					n = n*10 + int64(c-'0')
				} else if n > 0 {
					break
				}
			}
			sum += n << 10
		}
		i = end + 1
	}
	return sum
}
