//go:build !portable

package runtime

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"

	"mlrun/admission"
	"mlrun/bundle"
	"mlrun/meter"
	"mlrun/runtime/launch"
	"mlrun/runtime/seccomp"
)

// host fills in what depends on the platform: what is compiled in as the spec asks, and of mlrun's own what works when it is tried.
func (f *Features) host() {
	yes := true
	for _, c := range capability.ListKnown() {
		f.Linux.Capabilities = append(f.Linux.Capabilities, "CAP_"+strings.ToUpper(c.String()))
	}
	known := seccomp.Known()
	f.Linux.Seccomp = &features.Seccomp{
		Enabled: &yes, Actions: known.Actions, Operators: known.Operators, Archs: known.Architectures,
		KnownFlags: known.Flags, SupportedFlags: supportedFlags(),
	}
	f.Linux.Apparmor, f.Linux.Selinux = &features.Apparmor{Enabled: &yes}, &features.Selinux{Enabled: &yes}
	f.Linux.MemoryPolicy = &features.MemoryPolicy{
		Modes: []string{"MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED", "MPOL_PREFERRED_MANY", "MPOL_LOCAL"},
		Flags: []string{"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"},
	}
	f.MLRun.Mechanisms = mechanisms()
	f.MLRun.Limits = heldLimits(f.MLRun.Mechanisms)
}

// mechanisms tries everything of the kernel's that mlrun makes use of and that it may lack or refuse.
func mechanisms() (list []Mechanism) {
	try := func(name, use string, err error) {
		m := Mechanism{Name: name, For: use, Works: err == nil}
		if err != nil {
			m.Why = err.Error()
		}
		list = append(list, m)
	}
	_, err := os.ReadFile("/proc/self/smaps_rollup")
	try("smaps_rollup", "PSS in one piece (Linux 4.14); without it smaps is added up", err)
	try("perf_event_open", "page faults as a sign of growth; without it memory is metered at deadlines", meter.ProbeEvents())
	_, err = os.ReadFile("/proc/sys/kernel/ns_last_pid")
	try("ns_last_pid", "finding out with one read that nothing was forked; without it /proc/loadavg tells", err)
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	try("pidfd_open", "signals that cannot hit another process (Linux 5.3); --pid-file needs it", err)
	if err == nil {
		defer unix.Close(pidfd)
		_, _, errno := unix.Syscall(unix.SYS_PROCESS_MRELEASE, uintptr(pidfd), 0, 0)
		try("process_mrelease", "memory of a process that was killed at once (Linux 5.15)", unless(errno, unix.EINVAL)) // it is not being killed
	}
	try("PR_SET_CHILD_SUBREAPER", "nothing gets away from its run (Linux 3.4)", trySubreaper())
	try("PIDFD_INFO_EXIT", "the exit status of a process that the caller reaps, for certain (Linux 6.15); else only if mlrun is faster", tryExitInfo())
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0)
	try("seccomp", "linux.seccomp", unless(errno, unix.EFAULT)) // there is no filter at address 0
	var sizes [3]uint16
	_, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, uintptr(unsafe.Pointer(&sizes)))
	try("seccomp notification", "SCMP_ACT_NOTIFY (Linux 5.0)", unless(errno, 0))
	try(userNamespace, "linux.resources.pids.limit held by the kernel; without it tasks are counted", tryUserNamespace())
	_, err = admission.ThisHost().Pressure()
	try("PSI", "dev.mlrun.admission.pressure (Linux 4.20)", err)
	_, err = os.Stat("/sys/kernel/security/apparmor")
	try("AppArmor", "process.apparmorProfile", err)
	_, err = os.Stat("/sys/fs/selinux/enforce")
	try("SELinux", "process.selinuxLabel", err)
	return list
}

// unless is errno, unless it is the one that shows that the call exists.
func unless(errno, fine unix.Errno) error {
	if errno == 0 || errno == fine {
		return nil
	}
	return errno
}

func trySubreaper() error {
	var before int32
	if err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&before)), 0, 0, 0); err != nil {
		return err
	}
	if err := launch.BecomeSubreaper(); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, uintptr(before), 0, 0, 0)
}

// tryExitInfo asks for the exit status of a process that somebody has waited for: one that ends at its gate.
func tryExitInfo() error {
	p, err := launch.Fork(&launch.Config{Args: []string{"/proc/self/exe"}, Terminal: -1})
	if err != nil {
		return err
	}
	pidfd, err := unix.PidfdOpen(p.PID, 0)
	endAtGate(p)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(pidfd, &info); err != nil {
		return err
	}
	if info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return ErrUnsupported
	}
	return nil
}

// supportedFlags are those that the kernel knows: with a filter at address 0 it complains about that, or else about the flag.
func supportedFlags() []string {
	list := []string{}
	for _, f := range []struct {
		name  string
		value uintptr
	}{
		{"SECCOMP_FILTER_FLAG_TSYNC", unix.SECCOMP_FILTER_FLAG_TSYNC}, {"SECCOMP_FILTER_FLAG_LOG", unix.SECCOMP_FILTER_FLAG_LOG},
		{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER},
	} {
		if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, f.value, 0); errno == unix.EFAULT {
			list = append(list, f.name)
		}
	}
	return list
}

// userNamespace is the name of that mechanism.
const userNamespace = "user namespace"

// tryUserNamespace has a process in a user namespace of its own, which ends at its gate.
func tryUserNamespace() error {
	if major, minor := kernel(); !countsByNamespace(major, minor) {
		return fmt.Errorf("processes of a user are counted in all namespaces together by Linux %d.%d", major, minor)
	}
	c := launch.Config{Args: []string{"/proc/self/exe"}, Terminal: -1, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Tasks: &launch.Tasks{Max: 1}}
	if c.UID == 0 {
		c.SetUser, c.UID, c.GID = true, overflowID, overflowID // for a program with process.user
	}
	p, err := launch.Fork(&c)
	if err != nil {
		return err
	}
	endAtGate(p)
	return nil
}

// endAtGate ends a process that launch.Fork has started, and waits for it.
func endAtGate(p *launch.Process) {
	p.Release()
	for {
		if _, err := unix.Wait4(p.PID, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// overflowID is nobody (kernel/sys.c, DEFAULT_OVERFLOWUID).
const overflowID = 65534

// heldLimits lists the limits that a bundle can have, with how they are held here.
func heldLimits(mechanisms []Mechanism) []HeldLimit {
	const resources = "linux.resources."
	pids := HeldLimit{Path: resources + "pids.limit", Held: heldKernel, By: "RLIMIT_NPROC in a user namespace"}
	for _, m := range mechanisms {
		if m.Name == userNamespace && !m.Works {
			pids.Held, pids.By = heldSampled, "looks at the number of tasks"
		}
	}
	if pids.Held == heldKernel && os.Getuid() == 0 {
		pids.Held, pids.By = heldSampled, "looks at the number of tasks; of another process.user RLIMIT_NPROC in a user namespace"
	}
	list := []HeldLimit{
		{Path: memoryPath + "limit", Held: "sampled", By: "PSS of all processes; exceeding it leads to dev.mlrun.memory.on-breach"},
		{Path: memoryPath + "swap", Held: "sampled", By: "PSS and SwapPss of all processes"},
		{Path: memoryPath + "reservation", Held: "sampled", By: "stopping all processes for moments"},
		pids,
		{Path: resources + "cpu.quota", Held: heldSampled, By: "stopping all processes for a part of each period"},
		{Path: resources + "cpu.shares", Held: heldAdvisory, By: "the nice value"},
		{Path: resources + "cpu.idle", Held: heldAdvisory, By: "SCHED_IDLE"},
		{Path: resources + "cpu.cpus", Held: heldKernel, By: "sched_setaffinity(2), which the program can change"},
		{Path: resources + "cpu.mems", Held: heldKernel, By: "set_mempolicy(2) with MPOL_BIND, which the program can change"},
		{Path: resources + "blockIO.weight", Held: heldAdvisory, By: "the I/O priority"},
		{Path: resources + "hugepageLimits", Held: heldSampled, By: "the huge pages of all processes"},
		{Path: "annotations", Name: bundle.CPUTimeAnnotation, Held: heldSampled, By: "CPU time of all processes, those that have ended as well"},
		{Path: "annotations", Name: bundle.WallTimeAnnotation, Held: heldSampled, By: "the clock"},
		{Path: "annotations", Name: bundle.HangTimeAnnotation, Held: heldSampled, By: "CPU time of all processes, which stands still"},
	}
	return append(list, heldRlimits()...)
}
