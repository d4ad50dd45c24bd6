package runtime

import (
	"fmt"
	goruntime "runtime"
	"time"

	"mlrun/bundle"
	"mlrun/limit"
)

// budget is what is asked of all limits but those of memory and process.rlimits. Times are in nanoseconds; 0 is none.
type budget struct {
	CPUTime  time.Duration      `json:"cpuTimeNs,omitempty"`
	WallTime time.Duration      `json:"wallTimeNs,omitempty"`
	HangTime time.Duration      `json:"hangTimeNs,omitempty"`
	Quota    time.Duration      `json:"quotaNs,omitempty"` // of CPU time in each
	Period   time.Duration      `json:"periodNs,omitempty"`
	Huge     []bundle.HugePages `json:"huge,omitempty"`
	Tasks    *tasks             `json:"tasks,omitempty"` // nil: no limit
}

// tasks is a limit of processes and threads.
type tasks struct {
	Max    int64 `json:"max"`
	Kernel bool  `json:"kernel"`         // held by the kernel, in a user namespace; else by looks
	Must   bool  `json:"must,omitempty"` // and by nothing else
}

// pidsName is the name of the limit of tasks in a list of limits, pidsPath where it is when nothing else says so.
const (
	pidsName = "pids"
	pidsPath = "linux.resources.pids.limit"
	idleName = "cpu idle"
)

// How limits are held.
const (
	heldKernel   = "kernel"
	heldSampled  = "sampled"
	heldAdvisory = "advisory"
)

// defaultPeriod is that of a quota of CPU time when nobody has said what it is.
const defaultPeriod = 100 * time.Millisecond

// Quota is the CPU time that a number of processors have in each period.
func Quota(cpus float64) (quota, period time.Duration) {
	return time.Duration(cpus * float64(defaultPeriod)), defaultPeriod
}

// budget is what is asked for, by the options or else by the bundle. Whether the kernel can hold the limit of tasks is not decided yet.
func (o *CreateOptions) budget() budget {
	r, s := o.Bundle.Resources, o.Bundle.Settings
	b := budget{CPUTime: s.CPUTime, WallTime: s.WallTime, HangTime: s.HangTime, Quota: r.Quota, Period: r.Period, Huge: r.HugePages}
	for _, t := range []struct{ to, from *time.Duration }{{&b.CPUTime, &o.CPUTime}, {&b.WallTime, &o.WallTime}, {&b.HangTime, &o.HangTime}} {
		if *t.from != 0 {
			*t.to = *t.from
		}
	}
	if o.CPUs > 0 {
		b.Quota, b.Period = Quota(o.CPUs)
	}
	pids := r.Pids
	if o.Pids != nil {
		pids = o.Pids
	}
	if pids != nil && *pids >= 0 {
		b.Tasks = &tasks{Max: *pids, Kernel: s.PidsMode != bundle.PidsSampled, Must: s.PidsMode == bundle.PidsKernel}
	}
	return b
}

// policy is how the limits are watched on this machine.
func (b *budget) policy() limit.Budget {
	p := limit.Budget{
		CPU: b.CPUTime, Wall: b.WallTime, Hang: b.HangTime, Quota: b.Quota, Period: b.Period, Tasks: -1, CPUs: goruntime.NumCPU(),
	}
	if b.Tasks != nil && !b.Tasks.Kernel {
		p.Tasks = b.Tasks.Max
	}
	for _, h := range b.Huge {
		p.Huge = append(p.Huge, limit.Huge(h))
	}
	return p
}

// limits lists what of them is limited.
func (b *budget) limits(o *CreateOptions) (list []Limit) {
	r := o.Bundle.Resources
	add := func(path, name, unit, held string, value int64) {
		list = append(list, Limit{Path: path, Name: name, Soft: uint64(value), Hard: uint64(value), Unit: unit, Held: held})
	}
	annotation := func(name string) string { return fmt.Sprintf("annotations[%q]", name) }
	if t := b.Tasks; t != nil {
		held := heldSampled
		if t.Kernel {
			held = heldKernel
		}
		path := r.PidsPath
		if path == "" {
			path = pidsPath
		}
		add(path, pidsName, "tasks", held, t.Max)
	}
	for _, t := range []struct {
		path, name string
		d          time.Duration
	}{
		{annotation(bundle.CPUTimeAnnotation), "cpu time", b.CPUTime},
		{annotation(bundle.WallTimeAnnotation), "wall time", b.WallTime},
		{annotation(bundle.HangTimeAnnotation), "hang time", b.HangTime},
	} {
		if t.d > 0 {
			add(t.path, t.name, "microseconds", heldSampled, t.d.Microseconds())
		}
	}
	if b.Quota > 0 {
		list = append(list, b.quota(r.QuotaPath))
	}
	for i, h := range b.Huge {
		add(fmt.Sprintf("linux.resources.hugepageLimits[%d].limit", i), fmt.Sprintf("huge pages of %d bytes", h.Size), "bytes", heldSampled, h.Limit)
	}
	return append(list, placement(r)...)
}

// quota is the limit of CPU time in each period; path is "" when it comes from nowhere in config.json.
func (b *budget) quota(path string) Limit {
	if path == "" {
		path = "linux.resources.cpu.quota"
	}
	n := uint64(b.Quota.Microseconds())
	return Limit{Path: path, Name: "cpu quota", Soft: n, Hard: n, Unit: fmt.Sprintf("microseconds in %d", b.Period.Microseconds()), Held: heldSampled}
}

// placement lists what of the resources says where and how eagerly to run, which no number of a kind limits.
func placement(r bundle.Resources) (list []Limit) {
	const cpu = "linux.resources.cpu."
	add := func(path, name, held string, value uint64) {
		list = append(list, Limit{Path: path, Name: name, Soft: value, Hard: value, Held: held})
	}
	if r.Weight > 0 {
		add(r.WeightPath, "cpu weight", heldAdvisory, uint64(max(r.Weight+0.5, 1)))
	}
	if r.Idle {
		add(cpu+"idle", idleName, heldAdvisory, 1)
	}
	if len(r.CPUs) > 0 {
		add(cpu+"cpus", "processors", heldKernel, uint64(len(r.CPUs)))
	}
	if len(r.Mems) > 0 {
		add(cpu+"mems", "memory nodes", heldKernel, uint64(len(r.Mems)))
	}
	if r.IOWeight > 0 {
		add("linux.resources.blockIO.weight", "block I/O weight", heldAdvisory, uint64(r.IOWeight))
	}
	return list
}

// decide chooses what holds the limit of tasks.
func (t *tasks) decide(b *bundle.Bundle) {
	if t != nil && t.Kernel && noTasks(b) != "" {
		t.Kernel = false
	}
}
