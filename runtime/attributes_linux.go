//go:build !portable

package runtime

import (
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"mlrun/bundle"
	"mlrun/runtime/launch"
	"mlrun/runtime/seccomp"
)

// attributes adds to c what the kernel keeps of a process besides its limits and its user. Package bundle has found it valid.
func attributes(c *launch.Config, b *bundle.Bundle) {
	p := b.Spec.Process
	if s := p.Scheduler; s != nil {
		c.Scheduler = &launch.Scheduler{
			Policy: policies[s.Policy], Nice: s.Nice, Priority: uint32(s.Priority), Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period,
		}
		for _, f := range s.Flags {
			c.Scheduler.Flags |= schedulerFlags[f]
		}
	}
	if io := p.IOPriority; io != nil {
		c.IOPriority = ioPriority(io.Class, io.Priority)
	}
	c.Capabilities, _ = capabilities(p.Capabilities)
	if p.ApparmorProfile != "" {
		c.Labels = append(c.Labels, launch.Label{Name: "apparmorProfile " + strconv.Quote(p.ApparmorProfile), File: appArmorFile(), Text: "exec " + p.ApparmorProfile})
	}
	if p.SelinuxLabel != "" {
		c.Labels = append(c.Labels, launch.Label{Name: "selinuxLabel " + strconv.Quote(p.SelinuxLabel), File: attrExec, Text: p.SelinuxLabel})
	}
	linux := b.Spec.Linux
	if linux == nil {
		return
	}
	if linux.Personality != nil {
		domain := uint(personalities[linux.Personality.Domain])
		c.Personality = &domain
	}
	if m := linux.MemoryPolicy; m != nil {
		nodes, _ := bundle.ParseList(m.Nodes, bundle.MaxNode) // "" gives none
		c.MemoryPolicy = &launch.MemoryPolicy{Mode: uint(memoryModes[m.Mode]), Nodes: bitSet(nodes)}
		for _, f := range m.Flags {
			c.MemoryPolicy.Mode |= uint(memoryFlags[f])
		}
	}
	filter(c, linux.Seccomp)
}

// ioPriority is a class and a level of it, from 0, the highest, to 7, in the form of ioprio_set(2).
func ioPriority(class specs.IOPriorityClass, level int) *int {
	const classShift = 13 // IOPRIO_CLASS_SHIFT of linux/ioprio.h
	n := ioClasses[class]<<classShift | level
	return &n
}

// execAffinity is process.execCPUAffinity, which the spec has for processes that are executed in a container only.
func execAffinity(a *specs.CPUAffinity) (sets [][]uint64) {
	if a == nil {
		return nil
	}
	for _, list := range []string{a.Initial, a.Final} {
		if cpus, err := bundle.ParseList(list, bundle.MaxCPU); err == nil {
			sets = append(sets, bitSet(cpus))
		}
	}
	return sets
}

// bitSet is a set in the form that the kernel takes. Without an element it is nil.
func bitSet(list []int) (set []uint64) {
	for _, n := range list {
		for len(set) <= n/64 {
			set = append(set, 0)
		}
		set[n/64] |= 1 << (n % 64)
	}
	return set
}

var (
	policies = map[specs.LinuxSchedulerPolicy]uint32{
		specs.SchedOther: unix.SCHED_NORMAL, specs.SchedFIFO: unix.SCHED_FIFO, specs.SchedRR: unix.SCHED_RR,
		specs.SchedBatch: unix.SCHED_BATCH, specs.SchedIdle: unix.SCHED_IDLE, specs.SchedDeadline: unix.SCHED_DEADLINE,
	}
	schedulerFlags = map[specs.LinuxSchedulerFlag]uint64{
		specs.SchedFlagResetOnFork: unix.SCHED_FLAG_RESET_ON_FORK, specs.SchedFlagReclaim: unix.SCHED_FLAG_RECLAIM,
		specs.SchedFlagDLOverrun: unix.SCHED_FLAG_DL_OVERRUN, specs.SchedFlagKeepPolicy: unix.SCHED_FLAG_KEEP_POLICY,
		specs.SchedFlagKeepParams: unix.SCHED_FLAG_KEEP_PARAMS, specs.SchedFlagUtilClampMin: unix.SCHED_FLAG_UTIL_CLAMP_MIN,
		specs.SchedFlagUtilClampMax: unix.SCHED_FLAG_UTIL_CLAMP_MAX,
	}
	// linux/ioprio.h
	ioClasses = map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}
	// linux/personality.h
	personalities = map[specs.LinuxPersonalityDomain]int{specs.PerLinux: 0, specs.PerLinux32: 8}
	// linux/mempolicy.h
	memoryModes = map[specs.MemoryPolicyModeType]int{
		specs.MpolDefault: 0, specs.MpolPreferred: 1, specs.MpolBind: 2, specs.MpolInterleave: 3, specs.MpolLocal: 4,
		specs.MpolPreferredMany: 5, specs.MpolWeightedInterleave: 6,
	}
	memoryFlags = map[specs.MemoryPolicyFlagType]int{
		specs.MpolFStaticNodes: 1 << 15, specs.MpolFRelativeNodes: 1 << 14, specs.MpolFNumaBalancing: 1 << 13,
	}
)

// capabilities translates process.capabilities. What the caller cannot grant is left out, and listed (runtime-spec, config.md, "Linux Process").
func capabilities(asked *specs.LinuxCapabilities) (c *launch.Capabilities, missing []string) {
	if asked == nil {
		return nil, nil
	}
	all := map[string]uint{}
	for _, known := range capability.ListKnown() {
		all["CAP_"+strings.ToUpper(known.String())] = uint(known)
	}
	seen := map[string]bool{}
	set := func(names []string, most uint64) (bits uint64) {
		for _, name := range names {
			n, known := all[name]
			if known && most&(1<<n) != 0 {
				bits |= 1 << n
			} else if !seen[name] {
				seen[name] = true
				missing = append(missing, name)
			}
		}
		return bits
	}
	own := ownCapabilities()
	c = &launch.Capabilities{}
	bounding := set(asked.Bounding, own.bounding)
	if drop := own.bounding &^ bounding; drop != 0 && own.permitted&(1<<unix.CAP_SETPCAP) != 0 {
		c.Drop = drop
	}
	c.Permitted = set(asked.Permitted, own.permitted)
	c.Effective = set(asked.Effective, c.Permitted)
	c.Inheritable = set(asked.Inheritable, own.permitted|own.inheritable)
	c.Ambient = set(asked.Ambient, c.Permitted&c.Inheritable)
	return c, missing
}

// capabilitySets are those of this process that matter to what it can grant.
type capabilitySets struct{ permitted, inheritable, bounding uint64 }

func ownCapabilities() (s capabilitySets) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) == nil {
		s.permitted = uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32
		s.inheritable = uint64(data[0].Inheritable) | uint64(data[1].Inheritable)<<32
	}
	for n := range uint(64) {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err != nil {
			break // greater than the last one
		}
		if in == 1 {
			s.bounding |= 1 << n
		}
	}
	return s
}

// attrExec is what execve changes the security context to (proc_pid_attr(5)).
const attrExec = "/proc/self/attr/exec"

// appArmorFile is AppArmor's own one if there is, since others may be in use beside it.
func appArmorFile() string {
	const own = "/proc/self/attr/apparmor/exec"
	if _, err := os.Stat(own); err == nil {
		return own
	}
	return attrExec
}

// filter adds linux.seccomp.
func filter(c *launch.Config, s *specs.LinuxSeccomp) {
	if s == nil {
		return
	}
	f, err := seccomp.Compile(s, architecture)
	if err != nil {
		return // refused by checkSeccomp
	}
	c.Seccomp = &launch.Seccomp{Flags: f.Flags}
	for _, i := range f.Program {
		c.Seccomp.Program = append(c.Seccomp.Program, launch.Instruction(i))
	}
	const admin = 1 << unix.CAP_SYS_ADMIN
	if c.NoNewPrivileges {
		return
	}
	if c.Capabilities == nil && c.SetUser && c.UID != 0 {
		c.Capabilities = &launch.Capabilities{Inheritable: ownCapabilities().inheritable} // what setresuid(2) leaves
	}
	if c.Capabilities != nil {
		c.Seccomp.Keep = admin &^ c.Capabilities.Effective
	}
}

// checkAttributes refuses what cannot be applied on this host.
func checkAttributes(b *bundle.Bundle) (p []bundle.Problem) {
	p = checkOOM(b)
	process := b.Spec.Process
	refuse := func(path, found, want string) {
		p = append(p, bundle.Problem{Path: path, Found: found, Want: want})
	}
	if name := process.ApparmorProfile; name != "" && !isEnabled("/sys/module/apparmor/parameters/enabled", "Y") {
		refuse("process.apparmorProfile", strconv.Quote(name), "nothing: AppArmor is not enabled on this host")
	}
	if name := process.SelinuxLabel; name != "" && !isEnabled("/sys/fs/selinux/enforce", "") {
		refuse("process.selinuxLabel", strconv.Quote(name), "nothing: SELinux is not enabled on this host")
	}
	if b.Spec.Linux != nil && b.Spec.Linux.Seccomp != nil {
		for _, found := range seccomp.Check(b.Spec.Linux.Seccomp, architecture) {
			path := "linux.seccomp"
			if found.Path != "" {
				path += "." + found.Path
			}
			refuse(path, found.Found, found.Want)
		}
		if !process.NoNewPrivileges && !has(unix.CAP_SYS_ADMIN) {
			refuse("process.noNewPrivileges", "false", "true: without it only CAP_SYS_ADMIN may install linux.seccomp")
		}
	}
	return p
}

// isEnabled tells whether a file begins with a text.
func isEnabled(file, text string) bool {
	b, err := os.ReadFile(file)
	return err == nil && strings.HasPrefix(string(b), text)
}

// warnings are what the caller of Run and Create is told about a bundle besides bundle.Warnings.
func warnings(b *bundle.Bundle) (list []string) {
	if _, missing := capabilities(b.Spec.Process.Capabilities); len(missing) > 0 {
		list = append(list, b.File+": process.capabilities: not granted, since the caller does not have them: "+strings.Join(missing, ", "))
	}
	if r := b.Resources; r.Weight > 0 {
		if _, ok := niceOf(r.Weight); !ok {
			list = append(list, b.File+": "+r.WeightPath+": more of the CPU than the caller has needs CAP_SYS_NICE: not given")
		}
	}
	return list
}
