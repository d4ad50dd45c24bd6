package bundle

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Resources are linux.resources besides those of memory, from wherever they
// are given.
type Resources struct {
	// Pids is how many tasks, which are processes and threads, the program and
	// all that it starts may be at once: 0 or more; nil is no limit.
	Pids     *int64
	PidsPath string // of the property that says so

	// Quota is the CPU time that all of it may use in each Period; 0 is no
	// limit. Period is from 1 ms to 1 s.
	Quota, Period time.Duration
	QuotaPath     string

	// Weight is the share of the CPU: 100 is that of a process with nice 0,
	// and half of it half as much. 0 is none.
	Weight     float64
	WeightPath string

	Idle bool  // run only when nobody else wants the CPU
	CPUs []int // processors that it may use; nil: those of the caller
	Mems []int // NUMA nodes that its memory is to come from; nil: those of the caller

	// IOWeight is the share of the disks, from 10 to 1000, or 0 for none.
	IOWeight int

	// HugePages are limits of huge pages in bytes by their size in bytes.
	HugePages []HugePages
}

// HugePages is an element of linux.resources.hugepageLimits.
type HugePages struct {
	Size, Limit int64 // bytes
}

// The bounds that the kernel has for a period of the CPU controller, and the
// period when none is given (Documentation/scheduler/sched-bwc.rst).
const (
	minPeriod     = time.Millisecond
	maxPeriod     = time.Second
	defaultPeriod = 100 * time.Millisecond
	minQuota      = time.Millisecond
)

const (
	weightOfNice0 = 100  // cpu.weight of cgroup v2,
	sharesOfNice0 = 1024 // cpu.shares of cgroup v1: what a process with nice 0 has
)

// The bounds of cpu.shares and of blockIO.weight.
const (
	MinShares, MaxShares     = 2, 1 << 18
	MinIOWeight, MaxIOWeight = 10, 1000
)

// WeightOfShares is cpu.shares as a weight of the CPU.
func WeightOfShares(n uint64) float64 { return float64(n) * weightOfNice0 / sharesOfNice0 }

// resources checks linux.resources besides memory.
func (c *checker) resources() {
	linux := c.bundle.Spec.Linux
	if linux == nil || linux.Resources == nil {
		return
	}
	n, r := c.find("linux.resources"), &c.bundle.Resources
	if p := linux.Resources.Pids; p != nil && p.Limit != nil {
		if *p.Limit < -1 {
			c.wrongMember(c.member(n, "pids"), "limit", "")
		} else if *p.Limit >= 0 {
			r.Pids, r.PidsPath = p.Limit, "linux.resources.pids.limit"
		}
	}
	if cpu := linux.Resources.CPU; cpu != nil {
		c.cpu(c.member(n, "cpu"), cpu)
	}
	if b := linux.Resources.BlockIO; b != nil && b.Weight != nil && *b.Weight != 0 {
		r.IOWeight = int(*b.Weight)
		m := c.member(n, "blockIO")
		if r.IOWeight < MinIOWeight || r.IOWeight > MaxIOWeight {
			c.wrongMember(m, "weight", "")
		} else if c.bundle.Spec.Process != nil && c.bundle.Spec.Process.IOPriority != nil {
			c.wrongHere(c.member(m, "weight"), "no process.ioPriority beside it: without cgroups it is one")
		}
	}
	seen := map[int64]bool{}
	for i, e := range c.elements(c.member(n, "hugepageLimits")) {
		if c.nodes[e].kind == object {
			c.hugePages(e, linux.Resources.HugepageLimits[i], seen)
		}
	}
	swap := int64(-1)
	for _, e := range c.entries(c.member(n, "unified")) {
		if c.nodes[e.value].kind == text {
			c.unified(e, linux.Resources.Unified[e.name], &swap)
		}
	}
	c.compareUnified(c.member(n, "unified"), swap)
}

// compareUnified checks the limits of memory against each other where one of
// them comes from unified. swap is that of cgroup v2: of swap alone.
func (c *checker) compareUnified(n int, swap int64) {
	b := c.bundle
	is := func(name string) int {
		if m := c.member(n, name); m >= 0 && c.nodes[m].flags&bad == 0 {
			return m
		}
		return -1
	}
	if m := is("memory.swap.max"); m >= 0 && swap >= 0 {
		switch {
		case b.MemoryLimit <= 0:
			c.wrongHere(m, "a memory.max beside it")
		case swap > math.MaxInt64-b.MemoryLimit:
		case b.MemorySwap > 0 && b.MemorySwap != b.MemoryLimit+swap:
			c.wrongHere(m, "what linux.resources.memory.swap comes to, or only one of both")
		default:
			b.MemorySwap = b.MemoryLimit + swap
		}
	}
	high, most := is("memory.high"), is("memory.max")
	if b.MemoryLimit > 0 && b.MemoryReservation > b.MemoryLimit {
		switch {
		case high >= 0:
			c.wrongHere(high, "at most the memory limit, "+strconv.FormatInt(b.MemoryLimit, 10))
		case most >= 0:
			c.wrongHere(most, "at least linux.resources.memory.reservation, "+strconv.FormatInt(b.MemoryReservation, 10))
		}
	}
	if b.MemorySwap > 0 && b.MemorySwap < b.MemoryLimit && most >= 0 {
		c.wrongHere(most, "at most linux.resources.memory.swap, "+strconv.FormatInt(b.MemorySwap, 10)+", which is that of memory and swap together")
	}
}

// cpu checks linux.resources.cpu.
func (c *checker) cpu(n int, cpu *specs.LinuxCPU) {
	r := &c.bundle.Resources
	if s := cpu.Shares; s != nil && *s != 0 {
		if *s < MinShares || *s > MaxShares {
			c.wrongMember(n, "shares", "")
		}
		r.Weight, r.WeightPath = WeightOfShares(*s), "linux.resources.cpu.shares"
		c.noScheduler(c.member(n, "shares"))
	}
	r.Period = defaultPeriod
	if p := cpu.Period; p != nil && *p != 0 {
		r.Period = micros(*p)
		if r.Period < minPeriod || r.Period > maxPeriod {
			c.wrongMember(n, "period", "")
		}
	}
	if q := cpu.Quota; q != nil && *q != 0 && *q != -1 {
		r.Quota, r.QuotaPath = micros(uint64(max(*q, 0))), "linux.resources.cpu.quota"
		if r.Quota < minQuota {
			c.wrongMember(n, "quota", "")
		}
	}
	if i := cpu.Idle; i != nil {
		r.Idle = *i == 1
		if *i != 0 && *i != 1 {
			c.wrongMember(n, "idle", "")
		}
		if r.Idle {
			c.noScheduler(c.member(n, "idle"))
		}
	}
	r.CPUs = c.numbers(n, "cpus", cpu.Cpus, MaxCPU)
	r.Mems = c.numbers(n, "mems", cpu.Mems, MaxNode)
	if len(r.Mems) > 0 && c.bundle.Spec.Linux.MemoryPolicy != nil {
		c.wrongHere(c.member(n, "mems"), "no linux.memoryPolicy beside it: without cgroups it is one")
	}
}

// micros is a number of microseconds, or the longest time.
func micros(n uint64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/1000)) * time.Microsecond
}

// noScheduler refuses what sets the same as process.scheduler in another way.
func (c *checker) noScheduler(n int) {
	if p := c.bundle.Spec.Process; p != nil && p.Scheduler != nil {
		c.wrongHere(n, "no process.scheduler beside it: without cgroups it is one")
	}
}

// numbers is list with what it comes to.
func (c *checker) numbers(n int, name, value string, most int) []int {
	c.list(n, name, value, most)
	if value == "" {
		return nil
	}
	list, _ := ParseList(value, most)
	return list
}

// hugePages checks an element of hugepageLimits.
func (c *checker) hugePages(n int, l specs.LinuxHugepageLimit, seen map[int64]bool) {
	size, err := int64(0), error(nil)
	if digits, ok := strings.CutSuffix(l.Pagesize, "B"); ok && strings.Trim(digits, "0123456789") != "" {
		size, err = ParseSize(digits)
	}
	if size == 0 || err != nil {
		c.wrongMember(n, "pageSize", "")
		return
	}
	if c.member(n, "limit") < 0 {
		c.wrongMember(n, "limit", "")
	}
	if seen[size] {
		c.wrongMember(n, "pageSize", "a size that is not in the list before")
	}
	seen[size] = true
	r := &c.bundle.Resources
	r.HugePages = append(r.HugePages, HugePages{Size: size, Limit: int64(min(l.Limit, math.MaxInt64))})
}

// unified takes over a key of linux.resources.unified that says in terms of
// cgroup v2 what mlrun holds; the rest is refused.
func (c *checker) unified(e entry, value string, swap *int64) {
	b, r := c.bundle, &c.bundle.Resources
	path := `linux.resources.unified["` + e.name + `"]`
	switch e.name {
	case "memory.max":
		c.unifiedBytes(e, value, &b.MemoryLimit, 1, "linux.resources.memory.limit")
	case "memory.high":
		c.unifiedBytes(e, value, &b.MemoryReservation, 1, "linux.resources.memory.reservation")
	case "memory.swap.max":
		c.unifiedBytes(e, value, swap, 0, "")
	case "pids.max":
		pids := int64(-1)
		if r.Pids != nil {
			pids = *r.Pids
		}
		c.unifiedNumber(e, value, &pids, 0, r.PidsPath)
		if r.Pids == nil && pids >= 0 {
			r.Pids, r.PidsPath = &pids, path
		}
	case "cpu.max":
		c.cpuMax(e, value, path)
	case "cpu.weight":
		w, err := strconv.ParseUint(value, 10, 16)
		switch {
		case err != nil || w < 1 || w > 10000:
			c.wrongHere(e.value, "a number from 1 to 10000, in a string")
		case r.Weight != 0 || r.Idle:
			c.wrongHere(e.value, "no linux.resources.cpu.shares or idle beside it: they say the same")
		}
		r.Weight, r.WeightPath = float64(w), path
		c.noScheduler(e.value)
	default:
		c.refuse(e.value, noCgroups+"; it knows "+unifiedKeys)
	}
}

const unifiedKeys = "memory.max, memory.high, memory.swap.max, pids.max, cpu.max and cpu.weight"

// unifiedBytes reads an amount of memory as the kernel does: a number of bytes
// with an optional suffix, or max.
func (c *checker) unifiedBytes(e entry, value string, to *int64, least int64, other string) {
	digits, shift := value, 0
	if value != "" {
		if i := strings.IndexByte("kmgt", value[len(value)-1]|0x20); i >= 0 {
			digits, shift = value[:len(value)-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case value == "max":
		n = -1
	case err != nil || n < least || n > math.MaxInt64>>shift || strings.Trim(digits, "0123456789") != "":
		c.wrongHere(e.value, `a number of bytes in a string, or "max"`)
		return
	}
	if n > 0 {
		n <<= shift
	}
	c.unifiedTake(e, n, to, other)
}

// unifiedNumber reads a number, or max.
func (c *checker) unifiedNumber(e entry, value string, to *int64, least int64, other string) {
	n, err := strconv.ParseInt(value, 10, 64)
	switch {
	case value == "max":
		n = -1
	case err != nil || n < least:
		c.wrongHere(e.value, `a number from `+strconv.FormatInt(least, 10)+` on in a string, or "max"`)
		return
	}
	c.unifiedTake(e, n, to, other)
}

// unifiedTake sets a limit that may have been given in another way, to the same.
func (c *checker) unifiedTake(e entry, n int64, to *int64, other string) {
	if *to != -1 && *to != n {
		c.wrongHere(e.value, "the same as "+other+", "+strconv.FormatInt(*to, 10)+", or only one of both")
		return
	}
	*to = n
}

// cpuMax reads cpu.max: a quota and a period in microseconds.
func (c *checker) cpuMax(e entry, value, path string) {
	r := &c.bundle.Resources
	fields := strings.Fields(value)
	quota, period, ok := time.Duration(0), defaultPeriod, len(fields) == 1 || len(fields) == 2
	if ok && fields[0] != "max" {
		n, err := strconv.ParseUint(fields[0], 10, 64)
		quota, ok = micros(n), err == nil && micros(n) >= minQuota
	}
	if len(fields) == 2 {
		n, err := strconv.ParseUint(fields[1], 10, 64)
		period = micros(n)
		ok = ok && err == nil && period >= minPeriod && period <= maxPeriod
	}
	switch {
	case !ok:
		c.wrongHere(e.value, `a quota from 1000 on or "max", and a period from 1000 to 1000000, both in microseconds, such as "50000 100000"`)
	case r.Quota != 0 && (r.Quota != quota || r.Period != period):
		c.wrongHere(e.value, "the same as linux.resources.cpu.quota and period, or only one of both")
	case quota != 0:
		r.Quota, r.Period, r.QuotaPath = quota, period, path
	}
}
