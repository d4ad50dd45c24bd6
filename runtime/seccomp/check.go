package seccomp

import (
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Flags of seccomp(2), linux/seccomp.h.
const (
	flagTsync             specs.LinuxSeccompFlag = "SECCOMP_FILTER_FLAG_TSYNC" // in the text of the runtime-spec, without a constant
	flagLog                                      = 1 << 1
	flagSpecAllow                                = 1 << 2
	flagWaitKillableRecv                         = 1 << 5
	maxIndex                                     = 5 // system calls have at most 6 arguments
	maxFound                                     = 60
	wantErrno                                    = "an errno from 0 to 4095"
	wantNoErrno                                  = "none: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE return a value"
	wantAnotherThanNotify                        = ": mlrun needs it to pass the listener on, after the filter is installed"
)

// config is a configuration as values of the kernel.
type config struct {
	archs    []*arch // the native one first
	def      uint32  // the default action
	enosys   bool    // calls newer than the profile fail with ENOSYS
	flags    uintptr
	listener bool
	entries  []entry // of syscalls, one each
}

// entry is one of syscalls.
type entry struct {
	action uint32
	conds  [][]condition // each of them is a rule; one without conditions for no args
}

// checker collects problems.
type checker struct {
	spec     *specs.LinuxSeccomp
	problems []Problem
	known    []bool // whether an architecture of the filter knows a name, for all names of all of syscalls in their order
}

func (c *checker) add(path, found, want string) {
	c.problems = append(c.problems, Problem{path, found, want})
}

// config reads all but the names of system calls. What it returns is whole only if there are no problems.
func (c *checker) config(goarch string) *config {
	conf := &config{archs: c.archs(goarch)}
	conf.def = c.action("defaultAction", c.spec.DefaultAction, "defaultErrnoRet", c.spec.DefaultErrnoRet)
	// runc libcontainer/seccomp/patchbpf/enosys_linux.go, isAllowAction
	conf.enosys = !slices.Contains([]specs.LinuxSeccompAction{specs.ActAllow, specs.ActLog, specs.ActTrace}, c.spec.DefaultAction)
	if c.spec.DefaultAction == specs.ActNotify {
		c.add("defaultAction", quote(string(specs.ActNotify)), "another action, since it is that of sendmsg too"+wantAnotherThanNotify)
	}
	for i := range c.spec.Syscalls {
		conf.entries = append(conf.entries, c.entry(i))
		conf.listener = conf.listener || c.spec.Syscalls[i].Action == specs.ActNotify
	}
	conf.flags = c.flags(conf.listener)
	c.listener(conf.listener)
	return conf
}

// archs returns the native architecture, and those listed that the machine can run.
func (c *checker) archs(goarch string) []*arch {
	first := native(goarch)
	if first == nil {
		c.add("architectures", "a machine of the kind "+quote(goarch),
			"one of amd64, 386, arm64, arm and riscv64: there is no table of system calls of others")
	}
	listed := map[*arch]bool{}
	for i, name := range c.spec.Architectures {
		a, ok := byName(name)
		if !ok {
			c.add(path("architectures", i), quote(string(name)), "an architecture of the runtime-spec, such as SCMP_ARCH_X86_64")
		}
		listed[a] = true
	}
	if first == nil {
		return nil
	}
	result := []*arch{first}
	for i := range archs {
		if a := &archs[i]; a != first && a.family == first.family && listed[a] {
			result = append(result, a)
		}
	}
	return result
}

// actions are the values that actions return, and the greatest errno that can be put beside them.
var actions = [...]struct {
	name  specs.LinuxSeccompAction
	ret   uint32
	errno uint // 0 for an action without one
}{
	{specs.ActKill, retKillThread, 0}, // libseccomp: SCMP_ACT_KILL is SCMP_ACT_KILL_THREAD
	{specs.ActKillThread, retKillThread, 0},
	{specs.ActKillProcess, retKillProcess, 0},
	{specs.ActTrap, retTrap, 0},
	{specs.ActErrno, retErrno, maxErrno},
	{specs.ActTrace, retTrace, 1<<16 - 1},
	{specs.ActAllow, retAllow, 0},
	{specs.ActLog, retLog, 0},
	{specs.ActNotify, retNotify, 0},
}

// action returns the value of an action with its errno, EPERM by default. Where there is none to have, the runtime-spec has the runtime fail
// (config-linux.md, errnoRet); runc ignores it.
func (c *checker) action(path string, action specs.LinuxSeccompAction, errnoPath string, errno *uint) uint32 {
	for _, a := range actions {
		switch {
		case a.name != action:
			continue
		case errno == nil && a.errno > 0:
			return a.ret | eperm
		case errno == nil:
			return a.ret
		case a.errno == 0:
			c.add(errnoPath, strconv.FormatUint(uint64(*errno), 10)+" with "+string(action), wantNoErrno)
		case *errno > a.errno && action == specs.ActErrno:
			c.add(errnoPath, strconv.FormatUint(uint64(*errno), 10), wantErrno)
		case *errno > a.errno:
			c.add(errnoPath, strconv.FormatUint(uint64(*errno), 10), "a value of 16 bits for the tracer")
		}
		return a.ret | uint32(*errno)
	}
	c.add(path, found(string(action)), "an action: SCMP_ACT_ALLOW, ERRNO, KILL, KILL_PROCESS, KILL_THREAD, LOG, NOTIFY, TRACE or TRAP")
	return 0
}

// entry reads syscalls[i].
func (c *checker) entry(i int) entry {
	call := &c.spec.Syscalls[i]
	at := path("syscalls", i)
	e := entry{action: c.action(at+".action", call.Action, at+".errnoRet", call.ErrnoRet)}
	if len(call.Names) == 0 {
		c.add(at+".names", "nothing", "the names of system calls, at least one")
	}
	for j, name := range call.Names {
		switch {
		case name == "":
			c.add(path(at+".names", j), `""`, "the name of a system call")
		case name == "sendmsg" && call.Action == specs.ActNotify:
			c.add(path(at+".names", j), `"sendmsg" with SCMP_ACT_NOTIFY`, "another action for it"+wantAnotherThanNotify)
		}
	}
	e.conds = c.conditions(at, call.Args)
	return e
}

// conditions reads args: one rule, or one each if an argument is named more than once.
func (c *checker) conditions(at string, args []specs.LinuxSeccompArg) [][]condition {
	var all []condition
	alone := false
	for i, arg := range args {
		op := slices.IndexFunc(operators[:], func(o operator) bool { return o.name == arg.Op })
		switch {
		case arg.Index > maxIndex:
			c.add(path(at+".args", i)+".index", strconv.FormatUint(uint64(arg.Index), 10), "the index of an argument, from 0 to 5")
		case op >= 0:
			cond := condition{index: uint32(arg.Index), op: &operators[op], value: arg.Value, mask: ^uint64(0)}
			if cond.op.masked {
				cond.value, cond.mask = arg.ValueTwo, arg.Value
			}
			alone = alone || slices.ContainsFunc(all, func(o condition) bool { return o.index == cond.index })
			all = append(all, cond)
		}
		if op < 0 {
			c.add(path(at+".args", i)+".op", found(string(arg.Op)), "a comparison: SCMP_CMP_EQ, NE, LT, LE, GT, GE or MASKED_EQ")
		}
	}
	if !alone {
		return [][]condition{all}
	}
	return slices.Collect(slices.Chunk(all, 1))
}

// flags reads flags. Without any, not even an empty list, they are what they are to runc: SPEC_ALLOW (libcontainer/specconv/spec_linux.go,
// SetupSeccomp), which leaves speculation as it is outside of filters. That is also the kernel's own default since Linux 5.16.
func (c *checker) flags(listener bool) (flags uintptr) {
	if c.spec.Flags == nil {
		return flagSpecAllow
	}
	for i, flag := range c.spec.Flags {
		switch flag {
		case flagTsync: // has no effect: the filter is for a process of one thread
		case specs.LinuxSeccompFlagLog:
			flags |= flagLog
		case specs.LinuxSeccompFlagSpecAllow:
			flags |= flagSpecAllow
		case specs.LinuxSeccompFlagWaitKillableRecv:
			flags |= flagWaitKillableRecv
			if !listener { // the kernel's EINVAL (kernel/seccomp.c, seccomp_set_mode_filter)
				c.add(path("flags", i), quote(string(flag)), "an action SCMP_ACT_NOTIFY with it, or not this flag")
			}
		default:
			c.add(path("flags", i), quote(string(flag)), "SECCOMP_FILTER_FLAG_LOG, SPEC_ALLOW, TSYNC or WAIT_KILLABLE_RECV")
		}
	}
	return flags
}

// listener reads where a listener goes.
func (c *checker) listener(needed bool) {
	switch listener := c.spec.ListenerPath; {
	case listener != "" && (listener[0] != '/' || strings.ContainsRune(listener, 0)):
		c.add("listenerPath", quote(listener), "the absolute path of a socket")
	case listener != "":
	case needed:
		c.add("listenerPath", "nothing", "the absolute path of a socket, which SCMP_ACT_NOTIFY needs")
	}
	if c.spec.ListenerMetadata != "" && c.spec.ListenerPath == "" {
		c.add("listenerMetadata", quote(c.spec.ListenerMetadata), "nothing without listenerPath")
	}
}

// contradiction is reported once for a name, whichever architectures have it.
func (c *checker) contradiction(entry, name, other int) {
	call := c.spec.Syscalls[entry]
	p := Problem{
		Path:  path(path("syscalls", entry)+".names", name),
		Found: quote(call.Names[name]) + " with " + string(call.Action),
		Want:  "the action and errnoRet of " + path("syscalls", other) + ", whose conditions include these, or other conditions",
	}
	if !slices.Contains(c.problems, p) {
		c.problems = append(c.problems, p)
	}
}

func path(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// found is a string, or the nothing that the empty one stands for.
func found(s string) string {
	if s == "" {
		return "nothing"
	}
	return quote(s)
}

// quote returns s as a string on one line, shortened if it is long.
func quote(s string) string {
	if len(s) > maxFound {
		s = strings.ToValidUTF8(s[:maxFound-len("...")], "") + "..."
	}
	return strconv.Quote(s)
}

// Known lists what a configuration may use here: actions, operators, architectures that filters are made for, and flags.
func Known() (names struct {
	Actions, Operators, Architectures, Flags []string
}) {
	for _, a := range actions {
		names.Actions = append(names.Actions, string(a.name))
	}
	for _, op := range []specs.LinuxSeccompOperator{
		specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
	} {
		names.Operators = append(names.Operators, string(op))
	}
	for i := range archs {
		names.Architectures = append(names.Architectures, string(archs[i].name))
	}
	names.Flags = []string{
		string(flagTsync), string(specs.LinuxSeccompFlagLog), string(specs.LinuxSeccompFlagSpecAllow), string(specs.LinuxSeccompFlagWaitKillableRecv),
	}
	return names
}
