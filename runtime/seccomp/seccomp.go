// Package seccomp compiles linux.seccomp of the runtime-spec into a program for seccomp(2), without cgo and without libseccomp.
//
// # What it does
//
// [Compile] returns the classic BPF program, the flags to install it with, and whether that makes a listener; [Check] lists everything that is
// wrong with a configuration. Both are pure functions of their arguments and work for every family of machines on each of them. What a filter
// means is what it means to runc with libseccomp; sources named in comments are their files, at commits 76d9cf5 (1.5.0-rc.1) and 90d3f7d (after 2.6).
//
// Architecture: the native one is always in the filter, others of the family of the machine if they are listed (SCMP_ARCH_X86_64, X86 and X32;
// AARCH64 and ARM; RISCV64). One that the machine can never run is passed over. A call of an architecture that is not in the filter
// ends its thread (SCMP_ACT_KILL, libseccomp's SCMP_FLTATR_ACT_BADARCH), also an x32 call of an amd64 process. So does it for
// libseccomp.
//
// Precedence among the rules of one system call (libseccomp src/db.c, db_rule_add):
//
//   - A rule whose action is the default action is left out (runc libcontainer/seccomp/seccomp_linux.go, matchCall).
//   - The first rule without conditions decides, wherever it stands: conditional ones before and after it have no effect.
//   - Conditional ones are not tried in the order of the configuration. Their conditions are sorted by the index of the argument, and
//     the rules then compared condition by condition: the higher index first; SCMP_CMP_EQ, NE and MASKED_EQ before LT and LE before GT and GE;
//     of LT and LE the smaller value first, of all others the larger one. What is equal in all of that keeps the order of the configuration.
//     For rules over one argument this is the most specific one first.
//   - A rule whose first conditions are all the conditions of an earlier rule has no effect: the shorter one decides. The
//     other way round, and with the same conditions, they must have the same action. If they have not, that is a [Problem], as libseccomp
//     refuses it (EEXIST).
//   - A rule that names an argument more than once is one rule for each of its conditions: any of them matches (runc, matchCall). In
//     every other rule all conditions must hold.
//
// libseccomp shares comparisons of 32 bits between the rules of a call, and by that refuses, drops or mixes up some more combinations of
// conditional rules, most of them where x32 is in the filter. Those combinations are valid here, in the order above.
//
// Arguments are compared as unsigned numbers of 64 bits, and on X86, X32 and ARM by their lower 32 bits, of which the value's upper half is
// ignored (libseccomp, _db_rule_gen_32).
//
// New system calls: unless the default action is SCMP_ACT_ALLOW, LOG or TRACE, a call whose number is above all that the configuration names for
// its architecture fails with ENOSYS, so that programs fall back on what the author of the profile knew (runc
// libcontainer/seccomp/patchbpf/enosys_linux.go).
//
// The number of the call is looked up in a balanced tree over ranges of numbers with the same action, about 7 comparisons for a profile with
// 350 names, by instructions that Linux 5.11 and later can judge in advance: it then skips the program for calls that are allowed
// without a condition (kernel/seccomp.c, seccomp_is_const_allow).
//
// # What it does not
//
// It installs nothing, and does not look at the kernel: an old one refuses flags that it does not know with EINVAL. It knows the system calls of
// golang.org/x/sys only; a name that no architecture of the filter knows is in [Filter].Ignored. On X86 the calls socketcall(2) and ipc(2) do
// the work of many others: a rule for socket is one for the direct call socket alone, which i386 has since Linux 4.3, so a filter that denies
// calls has to name socketcall and ipc as well. There are no tables for machines other than amd64, 386, arm64, arm and riscv64.
package seccomp

import (
	"errors"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// MaxInstructions is the longest program that seccomp(2) takes: BPF_MAXINSNS of linux/bpf_common.h.
const MaxInstructions = 4096

// Instruction is struct sock_filter of linux/filter.h: an array of them can be given to the kernel as it is.
type Instruction struct {
	Code   uint16
	Jt, Jf uint8
	K      uint32
}

// Filter is a compiled filter.
type Filter struct {
	// Program has 1 to [MaxInstructions] instructions.
	Program []Instruction
	// Flags are SECCOMP_FILTER_FLAG_* for seccomp(2), without NEW_LISTENER and TSYNC.
	Flags uintptr
	// Listener is whether an action is SCMP_ACT_NOTIFY: install the program with SECCOMP_FILTER_FLAG_NEW_LISTENER.
	Listener bool
	// Ignored are the names of system calls that no architecture of the filter knows, each once. runc passes them over, too.
	Ignored []string
}

// Problem is a value that is not valid. All texts are a single printable line each.
type Problem struct {
	Path  string // relative to linux.seccomp: syscalls[3].args[0].op
	Found string // the value as JSON, shortened, or "nothing" if there is none
	Want  string // what is allowed
}

// Check lists all problems of a configuration on a machine whose native architecture is goarch, a value of runtime.GOARCH. There are
// none if s is nil, and [Compile] has no others.
func Check(s *specs.LinuxSeccomp, goarch string) []Problem {
	_, problems := compile(s, goarch)
	return problems
}

// Compile returns the filter for a machine whose native architecture is goarch, a value of runtime.GOARCH, or nil if s is nil. An error
// is one line with the first problem of [Check], its path from linux on.
func Compile(s *specs.LinuxSeccomp, goarch string) (*Filter, error) {
	filter, problems := compile(s, goarch)
	if len(problems) == 0 {
		return filter, nil
	}
	p := problems[0]
	text := "linux.seccomp." + p.Path + ": found " + p.Found + ", want " + p.Want
	switch n := len(problems) - 1; n {
	case 0:
	case 1:
		text += " (and 1 more problem)"
	default:
		text += " (and " + strconv.Itoa(n) + " more problems)"
	}
	return nil, errors.New(text)
}

func compile(s *specs.LinuxSeccomp, goarch string) (*Filter, []Problem) {
	if s == nil {
		return nil, nil
	}
	c := &checker{spec: s}
	conf := c.config(goarch)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	for i := range s.Syscalls {
		c.known = append(c.known, make([]bool, len(s.Syscalls[i].Names))...)
	}
	var tables []*table
	for _, a := range conf.archs {
		tables = append(tables, newTable(a, conf, c))
	}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	program := generate(conf, tables)
	if n := len(program); n > MaxInstructions {
		c.add("syscalls", "a program of "+strconv.Itoa(n)+" instructions",
			"at most "+strconv.Itoa(MaxInstructions)+", the kernel's limit: use fewer rules with args, or fewer architectures")
		return nil, c.problems
	}
	return &Filter{Program: program, Flags: conf.flags, Listener: conf.listener, Ignored: c.ignored()}, nil
}

// ignored returns the names that no architecture of the filter knows.
func (c *checker) ignored() (names []string) {
	at := 0
	for _, call := range c.spec.Syscalls {
		for _, name := range call.Names {
			if !c.known[at] && !slices.Contains(names, name) {
				names = append(names, name)
			}
			at++
		}
	}
	return names
}
