//go:build !portable

package runtime

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"mlrun/bundle"
	"mlrun/runtime/launch"
)

// resources adds to c what of linux.resources the kernel keeps of a process. Package bundle has seen to it that nothing else says the same.
func resources(c *launch.Config, r *bundle.Resources) {
	if len(r.CPUs) > 0 {
		c.Affinity = append(c.Affinity, bitSet(r.CPUs))
	}
	if len(r.Mems) > 0 {
		c.MemoryPolicy = &launch.MemoryPolicy{Mode: unix.MPOL_BIND, Nodes: bitSet(r.Mems)}
	}
	if n, ok := niceOf(r.Weight); ok {
		c.Nice = &n
	}
	if r.Idle {
		c.Scheduler = &launch.Scheduler{Policy: unix.SCHED_IDLE}
	}
	if r.IOWeight > 0 {
		c.IOPriority = ioPriority(specs.IOPRIO_CLASS_BE, ioLevel(r.IOWeight))
	}
}

// checkResources refuses what this host does not have.
func checkResources(b *bundle.Bundle) (p []bundle.Problem) {
	r := &b.Resources
	for i, h := range r.HugePages {
		kb := strconv.FormatInt(h.Size>>10, 10)
		if _, err := os.Stat("/sys/kernel/mm/hugepages/hugepages-" + kb + "kB"); err != nil {
			p = append(p, bundle.Problem{Path: fmt.Sprintf("linux.resources.hugepageLimits[%d].pageSize", i),
				Found: strconv.Quote(b.Spec.Linux.Resources.HugepageLimits[i].Pagesize), Want: "a size of huge pages that this host has: " + pageSizes()})
		}
	}
	if len(r.CPUs) > 0 {
		var own unix.CPUSet
		if unix.SchedGetaffinity(0, &own) == nil && !slices.ContainsFunc(r.CPUs, own.IsSet) {
			p = append(p, bundle.Problem{Path: "linux.resources.cpu.cpus", Found: strconv.Quote(b.Spec.Linux.Resources.CPU.Cpus),
				Want: "at least one processor that the caller may use"})
		}
	}
	p = append(p, checkNodes(b)...)
	if r.Pids != nil && b.Settings.PidsMode == bundle.PidsKernel {
		if why := noTasks(b); why != "" {
			p = append(p, bundle.Problem{Path: fmt.Sprintf("annotations[%q]", bundle.PidsModeAnnotation), Found: `"kernel"`, Want: "sampled or auto: " + why})
		}
	}
	return p
}

// checkNodes refuses memory that is to come from nodes that the caller may not use alone: set_mempolicy(2) refuses them without a reason.
func checkNodes(b *bundle.Bundle) (p []bundle.Problem) {
	linux := b.Spec.Linux
	if len(b.Resources.Mems) == 0 && (linux == nil || linux.MemoryPolicy == nil) {
		return nil
	}
	allowed, text := allowedNodes()
	if len(allowed) == 0 {
		return nil // not known
	}
	mayUse := func(node int) bool { return slices.Contains(allowed, node) }
	check := func(path, found string, nodes []int) {
		if len(nodes) > 0 && !slices.ContainsFunc(nodes, mayUse) {
			p = append(p, bundle.Problem{Path: path, Found: strconv.Quote(found), Want: "at least one memory node that the caller may use: " + text})
		}
	}
	if len(b.Resources.Mems) > 0 {
		check("linux.resources.cpu.mems", linux.Resources.CPU.Mems, b.Resources.Mems)
	}
	if linux.MemoryPolicy != nil && !slices.Contains(linux.MemoryPolicy.Flags, specs.MpolFRelativeNodes) {
		nodes, _ := bundle.ParseList(linux.MemoryPolicy.Nodes, bundle.MaxNode)
		check("linux.memoryPolicy.nodes", linux.MemoryPolicy.Nodes, nodes)
	}
	return p
}

// allowedNodes are the memory nodes of this process (proc_pid_status(5), Mems_allowed_list), or those of the machine, also as text.
func allowedNodes() (list []int, text string) {
	for _, from := range []struct{ file, before string }{{"/proc/self/status", "Mems_allowed_list:"}, {"/sys/devices/system/node/has_memory", ""}} {
		b, err := os.ReadFile(from.file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			rest, ok := strings.CutPrefix(line, from.before)
			if !ok {
				continue
			}
			text = strings.TrimSpace(rest)
			if list, err := bundle.ParseList(text, bundle.MaxNode); err == nil {
				return list, text
			}
		}
	}
	return nil, ""
}

// pageSizes lists the sizes of huge pages of this host.
func pageSizes() string {
	var list []string
	entries, _ := os.ReadDir("/sys/kernel/mm/hugepages")
	for _, e := range entries {
		kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(e.Name(), "hugepages-"), "kB"), 10, 64)
		switch {
		case kb >= 1<<20:
			list = append(list, strconv.FormatInt(kb>>20, 10)+"GB")
		case kb >= 1<<10:
			list = append(list, strconv.FormatInt(kb>>10, 10)+"MB")
		default:
			list = append(list, strconv.FormatInt(kb, 10)+"KB")
		}
	}
	if len(list) == 0 {
		return "it has none"
	}
	return strings.Join(list, ", ")
}

// noTasks is why the kernel cannot hold a limit of tasks for the bundle, as far as that is known before it is tried; "" for nothing.
func noTasks(b *bundle.Bundle) string {
	uid := uint32(os.Getuid())
	if b.UID != nil {
		uid = *b.UID
	}
	if uid == 0 {
		return "RLIMIT_NPROC does not hold for root"
	}
	if sets, _ := capabilities(b.Spec.Process.Capabilities); sets != nil && sets.Permitted != 0 {
		return "in a user namespace of its own the program would not have its process.capabilities"
	}
	if !countsByNamespace(kernel()) {
		return "Linux counts processes by user namespace since 5.14 only"
	}
	return ""
}

func countsByNamespace(major, minor int) bool { return major > 5 || major == 5 && minor >= 14 }

// kernel is the version of the kernel.
func kernel() (major, minor int) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		_, _ = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	}
	return major, minor
}
