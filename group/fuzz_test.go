package group

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// modelGroup and modelSeat are what FuzzTree expects of a tree, in the plainest way.
type modelGroup struct {
	parent ID
	kept   bool
	limits Limits
}

type modelSeat struct {
	seat      *Seat
	group     ID
	processes int64
	memory    int64
}

type model struct {
	groups map[ID]*modelGroup
	seats  []*modelSeat
}

// above are a group and all above it but the system's.
func (m *model) above(id ID) (list []ID) {
	for ; id != System; id = m.groups[id].parent {
		list = append(list, id)
	}
	return list
}

func (m *model) counts(id ID) (c Counts, seats int) {
	for other, g := range m.groups {
		if g.parent != System && slices.Contains(m.above(g.parent), id) || g.parent == id {
			c.Groups++
			_ = other
		}
	}
	for _, s := range m.seats {
		if slices.Contains(m.above(s.group), id) {
			c.Processes += s.processes
			c.Memory += s.memory
			seats++
		}
	}
	return c, seats
}

// clean removes what nobody refers to.
func (m *model) clean() {
	for again := true; again; {
		again = false
		for id, g := range m.groups {
			c, seats := m.counts(id)
			if !g.kept && c.Groups == 0 && seats == 0 {
				delete(m.groups, id)
				again = true
			}
		}
	}
}

// admits tells whether n more processes may come into a group, but for the groups that count them already.
func (m *model) admits(id ID, n int64, except []ID) error {
	if n == 0 {
		return nil
	}
	for _, a := range m.above(id) {
		l := m.groups[a].limits
		if slices.Contains(except, a) {
			continue
		}
		c, _ := m.counts(a)
		if l.Processes != None && c.Processes+n > l.Processes {
			return ErrProcesses
		}
		if l.Memory != None && c.Memory >= l.Memory {
			return ErrMemory
		}
	}
	return nil
}

func (m *model) create(parent ID) error {
	if parent != System && m.groups[parent] == nil {
		return ErrNotExist
	}
	for _, a := range m.above(parent) {
		if c, _ := m.counts(a); m.groups[a].limits.Groups != None && c.Groups >= m.groups[a].limits.Groups {
			return ErrGroups
		}
	}
	return nil
}

// FuzzTree carries out any sequence of changes on a tree and on the model. Both refuse the same, and are the same after each of them.
func FuzzTree(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x00\x02\x00\x03\x02\x03\x01\x03\x02\x05\x00\x01\x06\x00\x07"))
	f.Add([]byte("\x00\x01\x05\x00\x02\x15\x02\x03\x01\x03\x03\x02\x04\x00\x02\x02\x02\x02\x01\x02\x00\x01\x03\x00"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		tree, err := Look(t.TempDir() + "/none") // nobody else sees it, and nothing is written
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		m := &model{groups: map[ID]*modelGroup{}}
		for n := 0; n+3 <= len(ops) && n < 120; n += 3 {
			step(t, tree, m, ops[n]%7, ops[n+1], ops[n+2])
			m.clean()
			m.compare(t, tree)
			if t.Failed() {
				t.Fatalf("after change %d: %v", n/3, ops[n:n+3])
			}
		}
	})
}

func step(t *testing.T, tree *Tree, m *model, op, a, b byte) {
	id := ID(a%12) + 1
	amount := int64(b%8) - 1
	var got, want error
	switch op {
	case 0:
		want = m.create(id)
		var made ID
		if made, got = tree.Create(id, Change{Groups: &amount}, 0, b&8 == 0); got == nil && want == nil {
			m.groups[made] = &modelGroup{parent: id, kept: b&8 == 0, limits: Limits{amount, None, None}}
		}
	case 1:
		c := Change{Check: b&8 != 0}
		*[]**int64{&c.Groups, &c.Processes, &c.Memory}[b>>4%3] = &amount
		got, want = tree.Set(id, c), m.set(id, c)
	case 2:
		if want = m.exists(id); want == nil {
			want = m.admits(id, int64(b%4), nil)
		}
		var s *Seat
		if s, got = tree.Join(id, Member{Processes: int64(b % 4)}); got == nil && want == nil && id != System {
			m.seats = append(m.seats, &modelSeat{s, id, int64(b % 4), 0})
		}
	case 3, 4, 5:
		if len(m.seats) == 0 {
			return
		}
		i := int(a) % len(m.seats)
		got, want = seatStep(tree, m, m.seats[i], op, ID(b%12)+1, int64(b))
		if op == 3 {
			m.seats = slices.Delete(m.seats, i, i+1)
		}
	case 6:
		if want = m.exists(id); id == System {
			want = ErrSystem
		} else if want == nil {
			if c, seats := m.counts(id); c.Groups > 0 || seats > 0 {
				want = ErrBusy
			} else {
				m.groups[id].kept = false
			}
		}
		got = tree.Remove(id)
	}
	if (got == nil) != (want == nil) || want != nil && !errors.Is(got, want) {
		t.Errorf("%d %d %d: %v, want %v", op, a, b, got, want)
	}
}

func (m *model) exists(id ID) error {
	if id != System && m.groups[id] == nil {
		return ErrNotExist
	}
	return nil
}

func (m *model) set(id ID, c Change) error {
	if id == System {
		return ErrSystem
	}
	if err := m.exists(id); err != nil {
		return err
	}
	if n, _ := m.counts(id); c.Check && c.over(n) != nil {
		return ErrBelow
	}
	l := &m.groups[id].limits
	for _, v := range []struct{ from, to *int64 }{{c.Groups, &l.Groups}, {c.Processes, &l.Processes}, {c.Memory, &l.Memory}} {
		if v.from != nil {
			*v.to = *v.from
		}
	}
	return nil
}

// seatStep changes a seat: it leaves, publishes or moves.
func seatStep(tree *Tree, m *model, s *modelSeat, op byte, id ID, amount int64) (got, want error) {
	switch op {
	case 3:
		s.seat.Leave()
	case 4:
		s.processes, s.memory = amount%5, amount%9
		s.seat.Publish(Use{Bound: s.memory, Sure: s.memory, Processes: s.processes})
	case 5:
		if id == System {
			want = ErrSystem
		} else if want = m.exists(id); want == nil {
			want = m.admits(id, s.processes, m.above(s.group))
		}
		if got = s.seat.Move(id); want == nil {
			s.group = id
		}
	}
	return got, want
}

// compare compares all groups.
func (m *model) compare(t *testing.T, tree *Tree) {
	t.Helper()
	list, err := tree.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(m.groups)+1 {
		t.Errorf("%d groups, want %d", len(list)-1, len(m.groups))
	}
	for _, i := range list[1:] {
		g := m.groups[i.ID]
		if g == nil {
			t.Errorf("group %d is there", i.ID)
			continue
		}
		c, seats := m.counts(i.ID)
		if i.Parent != g.parent || i.Limits != g.limits || i.Counts != c || i.Runs != seats || i.Kept != g.kept {
			t.Errorf("group %d: %s, want parent %d, limits %v, counts %v, %d seats", i.ID, fmt.Sprintf("%+v", i), g.parent, g.limits, c, seats)
		}
	}
}
