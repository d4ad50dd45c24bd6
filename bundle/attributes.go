package bundle

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// attributes checks what the kernel keeps of a process besides its limits and
// its user. Whether the caller may set it turns out when it is set.
func (c *checker) attributes() {
	n := c.find("process")
	if n < 0 || c.nodes[n].kind != object {
		return
	}
	process := c.bundle.Spec.Process
	c.scheduler(c.member(n, "scheduler"), process.Scheduler)
	if p := process.IOPriority; p != nil {
		m := c.member(n, "ioPriority")
		c.oneOf(m, "class", string(p.Class), "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
		if p.Priority < 0 || p.Priority > 7 {
			c.wrongMember(m, "priority", "an integer from 0, the highest, to 7")
		}
	}
	if a := process.ExecCPUAffinity; a != nil {
		m := c.member(n, "execCPUAffinity")
		c.list(m, "initial", a.Initial, MaxCPU)
		c.list(m, "final", a.Final, MaxCPU)
	}
	linux := c.bundle.Spec.Linux
	if linux == nil {
		return
	}
	if p := linux.Personality; p != nil {
		m := c.find("linux.personality")
		c.oneOf(m, "domain", string(p.Domain), "LINUX", "LINUX32")
		for _, e := range c.elements(c.member(m, "flags")) {
			c.wrong(e, "nothing: the spec defines no flags")
		}
	}
	if p := linux.MemoryPolicy; p != nil {
		c.memoryPolicy(c.find("linux.memoryPolicy"), p)
	}
}

// oneOf checks a member that is one of some words.
func (c *checker) oneOf(n int, name, value string, words ...string) bool {
	if slices.Contains(words, value) {
		return true
	}
	c.wrongMember(n, name, "one of "+strings.Join(words, ", "))
	return false
}

// list checks a member that is a list of numbers, if there is one.
func (c *checker) list(n int, name, value string, most int) {
	if value == "" {
		return
	}
	if _, err := ParseList(value, most); err != nil {
		c.wrongMember(n, name, "numbers and ranges of numbers with commas between, such as 0-3,7")
	}
}

// scheduler checks process.scheduler: which of its members go with a policy is
// said by sched_setattr(2), and checked by runc in the same way.
func (c *checker) scheduler(n int, s *specs.Scheduler) {
	if s == nil {
		return
	}
	const normal, realtime = "SCHED_OTHER, SCHED_BATCH", "SCHED_FIFO, SCHED_RR"
	if !c.oneOf(n, "policy", string(s.Policy), "SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE", "SCHED_FIFO", "SCHED_RR", "SCHED_DEADLINE") {
		return
	}
	is := func(policies string) bool { return slices.Contains(strings.Split(policies, ", "), string(s.Policy)) }
	switch {
	case s.Nice != 0 && !is(normal):
		c.wrongMember(n, "nice", "0, or one of the policies "+normal)
	case s.Nice < -20 || s.Nice > 19:
		c.wrongMember(n, "nice", "an integer from -20 to 19")
	}
	switch {
	case s.Priority != 0 && !is(realtime):
		c.wrongMember(n, "priority", "0, or one of the policies "+realtime)
	case is(realtime) && (s.Priority < 1 || s.Priority > 99):
		c.wrongMember(n, "priority", "an integer from 1 to 99, the highest")
	}
	for _, m := range []struct {
		name  string
		value uint64
	}{{"runtime", s.Runtime}, {"deadline", s.Deadline}, {"period", s.Period}} {
		if m.value != 0 && s.Policy != specs.SchedDeadline {
			c.wrongMember(n, m.name, "0, or the policy SCHED_DEADLINE")
		}
	}
	for i, e := range c.elements(c.member(n, "flags")) {
		if !slices.Contains(schedulerFlags, s.Flags[i]) {
			c.wrong(e, "one of the flags of sched_setattr(2), such as SCHED_FLAG_RESET_ON_FORK")
		}
	}
}

var schedulerFlags = []specs.LinuxSchedulerFlag{
	specs.SchedFlagResetOnFork, specs.SchedFlagReclaim, specs.SchedFlagDLOverrun, specs.SchedFlagKeepPolicy,
	specs.SchedFlagKeepParams, specs.SchedFlagUtilClampMin, specs.SchedFlagUtilClampMax,
}

// memoryPolicy checks linux.memoryPolicy: which modes take nodes is said by
// set_mempolicy(2).
func (c *checker) memoryPolicy(n int, p *specs.LinuxMemoryPolicy) {
	if !c.oneOf(n, "mode", string(p.Mode), "MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE",
		"MPOL_PREFERRED", "MPOL_PREFERRED_MANY", "MPOL_LOCAL") {
		return
	}
	switch {
	case (p.Mode == specs.MpolDefault || p.Mode == specs.MpolLocal) && p.Nodes != "":
		c.wrongMember(n, "nodes", `"": `+string(p.Mode)+" takes none")
	case p.Nodes == "" && p.Mode != specs.MpolDefault && p.Mode != specs.MpolLocal && p.Mode != specs.MpolPreferred:
		c.wrongMember(n, "nodes", "NUMA nodes, such as 0-3,7")
	default:
		c.list(n, "nodes", p.Nodes, MaxNode)
	}
	for i, e := range c.elements(c.member(n, "flags")) {
		switch p.Flags[i] {
		case specs.MpolFNumaBalancing, specs.MpolFRelativeNodes, specs.MpolFStaticNodes:
		default:
			c.wrong(e, "one of MPOL_F_NUMA_BALANCING, MPOL_F_RELATIVE_NODES, MPOL_F_STATIC_NODES")
		}
	}
}

// namespaces refuses the namespaces that the program would not be in. One with
// a path that is the caller's own already is as good as none.
func (c *checker) namespaces(resolve bool) {
	linux := c.bundle.Spec.Linux
	if linux == nil {
		return
	}
	for i, e := range c.elements(c.find("linux.namespaces")) {
		if c.nodes[e].kind != object || c.isEmpty(e) {
			continue
		}
		ns := linux.Namespaces[i]
		if ns.Path != "" && (!resolve || isOwn(ns)) {
			continue
		}
		m, reason := c.member(e, "type"), noNamespaces
		if ns.Path != "" {
			m, reason = c.member(e, "path"), noNamespaces+", and this is another one"
		}
		if m < 0 {
			m = e
		}
		c.refuse(m, reason)
	}
}
