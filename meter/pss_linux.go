package meter

import (
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// Exact measures the set. Without live processes it is all zero.
func (m *Meter) Exact() Reading {
	r := Reading{At: time.Now()}
	clear(m.same)
	var upper, private, shared int64 // of those that cannot be read
	for _, e := range m.list {
		if !m.look(e) {
			e.dead, e.rss = true, 0
			continue
		}
		if e.dead {
			r.Zombies++
			continue
		}
		r.Processes++
		if s, err := m.fs.Stat(e.PID); err == nil {
			e.rss0, e.flt0 = e.rss, s.MinFlt // before the exact reading, so that nothing falls between
		}
		if m.sharesMemory(e) {
			r.Each = append(r.Each, Usage{ID: e.ID, Exact: true})
			continue
		}
		u, err := m.pss(e)
		if err == proc.ErrGone {
			r.Processes--
			continue
		}
		if err != nil {
			r.Unreadable++
			upper += e.rss
			private += m.private(e)
			shared = max(shared, e.shared)
			u = Usage{ID: e.ID, Memory: e.rss}
		} else {
			r.Memory += u.Memory
			r.Swap += u.Swap
		}
		r.Each = append(r.Each, u)
	}
	r.Upper = r.Memory + upper
	r.Memory += min(private+shared, upper)
	m.base, m.baseAt = r.Upper, r.At
	r.Cost = time.Since(r.At)
	return r
}

// private is what a process that cannot be read has for itself, as far as that is certain: of its anonymous pages, those that it
// has touched since it was forked. The others may still be its parent's. Where huge pages come without being asked for, one
// page fault says nothing about the size, and all anonymous pages count.
func (m *Meter) private(e *entry) int64 {
	anon := e.rss - min(e.shared, e.rss)
	s, err := m.fs.Stat(e.PID)
	if err != nil || m.hugeFaults {
		return anon
	}
	return min(anon, int64(s.MinFlt)*m.page)
}

// pss reads what smaps_rollup, or smaps on kernels before 4.14, says. The error is ErrGone, or a permission.
func (m *Meter) pss(e *entry) (Usage, error) {
	u := Usage{ID: e.ID, Exact: true}
	dir := e.path
	if b, err := m.readStatm(e); err == nil {
		if size, _, _ := m.parseStatm(b); size == 0 {
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
		if _, err := m.fs.Stat(e.PID); err != nil {
			return u, proc.ErrGone
		}
		m.noRollup = true
	}
	return m.sum(u, dir+"/smaps")
}

func (m *Meter) sum(u Usage, path string) (Usage, error) {
	b, err := m.read(path)
	if err == unix.ESRCH {
		return u, proc.ErrGone
	}
	if err != nil {
		return u, err
	}
	u.Memory = field(b, "Pss:") + field(b, "Private_Hugetlb:") + field(b, "Shared_Hugetlb:")
	u.Swap = field(b, "SwapPss:")
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
