package seccomp

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The model says what a configuration means, without a program: it is the package comment, word by word, and slow.

// modelArch is an architecture that a filter can have.
type modelArch struct {
	name   specs.Arch
	family []string // values of GOARCH that it can be in a filter of
	native string
	audit  uint32
	bits   int
}

var modelArchs = []modelArch{
	{"SCMP_ARCH_X86_64", []string{"amd64", "386"}, "amd64", 0xc000003e, 64},
	{"SCMP_ARCH_X86", []string{"amd64", "386"}, "386", 0x40000003, 32},
	{"SCMP_ARCH_X32", []string{"amd64", "386"}, "", 0xc000003e, 32},
	{"SCMP_ARCH_AARCH64", []string{"arm64", "arm"}, "arm64", 0xc00000b7, 64},
	{"SCMP_ARCH_ARM", []string{"arm64", "arm"}, "arm", 0x40000028, 32},
	{"SCMP_ARCH_RISCV64", []string{"riscv64"}, "riscv64", 0xc00000f3, 64},
}

func modelIncluded(s *specs.LinuxSeccomp, goarch string) (list []modelArch) {
	for _, a := range modelArchs {
		if a.native == goarch || slices.Contains(a.family, goarch) && slices.Contains(s.Architectures, a.name) {
			list = append(list, a)
		}
	}
	return list
}

// modelNumber is the only thing that the model shares with the package: its tables.
func modelNumber(a modelArch, name string) (uint32, bool) {
	known, _ := byName(a.name)
	return known.number(name)
}

func modelAction(action specs.LinuxSeccompAction, errno *uint) uint32 {
	value := uint32(1)
	if errno != nil {
		value = uint32(*errno)
	}
	switch action {
	case "SCMP_ACT_KILL_PROCESS":
		return 0x80000000
	case "SCMP_ACT_TRAP":
		return 0x30000
	case "SCMP_ACT_ERRNO":
		return 0x50000 + value
	case "SCMP_ACT_NOTIFY":
		return 0x7fc00000
	case "SCMP_ACT_TRACE":
		return 0x7ff00000 + value
	case "SCMP_ACT_LOG":
		return 0x7ffc0000
	case "SCMP_ACT_ALLOW":
		return 0x7fff0000
	}
	return 0
}

// modelRule is a rule of one call. Its steps are what the order of rules looks at.
type modelRule struct {
	action uint32
	args   []specs.LinuxSeccompArg
	steps  []modelStep
}

type modelStep struct {
	order []int64
	id    string // steps with the same are the same
}

// modelSteps compares an argument in halves, the upper one first.
func modelSteps(arg specs.LinuxSeccompArg, bits int) []modelStep {
	value, mask := arg.Value, ^uint64(0)
	class, sign, rank := "equal", int64(-1), int64(-3)
	switch arg.Op {
	case "SCMP_CMP_MASKED_EQ":
		value, mask, class = arg.ValueTwo, arg.Value, "masked"
	case "SCMP_CMP_LT", "SCMP_CMP_LE":
		class, sign, rank = "less", 1, -2
	case "SCMP_CMP_GT", "SCMP_CMP_GE":
		class, rank = "greater", -1
	}
	half := func(upper bool, value, mask uint64, op string) modelStep {
		place := int64(arg.Index) * 2
		if upper {
			place++
		}
		value &= mask
		return modelStep{[]int64{-place, rank, sign * int64(value)}, fmt.Sprint(place, op, value, mask)}
	}
	low := half(false, value&0xffffffff, mask&0xffffffff, string(arg.Op))
	if bits == 32 {
		return []modelStep{low}
	}
	return []modelStep{half(true, value>>32, mask>>32, class), low}
}

// modelNeeded tells whether a condition says anything.
func modelNeeded(arg specs.LinuxSeccompArg, bits int) bool {
	mask := arg.Value
	if bits == 32 {
		mask &= 0xffffffff
	}
	return arg.Op != "SCMP_CMP_MASKED_EQ" || mask != 0
}

func newModelRule(action uint32, args []specs.LinuxSeccompArg, bits int) modelRule {
	args = slices.DeleteFunc(slices.Clone(args), func(a specs.LinuxSeccompArg) bool { return !modelNeeded(a, bits) })
	slices.SortFunc(args, func(a, b specs.LinuxSeccompArg) int { return cmp.Compare(a.Index, b.Index) })
	r := modelRule{action: action, args: args}
	for _, arg := range args {
		r.steps = append(r.steps, modelSteps(arg, bits)...)
	}
	return r
}

// id returns the first n steps as text.
func (r modelRule) id(n int) string {
	var b strings.Builder
	for _, s := range r.steps[:n] {
		b.WriteString(s.id + ";")
	}
	return b.String()
}

// modelRules returns the rules of one call in the order in which they are tried, or that two of them contradict each other.
func modelRules(s *specs.LinuxSeccomp, a modelArch, nr uint32) (rules []modelRule, contradiction bool) {
	def := modelAction(s.DefaultAction, s.DefaultErrnoRet)
	first := map[string]int{}
	for _, r := range modelListed(s, a, nr) {
		if r.action == def {
			continue
		}
		if len(r.steps) == 0 {
			return []modelRule{r}, false
		}
		dropped := false
		for _, e := range slices.Clone(rules) {
			switch mine, its := r.id(len(r.steps)), e.id(len(e.steps)); {
			case mine == its && e.action != r.action, mine != its && strings.HasPrefix(its, mine) && e.action != r.action:
				return nil, true
			case strings.HasPrefix(mine, its):
				dropped = true
			case strings.HasPrefix(its, mine):
				rules = slices.DeleteFunc(rules, func(o modelRule) bool { return o.id(len(o.steps)) == its })
			}
		}
		if dropped {
			continue
		}
		rules = append(rules, r)
		for n := range len(r.steps) + 1 {
			if _, ok := first[r.id(n)]; !ok {
				first[r.id(n)] = len(first)
			}
		}
	}
	slices.SortFunc(rules, func(x, y modelRule) int {
		i := 0
		for x.steps[i].id == y.steps[i].id {
			i++
		}
		return cmp.Or(slices.Compare(x.steps[i].order, y.steps[i].order), cmp.Compare(first[x.id(i+1)], first[y.id(i+1)]))
	})
	return rules, false
}

// modelListed returns the rules of a call in the order of the configuration.
func modelListed(s *specs.LinuxSeccomp, a modelArch, nr uint32) (rules []modelRule) {
	for _, call := range s.Syscalls {
		for _, name := range call.Names {
			if n, ok := modelNumber(a, name); !ok || n != nr {
				continue
			}
			indexes := map[uint]bool{}
			for _, arg := range call.Args {
				indexes[arg.Index] = true
			}
			action := modelAction(call.Action, call.ErrnoRet)
			if len(indexes) == len(call.Args) {
				rules = append(rules, newModelRule(action, call.Args, a.bits))
				continue
			}
			for _, arg := range call.Args {
				rules = append(rules, newModelRule(action, []specs.LinuxSeccompArg{arg}, a.bits))
			}
		}
	}
	return rules
}

func modelHolds(arg specs.LinuxSeccompArg, value uint64, bits int) bool {
	want, two := arg.Value, arg.ValueTwo
	if bits == 32 {
		value, want, two = value&0xffffffff, want&0xffffffff, two&0xffffffff
	}
	switch arg.Op {
	case "SCMP_CMP_NE":
		return value != want
	case "SCMP_CMP_LT":
		return value < want
	case "SCMP_CMP_LE":
		return value <= want
	case "SCMP_CMP_EQ":
		return value == want
	case "SCMP_CMP_GE":
		return value >= want
	case "SCMP_CMP_GT":
		return value > want
	}
	return value&want == two&want
}

// modelNew tells whether a call is newer than all that a configuration names for its architecture.
func modelNew(s *specs.LinuxSeccomp, a modelArch, number uint32) bool {
	var greatest uint32
	named := false
	for _, call := range s.Syscalls {
		for _, name := range call.Names {
			if nr, ok := modelNumber(a, name); ok {
				greatest, named = max(greatest, nr), true
			}
		}
	}
	return named && number > greatest && !slices.Contains([]specs.LinuxSeccompAction{specs.ActAllow, specs.ActLog, specs.ActTrace}, s.DefaultAction)
}

// model returns what a filter returns for a call.
func model(s *specs.LinuxSeccomp, goarch string, d data) uint32 {
	def := modelAction(s.DefaultAction, s.DefaultErrnoRet)
	var in *modelArch
	wide := d.arch == 0xc000003e
	x86 := false
	for _, a := range modelIncluded(s, goarch) {
		if a.audit != d.arch {
			continue
		}
		x32 := a.name == "SCMP_ARCH_X32"
		if (!wide || x32 == (d.nr&x32Bit != 0)) && modelNew(s, a, d.nr) {
			return 0x50000 + 38
		}
		if !wide || x32 == (d.nr >= x32Bit) {
			in = &a
		}
		x86 = x86 || wide && !x32
	}
	switch {
	case in != nil:
	case x86 && d.nr == ^uint32(0):
		return def
	default:
		return 0
	}
	rules, _ := modelRules(s, *in, d.nr)
	for _, r := range rules {
		holds := true
		for _, arg := range r.args {
			holds = holds && modelHolds(arg, d.args[arg.Index], in.bits)
		}
		if holds {
			return r.action
		}
	}
	return def
}
