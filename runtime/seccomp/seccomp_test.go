package seccomp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// parse reads a configuration as it stands in a config.json.
func parse(t testing.TB, text string) *specs.LinuxSeccomp {
	t.Helper()
	s := new(specs.LinuxSeccomp)
	if err := json.Unmarshal([]byte(text), s); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

func mustCompile(t testing.TB, s *specs.LinuxSeccomp, goarch string) *Filter {
	t.Helper()
	f, err := Compile(s, goarch)
	if err != nil {
		t.Fatal(err)
	}
	if err := valid(f.Program); err != nil {
		t.Fatal(err)
	}
	return f
}

func nr(t testing.TB, arch specs.Arch, name string) uint32 {
	t.Helper()
	a, _ := byName(arch)
	n, ok := a.number(name)
	if !ok {
		t.Fatalf("%s has no %s", arch, name)
	}
	return n
}

// The kernel gets a program as it is.
func TestInstructionIsSockFilter(t *testing.T) {
	var i Instruction
	if unsafe.Sizeof(i) != 8 || unsafe.Offsetof(i.Jt) != 2 || unsafe.Offsetof(i.Jf) != 3 || unsafe.Offsetof(i.K) != 4 {
		t.Errorf("%d bytes", unsafe.Sizeof(i))
	}
}

func TestActions(t *testing.T) {
	for text, want := range map[string]uint32{
		`"SCMP_ACT_KILL"`:                               0,
		`"SCMP_ACT_KILL_THREAD"`:                        0,
		`"SCMP_ACT_KILL_PROCESS"`:                       0x80000000,
		`"SCMP_ACT_TRAP"`:                               0x00030000,
		`"SCMP_ACT_ERRNO"`:                              0x00050001,
		`"SCMP_ACT_ERRNO", "errnoRet": 0`:               0x00050000,
		`"SCMP_ACT_ERRNO", "errnoRet": 4095`:            0x00050fff,
		`"SCMP_ACT_TRACE"`:                              0x7ff00001,
		`"SCMP_ACT_TRACE", "errnoRet": 65535`:           0x7ff0ffff,
		`"SCMP_ACT_LOG"`:                                0x7ffc0000,
		`"SCMP_ACT_NOTIFY"`:                             0x7fc00000,
		`"SCMP_ACT_ALLOW", "args": []`:                  0x7fff0000,
		`"SCMP_ACT_ERRNO", "args": null`:                0x00050001,
		`"SCMP_ACT_ERRNO", "args": [` + anyArg(0) + `]`: 0x00050001,
	} {
		s := parse(t, `{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 7, "listenerPath": "/s",
			"syscalls": [{"names": ["read", "listns"], "action": `+text+`}]}`)
		f := mustCompile(t, s, "amd64")
		for number, want := range map[uint32]uint32{0: want, 1: 0x00050007, 470: want, 471: noSuchCall} {
			if got, _ := interpret(f.Program, data{nr: number, arch: auditX86_64}); got != want {
				t.Errorf("%s: call %d returns %#x, want %#x", text, number, got, want)
			}
		}
		if notify := strings.Contains(text, "NOTIFY"); f.Listener != notify {
			t.Errorf("%s: listener %v", text, f.Listener)
		}
	}
}

// anyArg is a condition that always holds.
func anyArg(index int) string {
	return fmt.Sprintf(`{"index": %d, "value": 0, "op": "SCMP_CMP_MASKED_EQ"}`, index)
}

func TestArchitectures(t *testing.T) {
	const (
		allow, def, kill = retAllow, retErrno | 9, badArch
		arm, aarch64     = 0x40000028, 0xc00000b7
		i386, riscv      = 0x40000003, 0xc00000f3
	)
	for _, test := range []struct {
		goarch, archs string
		nr, arch      uint32
		want          uint32
	}{
		{"amd64", ``, 0, auditX86_64, allow},
		{"amd64", ``, 1, auditX86_64, def},
		{"amd64", ``, 471, auditX86_64, noSuchCall},
		{"amd64", ``, 3, i386, kill},
		{"amd64", ``, 0, 0, kill},
		{"amd64", ``, x32Bit, auditX86_64, kill},
		{"amd64", ``, x32Bit - 1, auditX86_64, noSuchCall},
		{"amd64", ``, ^uint32(0) - 1, auditX86_64, kill},
		{"amd64", ``, ^uint32(0), auditX86_64, def},
		{"amd64", `"SCMP_ARCH_X86"`, 3, i386, allow},
		{"amd64", `"SCMP_ARCH_X86"`, 0, auditX86_64, allow},
		{"amd64", `"SCMP_ARCH_X86"`, x32Bit, auditX86_64, kill},
		{"amd64", `"SCMP_ARCH_X86"`, ^uint32(0), i386, noSuchCall},
		{"amd64", `"SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"`, x32Bit, auditX86_64, allow},
		{"amd64", `"SCMP_ARCH_X32"`, x32Bit | 1, auditX86_64, def},
		{"amd64", `"SCMP_ARCH_X32"`, x32Bit | 471, auditX86_64, noSuchCall},
		{"amd64", `"SCMP_ARCH_X32"`, 0, auditX86_64, allow},
		{"amd64", `"SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_SHEB"`, 63, aarch64, kill},
		{"386", ``, 3, i386, allow},
		{"386", ``, 0, auditX86_64, kill},
		{"386", `"SCMP_ARCH_X86_64"`, 0, auditX86_64, allow},
		{"386", `"SCMP_ARCH_X32"`, 0, auditX86_64, kill},
		{"386", `"SCMP_ARCH_X32"`, x32Bit, auditX86_64, allow},
		{"arm64", ``, 63, aarch64, allow},
		{"arm64", ``, 3, arm, kill},
		{"arm64", `"SCMP_ARCH_ARM"`, 3, arm, allow},
		{"arm64", `"SCMP_ARCH_ARM"`, 4, arm, def},
		{"arm", ``, 3, arm, allow},
		{"riscv64", `"SCMP_ARCH_RISCV64"`, 63, riscv, allow},
		{"riscv64", ``, 64, riscv, def},
	} {
		s := parse(t, `{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 9, "architectures": [`+test.archs+`],
			"syscalls": [{"names": ["read", "listns"], "action": "SCMP_ACT_ALLOW"}]}`)
		f := mustCompile(t, s, test.goarch)
		if got, _ := interpret(f.Program, data{nr: test.nr, arch: test.arch}); got != test.want {
			t.Errorf("%s with %s: call %#x of %#x returns %#x, want %#x", test.goarch, test.archs, test.nr, test.arch, got, test.want)
		}
	}
}

// Which default actions leave new calls to the program's own fallback.
func TestNewCalls(t *testing.T) {
	for action, want := range map[string]uint32{
		"SCMP_ACT_ALLOW": retAllow, "SCMP_ACT_LOG": retLog, "SCMP_ACT_TRACE": retTrace | eperm,
		"SCMP_ACT_ERRNO": noSuchCall, "SCMP_ACT_KILL": noSuchCall, "SCMP_ACT_KILL_PROCESS": noSuchCall, "SCMP_ACT_TRAP": noSuchCall,
	} {
		f := mustCompile(t, parse(t, `{"defaultAction": "`+action+`", "syscalls": [{"names": ["write"], "action": "`+action+`"}]}`), "amd64")
		if got, _ := interpret(f.Program, data{nr: 2, arch: auditX86_64}); got != want {
			t.Errorf("%s: %#x, want %#x", action, got, want)
		}
		f = mustCompile(t, parse(t, `{"defaultAction": "`+action+`"}`), "amd64") // nothing is known of the profile's age
		if got, _ := interpret(f.Program, data{nr: 1000, arch: auditX86_64}); got == noSuchCall {
			t.Errorf("%s without rules: %#x", action, got)
		}
	}
}

func TestOperators(t *testing.T) {
	const v = 5<<32 | 7
	values := []uint64{0, 7, v - 1, v, v + 1, 5<<32 | 1<<31, 5 << 32, 6 << 32, 6<<32 | 7, 4<<32 | 9, 4<<32 | 7, ^uint64(0)}
	for op, holds := range map[string]func(x uint64) bool{
		"NE": func(x uint64) bool { return x != v }, "EQ": func(x uint64) bool { return x == v },
		"LT": func(x uint64) bool { return x < v }, "LE": func(x uint64) bool { return x <= v },
		"GT": func(x uint64) bool { return x > v }, "GE": func(x uint64) bool { return x >= v },
		"MASKED_EQ": func(x uint64) bool { return x&v == 4<<32|6 },
	} {
		for index := range 6 {
			f := mustCompile(t, parse(t, fmt.Sprintf(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP",
				"args": [{"index": %d, "op": "SCMP_CMP_%s", "value": %d, "valueTwo": %d}]}]}`, index, op, uint64(v), uint64(4<<32|6))), "arm64")
			for _, x := range values {
				d := data{nr: nr(t, "SCMP_ARCH_AARCH64", "read"), arch: 0xc00000b7}
				d.args[index] = x
				if got, _ := interpret(f.Program, d); (got == retTrap) != holds(x) {
					t.Errorf("%s of argument %d, %#x: %#x", op, index, x, got)
				}
			}
		}
	}
}

// arg is a condition in JSON.
func arg(index int, op string, value uint64) string {
	return fmt.Sprintf(`{"index": %d, "op": "SCMP_CMP_%s", "value": %d}`, index, op, value)
}

func TestPrecedence(t *testing.T) {
	type rules []string // errno, then args, in turn
	for name, test := range map[string]struct {
		rules rules
		args  []uint64
		want  uint32 // errno, or 0 for the default action
	}{
		"and":                             {rules{"10", arg(0, "EQ", 1) + "," + arg(1, "EQ", 2)}, []uint64{1, 3}, 0},
		"and, both":                       {rules{"10", arg(1, "EQ", 2) + "," + arg(0, "EQ", 1)}, []uint64{1, 2}, 10},
		"one argument twice: or":          {rules{"10", arg(0, "EQ", 1) + "," + arg(0, "EQ", 2)}, []uint64{2}, 10},
		"one argument twice: all or":      {rules{"10", arg(0, "EQ", 1) + "," + arg(0, "EQ", 2) + "," + arg(1, "EQ", 9)}, []uint64{0, 9}, 10},
		"first without conditions":        {rules{"10", "", "11", ""}, []uint64{1}, 10},
		"unconditional after conditional": {rules{"10", arg(0, "EQ", 1), "11", ""}, []uint64{1}, 11},
		"conditional after unconditional": {rules{"11", "", "10", arg(0, "EQ", 1)}, []uint64{1}, 11},
		"the condition is empty":          {rules{"10", arg(0, "EQ", 1), "11", anyArg(3)}, []uint64{1}, 11},
		"default action is left out":      {rules{"1", "", "10", arg(0, "EQ", 1)}, []uint64{1}, 10},
		"higher argument first":           {rules{"10", arg(0, "EQ", 1), "11", arg(1, "EQ", 2)}, []uint64{1, 2}, 11},
		"equal before greater":            {rules{"10", arg(0, "GE", 1), "11", arg(0, "EQ", 2)}, []uint64{2}, 11},
		"less before greater":             {rules{"10", arg(0, "GE", 1), "11", arg(0, "LE", 2)}, []uint64{2}, 11},
		"greater: larger first":           {rules{"10", arg(0, "GT", 1), "11", arg(0, "GE", 5)}, []uint64{5}, 11},
		"greater: larger first, halves":   {rules{"10", arg(0, "GT", 9), "11", arg(0, "GE", 5<<32)}, []uint64{5 << 32}, 11},
		"less: smaller first":             {rules{"10", arg(0, "LT", 9), "11", arg(0, "LE", 5)}, []uint64{5}, 11},
		"less, not the smaller":           {rules{"10", arg(0, "LT", 9), "11", arg(0, "LE", 5)}, []uint64{6}, 10},
		"equal rank: order of the file":   {rules{"10", arg(0, "LE", 5), "11", arg(0, "LT", 5)}, []uint64{4}, 10},
		"not equal: larger first":         {rules{"10", arg(0, "NE", 5), "11", arg(0, "NE", 6)}, []uint64{4}, 11},
		"shorter first":                   {rules{"10", arg(0, "EQ", 5), "11", arg(0, "EQ", 5) + "," + arg(1, "EQ", 1)}, []uint64{5, 1}, 10},
		"shorter later, same action":      {rules{"10", arg(0, "EQ", 5) + "," + arg(1, "EQ", 1), "10", arg(0, "EQ", 5)}, []uint64{5, 2}, 10},
		"a rule that fails leads on":      {rules{"10", arg(2, "EQ", 5) + "," + arg(3, "EQ", 1), "11", arg(0, "EQ", 0)}, []uint64{0, 0, 5, 0}, 11},
	} {
		var list []string
		for r := range slices.Chunk(test.rules, 2) {
			list = append(list, `{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": `+r[0]+`, "args": [`+r[1]+`]}`)
		}
		f := mustCompile(t, parse(t, `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [`+strings.Join(list, ",")+`]}`), "amd64")
		d := data{nr: 135, arch: auditX86_64}
		copy(d.args[:], test.args)
		if got, _ := interpret(f.Program, d); got != retErrno|max(test.want, eperm) {
			t.Errorf("%s: %#x, want errno %d", name, got, test.want)
		}
	}
}

// dangerous are calls that profiles for containers leave out.
var dangerous = []string{
	"acct", "add_key", "bpf", "clock_settime", "create_module", "delete_module", "finit_module", "get_kernel_syms", "init_module", "ioperm", "iopl",
	"kcmp", "kexec_file_load", "kexec_load", "keyctl", "mount", "move_pages", "nfsservctl", "open_by_handle_at", "perf_event_open", "pivot_root",
	"query_module", "quotactl", "reboot", "request_key", "setns", "settimeofday", "swapoff", "swapon", "sysfs", "_sysctl", "umount2", "unshare",
	"uselib", "userfaultfd", "ustat", "vm86", "vm86old",
}

// profile is one like that of Docker: all calls of the family but the dangerous ones, and some by their arguments.
func profile() *specs.LinuxSeccomp {
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}}
	var names []string
	for line := range strings.Lines(callsAMD64 + calls386) {
		name, _, _ := strings.Cut(line, " ")
		if !slices.Contains(dangerous, name) && !slices.Contains([]string{"personality", "clone", "socket", "clone3"}, name) &&
			!slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	allow := func(name string, args ...specs.LinuxSeccompArg) {
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: args})
	}
	s.Syscalls = []specs.LinuxSyscall{{Names: append(names, "no_such_call", "s390_runtime_instr", "no_such_call"), Action: specs.ActAllow}}
	allow("socket", specs.LinuxSeccompArg{Value: 40, Op: specs.OpNotEqual})
	for _, value := range []uint64{0, 8, 0x20000, 0x20008, 0xffffffff} {
		allow("personality", specs.LinuxSeccompArg{Value: value, Op: specs.OpEqualTo})
	}
	allow("clone", specs.LinuxSeccompArg{Value: 0x7e020000, Op: specs.OpMaskedEqual})
	enosys := uint(enosys)
	s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &enosys})
	return s
}

func TestProfile(t *testing.T) {
	s := profile()
	f := mustCompile(t, s, "amd64")
	if n := len(f.Program); n > 700 {
		t.Errorf("%d instructions", n)
	}
	if want := []string{"no_such_call", "s390_runtime_instr"}; !slices.Equal(f.Ignored, want) {
		t.Errorf("ignored %q, want %q", f.Ignored, want)
	}
	worst := 0
	for _, a := range modelArchs[:3] {
		for number := range uint32(600) {
			d := data{nr: number, arch: a.audit}
			if a.name == specs.ArchX32 {
				d.nr |= x32Bit
			}
			got, steps := interpret(f.Program, d)
			if want := model(s, "amd64", d); got != want {
				t.Errorf("%s call %d: %#x, want %#x", a.name, number, got, want)
			}
			worst = max(worst, steps)
		}
	}
	if worst > 40 {
		t.Errorf("a call takes %d instructions", worst)
	}
	t.Logf("%d names: %d instructions, at most %d for a call", len(s.Syscalls[0].Names), len(f.Program), worst)
}

// Thousands of conditions, beyond what 8 bits jump over, in one call and in many.
func TestLongPrograms(t *testing.T) {
	conf := func(n int) *specs.LinuxSeccomp {
		s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
		for i := range n {
			errno := uint(i)
			s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{
				Names: []string{[]string{"read", "write", "listns"}[i%3]}, Action: specs.ActErrno, ErrnoRet: &errno,
				Args: []specs.LinuxSeccompArg{{Index: 2, Op: specs.OpEqualTo, Value: uint64(i) << 20}},
			})
		}
		return s
	}
	f := mustCompile(t, conf(750), "amd64")
	for i := range 800 {
		for n, number := range []uint32{0, 1, 470, 2, 471} {
			want := uint32(retErrno | eperm)
			switch {
			case number == 471:
				want = noSuchCall
			case i < 750 && i%3 == n:
				want = retErrno | uint32(i)
			}
			d := data{nr: number, arch: auditX86_64, args: [6]uint64{2: uint64(i) << 20}}
			if got, _ := interpret(f.Program, d); got != want {
				t.Fatalf("%d of call %d: %#x, want %#x", i, number, got, want)
			}
		}
	}
	_, err := Compile(conf(1500), "amd64")
	if err == nil || !strings.HasPrefix(err.Error(), "linux.seccomp.syscalls: found a program of ") ||
		!strings.HasSuffix(err.Error(), "the kernel's limit: use fewer rules with args, or fewer architectures") {
		t.Errorf("error %v", err)
	}
}

func TestFlags(t *testing.T) {
	for text, want := range map[string]uintptr{
		``:             4, // as runc does
		`"flags": [],`: 0,
		`"flags": ["SECCOMP_FILTER_FLAG_TSYNC"],`:                                 0,
		`"flags": ["SECCOMP_FILTER_FLAG_LOG"],`:                                   2,
		`"flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"],`: 6,
		`"listenerPath": "/s", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}],
			"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],`: 32,
	} {
		if f := mustCompile(t, parse(t, `{`+text+`"defaultAction": "SCMP_ACT_ALLOW"}`), "amd64"); f.Flags != want {
			t.Errorf("%s: flags %d, want %d", text, f.Flags, want)
		}
	}
}

func TestNil(t *testing.T) {
	if f, err := Compile(nil, "amd64"); f != nil || err != nil || Check(nil, "") != nil {
		t.Errorf("%v, %v", f, err)
	}
}

func BenchmarkCompile(b *testing.B) {
	s := profile()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(s, "amd64"); err != nil {
			b.Fatal(err)
		}
	}
}
