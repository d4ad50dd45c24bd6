package meter

import (
	"math"
	"reflect"
	"syscall"
	"testing"
	"time"

	"mlrun/libproc"
	"mlrun/proc"
)

// fakeTasks is a kernel like that of macOS.
type fakeTasks map[int]*fakeTask

type fakeTask struct {
	start    uint64 // of its proc.ID, and of libproc.Rusage
	usage    libproc.Rusage
	err      error // of rusage
	resident int64 // 0: refused
	state    byte
}

const (
	mib           = 1 << 20
	machineMemory = 8 << 30
)

func (f fakeTasks) rusage(pid int) (libproc.Rusage, error) {
	t := f[pid]
	switch {
	case t == nil:
		return libproc.Rusage{}, syscall.ESRCH
	case t.err != nil:
		return libproc.Rusage{}, t.err
	}
	r := t.usage
	r.Start = t.start * 24 // another clock
	return r, nil
}

func (f fakeTasks) resident(pid int) (int64, bool) {
	t := f[pid]
	return t.resident, t.resident > 0
}

func (f fakeTasks) stat(pid int) (proc.Stat, error) {
	t := f[pid]
	if t == nil {
		return proc.Stat{}, proc.ErrGone
	}
	return proc.Stat{PID: pid, Start: t.start, State: max(t.state, 'S'), Threads: 1}, nil
}

func (f fakeTasks) machine() (int64, int64) { return machineMemory, 16 << 10 }

// live is a process with a footprint of n bytes, which was once most.
func live(start uint64, n, most uint64) *fakeTask {
	return &fakeTask{start: start, usage: libproc.Rusage{Footprint: n, MaxFootprint: most}}
}

func TestFootprint(t *testing.T) {
	zombie := live(4, 500*mib, 600*mib) // whatever footprint it has
	zombie.state, zombie.usage.Exit = 'Z', 99
	refused := &fakeTask{start: 5, err: syscall.EPERM}
	sandboxed := &fakeTask{start: 6, err: syscall.EPERM, resident: 30 * mib}
	hidden := &fakeTask{start: 7, err: syscall.EPERM, state: 'Z'}
	f := fakeTasks{1: live(1, 10*mib, 90*mib), 2: live(2, 20*mib, 20*mib), 4: zombie, 5: refused, 6: sandboxed, 7: hidden, 8: live(88, mib, mib)}
	m := newFootprint(f)
	m.Set([]proc.ID{{PID: 1, Start: 1}, {PID: 2, Start: 2}, {PID: 3, Start: 3}, {PID: 4, Start: 4}, {PID: 5, Start: 5}, {PID: 6, Start: 6}, {PID: 7, Start: 7}, {PID: 8, Start: 8}})
	r := m.Exact()
	r.At, r.Cost = time.Time{}, 0
	want := Reading{
		Memory: 60*mib + 16<<10, Upper: 60*mib + machineMemory, Processes: 4, Zombies: 2, Unreadable: 2,
		Each: []Usage{
			{ID: proc.ID{PID: 1, Start: 1}, Memory: 10 * mib, Exact: true},
			{ID: proc.ID{PID: 2, Start: 2}, Memory: 20 * mib, Exact: true},
			{ID: proc.ID{PID: 5, Start: 5}, Memory: 16 << 10},
			{ID: proc.ID{PID: 6, Start: 6}, Memory: 30 * mib},
		},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	if bound, gone := m.Bound(time.Now(), 0); bound != want.Upper || !gone {
		t.Errorf("bound %d, gone %v; want %d, and that 3 and 8 are gone", bound, gone, want.Upper)
	}
	if got := m.Least(); got != 20*mib {
		t.Errorf("at least %d", got)
	}
	if got := m.Certain(); got.Memory != 20*mib || got.Upper != want.Upper || got.Processes != 4 {
		t.Errorf("certain: %+v", got)
	}
	if got := m.Own(); got != want.Upper {
		t.Errorf("own: %d", got)
	}
	if got := m.Lifetime(); got != 600*mib {
		t.Errorf("lifetime maximum: %d", got)
	}
}

// TestFootprintReuse checks that another process with the number of a member is not counted, whenever it came.
func TestFootprintReuse(t *testing.T) {
	f := fakeTasks{1: live(1, 10*mib, 10*mib)}
	m := newFootprint(f)
	id := []proc.ID{{PID: 1, Start: 1}}
	m.Set(id)
	if r := m.Exact(); r.Memory != 10*mib {
		t.Errorf("%+v", r)
	}
	f[1] = live(2, 700*mib, 700*mib)
	if r := m.Exact(); r.Memory != 0 || r.Processes != 0 || r.Upper != 0 {
		t.Errorf("another one is counted: %+v", r)
	}
	f[1].err = syscall.EPERM
	m.Set(id) // who lists it is wrong, too
	if r := m.Exact(); r.Memory != 0 || r.Processes != 0 || r.Unreadable != 0 {
		t.Errorf("another one that cannot be read is counted: %+v", r)
	}
	if m.Lifetime() != 10*mib {
		t.Errorf("lifetime maximum %d", m.Lifetime())
	}
}

// TestFootprintCredentials follows a process that executes a set-user-ID program and comes back.
func TestFootprintCredentials(t *testing.T) {
	f := fakeTasks{1: live(1, 50*mib, 50*mib)}
	m := newFootprint(f)
	m.Set([]proc.ID{{PID: 1, Start: 1}})
	m.Exact()
	f[1].err = syscall.EPERM
	if r := m.Exact(); r.Memory <= 0 || r.Memory > mib || r.Upper != machineMemory || r.Unreadable != 1 || r.Each[0].Exact {
		t.Errorf("cannot be read: %+v", r)
	}
	f[1].err = nil
	if r := m.Exact(); r.Memory != 50*mib || r.Upper != 50*mib || r.Unreadable != 0 {
		t.Errorf("can be read again: %+v", r)
	}
	delete(f, 1)
	if bound, gone := m.Bound(time.Now(), 0); bound != 0 || !gone {
		t.Errorf("gone: %d, %v", bound, gone)
	}
}

func TestFootprintSums(t *testing.T) {
	f := fakeTasks{1: live(1, math.MaxInt64, 0), 2: live(2, math.MaxInt64, 0), 3: live(3, math.MaxUint64, 0)} // the last one is -1
	m := newFootprint(f)
	if r := m.Exact(); !reflect.DeepEqual(r, Reading{At: r.At, Cost: r.Cost}) || m.Based(time.Now()) != true {
		t.Errorf("an empty set: %+v", r)
	}
	m.Set([]proc.ID{{PID: 1, Start: 1}, {PID: 2, Start: 2}, {PID: 3, Start: 3}})
	if r := m.Exact(); r.Memory != math.MaxInt64 || r.Upper != math.MaxInt64 || m.Own() != math.MaxInt64 || r.Each[2].Memory != 0 {
		t.Errorf("%+v", r)
	}
	m.Close()
	if r := m.Exact(); r.Memory != 0 || r.Processes != 0 {
		t.Errorf("closed: %+v", r)
	}
}
