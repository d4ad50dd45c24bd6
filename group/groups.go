package group

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Info is what is known of a group.
type Info struct {
	ID      ID        `json:"id"`
	Parent  ID        `json:"parent"` // 0: none; it is the system's
	Label   string    `json:"label"`
	Owner   int       `json:"owner"` // user id
	Kept    bool      `json:"kept"`  // it does not end with what refers to it
	Victim  Victim    `json:"victim"`
	Created time.Time `json:"created"`
	Limits  Limits    `json:"limits"`
	Counts  Counts    `json:"counts"`
	Seats   int       `json:"seats"` // of itself, without those of groups below it
	Runs    int       `json:"runs"`  // of itself and below
	// Kernel of the Runs have their processes limited by the kernel, the others by samples.
	Kernel int `json:"kernelRuns"`
}

// Held says how the limit of processes is held: "kernel", "sampled", or "none" without one. With a run that the kernel does not hold it is "sampled".
func (i *Info) Held() string {
	switch {
	case i.Limits.Processes == None:
		return "none"
	case i.Kernel > 0 && i.Kernel == i.Runs:
		return "kernel"
	}
	return "sampled"
}

// up returns the places of a group and of all above it, innermost first; the system's has none.
func (t *tree) up(i int) []int {
	var list []int
	for i >= 0 && i < maxItems && len(list) < maxDepth {
		list = append(list, i)
		i = int(atomic.LoadInt64(&t.group(i)[gParent]))
	}
	return list
}

// find returns the place of a group; -1 is the system's.
func (t *tree) find(id ID) (int, error) {
	if id == System {
		return -1, nil
	}
	for i := range t.count(hGroups) {
		if id > 0 && atomic.LoadInt64(&t.group(i)[gID]) == int64(id) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("group %d: %w", id, ErrNotExist)
}

// id is the number of the group at a place.
func (t *tree) id(i int) ID {
	if i < 0 || i >= maxItems {
		return System
	}
	return ID(atomic.LoadInt64(&t.group(i)[gID]))
}

func (t *tree) label(i int) string {
	g := t.group(i)
	at := atomic.LoadInt64(&g[gLabel])
	buf, n := int(at>>32)&1, min(int(at&0xffffffff), MaxLabel)
	return string(text(g[gLabels+buf*(MaxLabel/8):])[:max(n, 0)])
}

// setLabel writes the label into the buffer that is not in use, and then says so.
func (t *tree) setLabel(i int, s string) {
	g := t.group(i)
	buf := 1 - int(atomic.LoadInt64(&g[gLabel])>>32)&1
	copy(text(g[gLabels+buf*(MaxLabel/8):]), s)
	atomic.StoreInt64(&g[gLabel], int64(buf)<<32|int64(len(s)))
}

func (t *tree) apply(i int, c *Change) {
	g := t.group(i)
	if c.Label != nil {
		t.setLabel(i, *c.Label)
	}
	for _, l := range []struct {
		w int
		n *int64
	}{{gGroups, c.Groups}, {gProcesses, c.Processes}, {gMemory, c.Memory}} {
		if l.n != nil {
			atomic.StoreInt64(&g[l.w], *l.n)
		}
	}
	if c.Victim != nil {
		atomic.StoreInt64(&g[gVictim], int64(*c.Victim))
	}
}

// name is a group in an error.
func (t *tree) name(i int) string {
	if i < 0 {
		return "group 1"
	}
	if l := t.label(i); l != "" {
		return fmt.Sprintf("group %d (%s)", t.id(i), l)
	}
	return fmt.Sprintf("group %d", t.id(i))
}

// Create makes a group below parent, for a user, and keeps it until Remove if keep is true. Otherwise the group is gone with the next look at the tree that finds nothing
// that refers to it: see CreateSeat. The error is ErrGroups when a limit does not permit another group.
func (t *Tree) Create(parent ID, c Change, owner int, keep bool) (id ID, err error) {
	err = t.change(func() error {
		id, _, err = t.create(parent, &c, owner, keep)
		return err
	})
	return id, err
}

func (t *tree) create(parent ID, c *Change, owner int, keep bool) (id ID, at int, err error) {
	if err := c.check(); err != nil {
		return 0, 0, err
	}
	p, err := t.find(parent)
	if err != nil {
		return 0, 0, err
	}
	above := t.up(p)
	if t.count(hGroups) == maxItems || slices.ContainsFunc(above, func(a int) bool { return t.group(a)[gGroups] != None }) {
		t.clean() // what ended with who was in it does not count, and its place is free
		if p, err = t.find(parent); err != nil {
			return 0, 0, err
		}
	}
	if len(above) >= maxDepth-1 {
		return 0, 0, fmt.Errorf("%s: %w: groups are at most %d deep", t.name(p), ErrFull, maxDepth-1)
	}
	if len(above) > 0 {
		counts := t.below()
		for _, a := range above {
			if most := t.group(a)[gGroups]; most != None && counts[a] >= most {
				return 0, 0, fmt.Errorf("%s: %w: %d of %d; mlrun group set changes it", t.name(a), ErrGroups, counts[a], most)
			}
		}
	}
	at, err = t.place(hGroups, func(i int) bool { return t.group(i)[gID] == 0 }, groupsAt, groupSize)
	if err != nil {
		return 0, 0, err
	}
	id = ID(atomic.AddInt64(&t.head[hLastID], 1))
	g := t.group(at)
	clear(g)
	g[gParent], g[gOwner], g[gCreated] = int64(p), int64(owner), time.Now().UnixNano()
	g[gGroups], g[gProcesses], g[gMemory] = None, None, None
	if keep {
		g[gKept] = 1
	}
	t.apply(at, c)
	atomic.StoreInt64(&g[gID], int64(id))
	return id, at, nil
}

// place finds a free record, and provides a page of new ones when there is none.
func (t *tree) place(w int, free func(int) bool, at, size int) (int, error) {
	n := t.count(w)
	for i := range n {
		if free(i) {
			return i, nil
		}
	}
	if n == maxItems {
		return 0, fmt.Errorf("groups: %s: %w: %d of them", t.path(), ErrFull, maxItems)
	}
	if err := t.provide(at+n*size, size); err != nil {
		return 0, err
	}
	if w == hSeats {
		for c := range columns {
			if err := t.provide(columnsAt+(c*maxItems+n)*8, 8); err != nil {
				return 0, err
			}
		}
	}
	atomic.StoreInt64(&t.head[w], int64(n+1))
	return n, nil
}

// below counts the groups below each.
func (t *tree) below() []int64 {
	n := t.count(hGroups)
	counts := make([]int64, n)
	for i := range n {
		if t.id(i) == 0 {
			continue
		}
		for _, a := range t.up(i)[1:] {
			if a < n {
				counts[a]++
			}
		}
	}
	return counts
}

// clean frees what nobody refers to. It needs the lock.
func (t *tree) clean() {
	n := t.count(hGroups)
	refs := make([]int, n)
	parent := func(i int) int { return int(t.group(i)[gParent]) }
	ref := func(i, by int) {
		if i >= 0 && i < n {
			refs[i] += by
		}
	}
	for i := range n {
		if g := t.group(i); g[gID] != 0 {
			ref(i, int(min(max(g[gKept], 0), 1)))
			ref(parent(i), 1)
		}
	}
	for i, g := range t.column(cGroup)[:t.count(hSeats)] {
		if g == 0 {
			continue
		}
		if !t.lives(i) {
			t.vacate(i)
			continue
		}
		ref(int(g)-1, 1)
	}
	for i := range n {
		for at := i; at >= 0 && at < n && refs[at] == 0 && t.group(at)[gID] != 0; {
			up := parent(at)
			atomic.StoreInt64(&t.group(at)[gID], 0)
			ref(up, -1)
			at = up
		}
	}
}

// Set changes a group. Without Change.Check a limit may be below what is in use. Bad values change nothing.
func (t *Tree) Set(id ID, c Change) error {
	if err := c.check(); err != nil {
		return err
	}
	var under []int
	err := t.change(func() error {
		if id == System {
			return ErrSystem
		}
		i, err := t.find(id)
		if err != nil {
			return err
		}
		if c.Check {
			t.clean()
			info := t.infos(i)
			if err := c.over(info[0].Counts); err != nil {
				return fmt.Errorf("%s: %w", t.name(i), err)
			}
		}
		t.apply(i, &c)
		atomic.AddInt64(&t.head[hShape], 1) // which groups have limits is a part of it
		under = t.under(i)
		return nil
	})
	for _, k := range under { // they may be asleep, and over a limit by now
		ring(t.dir, k)
	}
	return err
}

// under are the seats of a group and of all below it.
func (t *tree) under(i int) (seats []int) {
	for k, g := range t.column(cGroup)[:t.count(hSeats)] {
		if g != 0 && slices.Contains(t.up(int(g)-1), i) {
			seats = append(seats, k)
		}
	}
	return seats
}

// Remove takes the reference back that Create has kept, so that the group is gone. The error is ErrBusy when there are seats or groups in it; then nothing
// is changed.
func (t *Tree) Remove(id ID) error {
	return t.change(func() error {
		if id == System {
			return ErrSystem
		}
		t.clean()
		i, err := t.find(id)
		if err != nil {
			return err
		}
		if info := t.infos(i)[0]; info.Counts.Groups > 0 || info.Runs > 0 || info.Seats > 0 {
			return fmt.Errorf("%s: %w: %s, %s; mlrun group kill ends them", t.name(i), ErrBusy, plural(info.Runs, "run"), plural(int(info.Counts.Groups), "group"))
		}
		atomic.StoreInt64(&t.group(i)[gKept], 0)
		t.clean()
		return nil
	})
}

// RemoveAll takes the references back of a group and of all below it. Those that are in use are gone with what uses them.
func (t *Tree) RemoveAll(id ID) error {
	return t.change(func() error {
		if id == System {
			return ErrSystem
		}
		i, err := t.find(id)
		if err != nil {
			return err
		}
		for k := range t.count(hGroups) {
			if t.id(k) != 0 && slices.Contains(t.up(k), i) {
				atomic.StoreInt64(&t.group(k)[gKept], 0)
			}
		}
		t.clean()
		return nil
	})
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// Lookup finds a group by its id, in digits, or its label. The error is ErrAmbiguous, with the ids, when more than one has the label.
func (t *Tree) Lookup(text string) (id ID, err error) {
	if text == "" {
		return 0, fmt.Errorf("group %q: %w: want an id or a label", text, ErrNotExist)
	}
	err = t.change(func() error {
		ids, alive, err := t.named(text)
		if err == nil && !alive {
			t.clean()
			ids, _, err = t.named(text)
		}
		switch {
		case err != nil:
			return err
		case len(ids) == 0:
			return fmt.Errorf("group %s: %w", quote(text), ErrNotExist)
		case len(ids) == 1:
			id = ids[0]
			return nil
		}
		slices.Sort(ids)
		return fmt.Errorf("group %s: %w: %s; choose one by its id", quote(text), ErrAmbiguous, strings.Trim(fmt.Sprint(ids), "[]"))
	})
	return id, err
}

// named are the groups that have an id, in digits, or a label, and whether it is known that all of them are there: to find out about the seats of a large tree takes longer.
func (t *tree) named(text string) (ids []ID, alive bool, err error) {
	alive = true
	if strings.Trim(text, "0123456789") == "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n <= 0 {
			return nil, true, fmt.Errorf("group %s: %w", quote(text), ErrNotExist)
		}
		at, err := t.find(ID(n))
		if err != nil {
			return nil, true, err
		}
		return []ID{ID(n)}, at < 0 || t.group(at)[gKept] != 0, nil
	}
	for i := range t.count(hGroups) {
		if t.id(i) != 0 && t.label(i) == text {
			ids, alive = append(ids, t.id(i)), alive && t.group(i)[gKept] != 0
		}
	}
	return ids, alive, nil
}

// List returns all groups, in the order of their ids, the system's first.
func (t *Tree) List() (list []Info, err error) {
	err = t.change(func() error {
		t.clean()
		list = t.infos(-1)
		return nil
	})
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.ID, b.ID) })
	return list, err
}

// Status tells about one group. Dead seats below it are not counted.
func (t *Tree) Status(id ID) (info Info, err error) {
	err = t.change(func() error {
		i, err := t.find(id)
		if err != nil {
			return err
		}
		if i < 0 {
			info = t.system()
			return nil
		}
		t.sweep(i)
		list := t.infos(i)
		if info = list[0]; !info.Kept && info.Seats == 0 && info.Counts.Groups == 0 {
			return fmt.Errorf("group %d: %w", id, ErrNotExist)
		}
		return nil
	})
	return info, err
}

func (t *tree) system() Info {
	return Info{ID: System, Kept: true, Limits: Limits{None, None, None}}
}

// infos tells about the group at a place, or with -1 about all, the system's first.
func (t *tree) infos(only int) []Info {
	n := t.count(hGroups)
	all := make([]*Info, n)
	var list []*Info
	for i := range n {
		g := t.group(i)
		if g[gID] == 0 || only >= 0 && i != only {
			continue
		}
		all[i] = &Info{
			ID: ID(g[gID]), Parent: t.id(int(g[gParent])), Label: t.label(i), Owner: int(g[gOwner]), Kept: g[gKept] != 0,
			Victim: Victim(g[gVictim]), Created: time.Unix(0, g[gCreated]).UTC(), Limits: Limits{g[gGroups], g[gProcesses], g[gMemory]},
		}
		list = append(list, all[i])
	}
	for i := range n {
		if t.id(i) == 0 {
			continue
		}
		for _, a := range t.up(i)[1:] {
			if a < n && all[a] != nil {
				all[a].Counts.Groups++
			}
		}
	}
	for k, g := range t.column(cGroup)[:t.count(hSeats)] {
		for depth, a := range t.up(int(g) - 1) {
			if a >= n || all[a] == nil {
				continue
			}
			info := all[a]
			info.Counts.Processes += t.load(cProcs, k)
			info.Counts.Memory += t.load(cBound, k)
			if depth == 0 {
				info.Seats++
			}
			if Kind(t.seat(k)[sKind]) != Handle {
				info.Runs++
				info.Kernel += int(t.load(cHeld, k))
			}
		}
	}
	var out []Info
	if only < 0 {
		out = append(out, t.system())
	}
	for _, i := range list {
		out = append(out, *i)
	}
	return out
}
