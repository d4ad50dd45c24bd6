package bundle

import (
	"strings"
	"time"
)

// Update is a change of linux.resources. What is nil stays as it is.
type Update struct {
	Memory      *int64 // bytes; -1 is none
	Reservation *int64 // bytes, soft limit; -1 is none
	Swap        *int64 // bytes of memory and swap together; -1 is none
	// Check refuses a memory limit that is exceeded already.
	Check bool

	Pids *int64 // processes and threads; -1 is none

	Quota  *time.Duration // of CPU time in each Period; -1 is none
	Period *time.Duration

	Weight   *float64 // of the CPU, as in Resources
	Idle     *bool
	CPUs     []int // processors
	IOWeight *int  // of the disks, from 10 to 1000
}

// Empty tells whether nothing is changed.
func (u *Update) Empty() bool {
	return u.Memory == nil && u.Reservation == nil && u.Swap == nil && u.Pids == nil && u.Quota == nil && u.Period == nil &&
		u.Weight == nil && u.Idle == nil && len(u.CPUs) == 0 && u.IOWeight == nil
}

// before is what comes before a change of linux.resources to make it a
// configuration.
const before = `{"linux":{"resources":`

// ParseUpdate reads a change of a container in the form of linux.resources.
// file is a name for the data in errors, each of which is an [*Error] with
// paths below linux.resources. A number that is 0 and an empty text change
// nothing, as in other runtimes; devices are passed over, since those can not
// be changed. What Update has no place for is refused by name.
func ParseUpdate(data []byte, file string) (*Update, error) {
	if _, problem := parseObject(data); problem != nil {
		return nil, &Error{File: file, Problems: []Problem{*problem}}
	}
	text := make([]byte, 0, len(before)+len(data)+2)
	text = append(append(append(text, before...), data...), "}}"...)
	t, problem := parseObject(text)
	if problem != nil { // deeper than is possible
		return nil, &Error{File: file, Problems: []Problem{*problem}}
	}
	c := newChecker(t, &Bundle{File: file, Raw: text})
	c.decode()
	u := c.update()
	c.unsupported()
	list := c.invalid
	for _, p := range c.refused {
		if !strings.HasPrefix(p.Path, resourcesPath+"devices") {
			p.Unsupported, p.Want = false, "nothing there: "+p.Want
			list = append(list, p)
		}
	}
	for i := range list {
		list[i].Path = strings.TrimPrefix(list[i].Path, resourcesPath)
	}
	if len(list) > 0 {
		return nil, &Error{File: file, Problems: list}
	}
	return u, nil
}

const resourcesPath = "linux.resources."

// update checks linux.resources as a change of them.
func (c *checker) update() *Update {
	u := &Update{}
	linux := c.bundle.Spec.Linux
	if linux == nil || linux.Resources == nil {
		return u
	}
	r, n := linux.Resources, c.find("linux.resources")
	if m := r.Memory; m != nil {
		c.updateMemory(c.member(n, "memory"), u)
	}
	c.resources()
	c.refuseUpdates(n)
	b := c.bundle
	if p := r.Pids; p != nil && p.Limit != nil && *p.Limit != 0 {
		u.Pids = p.Limit
	}
	if _, ok := r.Unified["pids.max"]; ok && b.Resources.Pids != nil {
		u.Pids = b.Resources.Pids
	}
	if cpu := r.CPU; cpu != nil {
		if cpu.Period != nil && *cpu.Period != 0 {
			u.Period = &b.Resources.Period
		}
		if cpu.Quota != nil && *cpu.Quota == -1 {
			u.Quota = none[time.Duration]()
		}
		if cpu.Idle != nil {
			u.Idle = &b.Resources.Idle
		}
	}
	if b.Resources.Quota > 0 {
		u.Quota = &b.Resources.Quota
	}
	if b.Resources.Weight > 0 {
		u.Weight = &b.Resources.Weight
	}
	u.CPUs = b.Resources.CPUs
	if b.Resources.IOWeight > 0 {
		u.IOWeight = &b.Resources.IOWeight
	}
	c.updateUnified(r.Unified, u)
	return u
}

func none[T ~int64]() *T {
	n := T(-1)
	return &n
}

// updateMemory takes over linux.resources.memory, node n.
func (c *checker) updateMemory(n int, u *Update) {
	m, b := c.bundle.Spec.Linux.Resources.Memory, c.bundle
	for _, v := range []struct {
		name  string
		value *int64
		to    **int64
		known *int64 // to what unified says
	}{
		{"limit", m.Limit, &u.Memory, &b.MemoryLimit}, {"reservation", m.Reservation, &u.Reservation, &b.MemoryReservation},
		{"swap", m.Swap, &u.Swap, &b.MemorySwap},
	} {
		switch {
		case v.value == nil || *v.value == 0:
		case *v.value < -1:
			c.wrongHere(c.member(n, v.name), "an integer number of bytes, -1 for unlimited, or 0 to leave it")
		default:
			*v.to, *v.known = v.value, *v.value
		}
	}
	u.Check = m.CheckBeforeUpdate != nil && *m.CheckBeforeUpdate
}

// updateUnified takes over what linux.resources.unified says with a word.
func (c *checker) updateUnified(unified map[string]string, u *Update) {
	b := c.bundle
	for _, v := range []struct {
		key   string
		value int64
		to    **int64
	}{{"memory.max", b.MemoryLimit, &u.Memory}, {"memory.high", b.MemoryReservation, &u.Reservation}, {"memory.swap.max", b.MemorySwap, &u.Swap}} {
		if _, ok := unified[v.key]; ok {
			*v.to = &v.value
		}
	}
	if unified["pids.max"] == "max" {
		u.Pids = none[int64]()
	}
	if s, ok := unified["cpu.max"]; ok {
		u.Period = &b.Resources.Period
		if strings.HasPrefix(strings.TrimSpace(s), "max") {
			u.Quota, u.Period = none[time.Duration](), nil
		}
	}
}

// refuseUpdates refuses what a bundle may have, and a change may not. n is
// linux.resources.
func (c *checker) refuseUpdates(n int) {
	const fixed = "it is what it was when the container was created"
	for _, r := range []struct{ in, name, why string }{
		{"memory", "disableOOMKiller", fixed},
		{"cpu", "mems", "a process can change its memory policy only by itself"},
		{"", "hugepageLimits", fixed},
	} {
		in := n
		if r.in != "" {
			in = c.member(n, r.in)
		}
		if m := c.member(in, r.name); m >= 0 && !c.isEmpty(m) {
			c.refuse(m, r.why)
		}
	}
}
