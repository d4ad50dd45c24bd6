//go:build darwin || portable

package runtime

import (
	"fmt"
	"os"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"mlrun/bundle"
	"mlrun/proc"
	"mlrun/runtime/execgate"
	"mlrun/runtime/launch"
	"mlrun/runtime/store"
	"mlrun/runtime/supervise"
)

// What macOS does not have of Linux is here, refused by name. With the tag portable it is so on Linux, too: see package proc.

func mayChangeUser() bool { return os.Geteuid() == 0 }

func mayChangeGroups() bool { return os.Geteuid() == 0 }

// seal marks nobody: there is no limit that nothing comes of.
func seal(list []launch.Rlimit, _ proc.ID) []launch.Rlimit { return list }

// attributes adds nothing to c: checkAttributes has refused it.
func attributes(*launch.Config, *bundle.Bundle) {}

// resources adds to c what of linux.resources the kernel keeps of a process.
func resources(c *launch.Config, r *bundle.Resources) {
	if n, ok := niceOf(r.Weight); ok {
		c.Nice = &n
	}
}

// ioPriority is for checkResources to refuse.
func ioPriority(specs.IOPriorityClass, int) *int { return new(int) }

// execAffinity is for checkAttributes to refuse.
func execAffinity(*specs.CPUAffinity) [][]uint64 { return nil }

const onlyLinux = "nothing: this platform does not have it"

// checkAttributes refuses what is Linux's own.
func checkAttributes(b *bundle.Bundle) (p []bundle.Problem) {
	process, linux := b.Spec.Process, b.Spec.Linux
	if linux == nil {
		linux = &specs.Linux{}
	}
	for _, a := range []struct {
		asked       bool
		path, found string
	}{
		{process.OOMScoreAdj != nil, "process.oomScoreAdj", "a value"},
		{process.NoNewPrivileges, "process.noNewPrivileges", "true"},
		{process.Capabilities != nil, "process.capabilities", "an object"},
		{process.Scheduler != nil, "process.scheduler", "an object"},
		{process.IOPriority != nil, "process.ioPriority", "an object"},
		{process.ExecCPUAffinity != nil, "process.execCPUAffinity", "an object"},
		{process.ApparmorProfile != "", "process.apparmorProfile", strconv.Quote(process.ApparmorProfile)},
		{process.SelinuxLabel != "", "process.selinuxLabel", strconv.Quote(process.SelinuxLabel)},
		{linux.Personality != nil, "linux.personality", "an object"},
		{linux.MemoryPolicy != nil, "linux.memoryPolicy", "an object"},
		{linux.Seccomp != nil, "linux.seccomp", "an object"},
	} {
		if a.asked {
			p = append(p, bundle.Problem{Path: a.path, Found: a.found, Want: onlyLinux})
		}
	}
	return p
}

// checkResources refuses what is Linux's own.
func checkResources(b *bundle.Bundle) (p []bundle.Problem) {
	r := &b.Resources
	for _, a := range []struct {
		asked bool
		path  string
	}{
		{len(r.CPUs) > 0, "cpu.cpus"}, {len(r.Mems) > 0, "cpu.mems"}, {r.Idle, "cpu.idle"}, {r.IOWeight > 0, "blockIO.weight"}, {len(r.HugePages) > 0, "hugepageLimits"},
	} {
		if a.asked {
			p = append(p, bundle.Problem{Path: "linux.resources." + a.path, Found: "a value", Want: onlyLinux})
		}
	}
	if r.Pids != nil && b.Settings.PidsMode == bundle.PidsKernel {
		p = append(p, bundle.Problem{Path: fmt.Sprintf("annotations[%q]", bundle.PidsModeAnnotation), Found: `"kernel"`, Want: "sampled or auto: " + noTasks(b)})
	}
	return p
}

// warnings are what the caller of Run and Create is told about a bundle besides bundle.Warnings.
func warnings(b *bundle.Bundle) (list []string) {
	if r := b.Resources; r.Weight > 0 {
		if _, ok := niceOf(r.Weight); !ok {
			list = append(list, b.File+": "+r.WeightPath+": more of the CPU than the caller has needs root: not given")
		}
	}
	return list
}

// noTasks is why the kernel cannot hold a limit of tasks.
func noTasks(*bundle.Bundle) string { return "there are no user namespaces on this platform" }

// namespaces are none.
type namespaces struct{}

// nest puts nothing into namespaces.
func (s *session) nest(*launch.Config) (after func(pid int)) { return nil }

// held is false: limits of processes of groups are looked at.
func (s *session) held() bool { return false }

func (s *session) release() { s.spaces = nil }

// listener adds nothing: there are no filters.
func (s *session) listener(*launch.Config, *specs.Linux) {}

// execGate is never there: checkExecGate has refused it.
type execGate struct {
	gate interface{ Close() }
	told func(ExecNotice)
}

func (s *session) gateExecs(*supervise.Config) error { return execgate.ErrUnsupported }

func (s *session) gateGuest(*launch.Config) {}

func gateChild(*launch.Config, *store.Dir, *record) {}

// listenTo takes nothing over.
func (s *session) listenTo(files []int) error {
	for _, fd := range files {
		unix.Close(fd)
	}
	return execgate.ErrUnsupported
}

// checkExecGate refuses it.
func checkExecGate(o *CreateOptions) error {
	return fmt.Errorf("%s: %w", o.scopeSource(), execgate.ErrUnsupported)
}

// host adds which limits are held here, and how.
func (f *Features) host() {
	const resources = "linux.resources."
	f.MLRun.Limits = []HeldLimit{
		{Path: memoryPath + "limit", Held: heldSampled, By: "the memory of all processes; exceeding it leads to dev.mlrun.memory.on-breach"},
		{Path: memoryPath + "reservation", Held: heldSampled, By: "stopping all processes for moments"},
		{Path: pidsPath, Held: heldSampled, By: "looks at the number of tasks"},
		{Path: resources + "cpu.quota", Held: heldSampled, By: "stopping all processes for a part of each period"},
		{Path: resources + "cpu.shares", Held: heldAdvisory, By: "the nice value"},
		{Path: "annotations", Name: bundle.CPUTimeAnnotation, Held: heldSampled, By: "CPU time of all processes, those that have ended as well"},
		{Path: "annotations", Name: bundle.WallTimeAnnotation, Held: heldSampled, By: "the clock"},
		{Path: "annotations", Name: bundle.HangTimeAnnotation, Held: heldSampled, By: "CPU time of all processes, which stands still"},
	}
	f.MLRun.Limits = append(f.MLRun.Limits, heldRlimits()...)
}
