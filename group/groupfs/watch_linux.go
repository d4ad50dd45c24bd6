package groupfs

import (
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/group"
	"mlrun/proc"
)

// watch looks at those who have moved until close.
func (m *movers) watch() {
	defer close(m.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	wait := time.Duration(math.MaxInt64)
	for {
		if wait < math.MaxInt64 {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case <-m.over:
			return
		case <-m.wake:
		case <-timer.C:
		}
		wait = m.look()
	}
}

// look counts everybody, and acts on what the groups have decided. It returns when the next look is due.
func (m *movers) look() time.Duration {
	m.mu.Lock()
	m.scan()
	list := make([]*moved, 0, len(m.all))
	for seal, v := range m.all {
		if len(v.members) == 0 {
			v.seat.Leave()
			v.meter.Close()
			delete(m.all, seal)
			continue
		}
		list = append(list, v)
	}
	m.mu.Unlock()
	wait := time.Duration(math.MaxInt64)
	for _, v := range list {
		wait = min(wait, m.account(v))
	}
	return wait
}

// scan finds the members of all moves. Nobody is to be found in a process that has not been forked: nothing is read but the newest pid then.
func (m *movers) scan() {
	if len(m.all) == 0 {
		return
	}
	newest, ok := m.last.Read()
	if ok && newest == m.seen {
		for _, v := range m.all {
			v.members = m.living(v.members)
		}
		return
	}
	pids, err := m.fs.proc.PIDs()
	if err != nil {
		return
	}
	m.seen = newest
	for _, v := range m.all {
		v.members = v.members[:0]
	}
	for _, pid := range pids {
		l, err := rtTime(pid)
		if err != nil {
			continue // gone, or not of this user's
		}
		v := m.all[l.Max]
		if v == nil {
			continue
		}
		if st, err := m.fs.proc.Stat(pid); err == nil && !st.Ended() {
			v.members = append(v.members, st.ID())
		}
	}
	if again, ok := m.last.Read(); !ok || again != newest {
		m.seen = -1 // somebody was forked meanwhile
	}
}

// living are those of a list that are still there.
func (m *movers) living(list []proc.ID) []proc.ID {
	var left []proc.ID
	for _, id := range list {
		if m.fs.proc.Alive(id) {
			left = append(left, id)
		}
	}
	return left
}

// account measures the members of a move, says so to their group, and ends them when it has decided that.
func (m *movers) account(v *moved) time.Duration {
	m.mu.Lock()
	members := append([]proc.ID(nil), v.members...)
	m.mu.Unlock()
	v.meter.Set(members)
	now := time.Now()
	u := group.Use{Processes: int64(len(members))}
	// Without the lock: a process may wait for this very server while its memory is read.
	if v.room.Read || v.room.Memory < 0 {
		r := v.meter.Exact()
		u.Sure, u.Exact = r.Memory, true
		u.Bound = max(r.Upper, r.Memory)
	} else {
		u.Bound, _ = v.meter.Bound(now, math.MaxInt64)
		u.Sure = min(v.meter.Least(), u.Bound)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all[v.seal] != v {
		return math.MaxInt64
	}
	v.room = v.seat.Publish(u)
	v.seat.Sweep()
	if v.room.Memory < 0 || v.room.Processes < 0 {
		_ = v.seat.Settle()
	}
	if d := v.seat.Doomed(); d != nil {
		m.end(v, d)
	}
	wait := within(v.room.Memory)
	v.seat.Next(wait, false, within)
	if v.room.Read || v.doomed {
		wait = lookOften
	}
	return wait
}

// within is how soon a group with so much room has to be looked at again.
func within(room int64) time.Duration {
	if room > growth {
		return lookSeldom
	}
	return min(max(time.Duration(max(room, 0))*time.Second/growth, lookOften), lookSeldom)
}

// end kills the members of a move, those that it knows; the next look finds what they have forked meanwhile.
func (m *movers) end(v *moved, d *group.Doom) {
	if !v.doomed {
		v.doomed = true
		what := map[group.Resource]string{group.Memory: "memory (bytes)", group.Processes: "processes", group.Asked: "asked to"}[d.What]
		m.fs.log(fmt.Sprintf("group %d ends process %d and what it has forked: %s: %d, limit %d", d.Group, v.first.PID, what, d.Observed, d.Limit))
	}
	for _, id := range v.members {
		h, err := proc.OpenID(m.fs.proc, id)
		if err != nil {
			continue
		}
		if l, err := rtTime(id.PID); err == nil && l.Max == v.seal {
			_ = h.Signal(unix.SIGKILL)
		}
		h.Close()
	}
	m.seen = -1
}
