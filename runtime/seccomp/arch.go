package seccomp

import (
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// x32Bit marks the number of an x32 call, which otherwise looks like one of x86_64: __X32_SYSCALL_BIT of asm/unistd.h.
const x32Bit = 1 << 30

// auditX86_64 is AUDIT_ARCH_X86_64 of linux/audit.h. The kernel has it for x32, too.
const auditX86_64 = 0xc000003e

// arch is an architecture in the sense of libseccomp: a set of system calls with their numbers.
type arch struct {
	name   specs.Arch
	goarch string // whose native architecture it is; X32 is nobody's
	family string // the machines that can run it
	audit  uint32 // AUDIT_ARCH_* of linux/audit.h, which is what the kernel tells a filter
	wide   bool   // arguments have 64 bits (libseccomp src/arch-*.c, size)
	bit    uint32 // is set in all numbers
	calls  string // a table of lookup
	own    string // a table that goes before calls; a call with the number absent does not exist
}

// absent stands in a table of an architecture's own for a call that it does not share.
const absent = "-"

var archs = [...]arch{
	{name: specs.ArchX86_64, goarch: "amd64", family: "x86", audit: auditX86_64, wide: true, calls: callsAMD64},
	{name: specs.ArchX86, goarch: "386", family: "x86", audit: 0x40000003, calls: calls386},
	{name: specs.ArchX32, family: "x86", audit: auditX86_64, bit: x32Bit, calls: callsAMD64, own: ownX32},
	{name: specs.ArchAARCH64, goarch: "arm64", family: "arm", audit: 0xc00000b7, wide: true, calls: callsARM64},
	{name: specs.ArchARM, goarch: "arm", family: "arm", audit: 0x40000028, calls: callsARM, own: ownARM},
	{name: specs.ArchRISCV64, goarch: "riscv64", family: "riscv", audit: 0xc00000f3, wide: true, calls: callsRISCV64},
}

// foreign are the architectures that the runtime-spec knows beside archs (config-linux.md, as of libseccomp 2.6). Machines that run them have
// no tables here.
var foreign = [...]specs.Arch{
	specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
	specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X, specs.ArchPARISC, specs.ArchPARISC64,
	specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
}

// ownX32 are the calls that x32 has in another place than x86_64, or not at all: arch/x86/entry/syscalls/syscall_64.tbl, what is not "common".
const ownX32 = `_sysctl -
create_module -
epoll_ctl_old -
epoll_wait_old -
execve 520
execveat 545
get_kernel_syms -
get_robust_list 531
get_thread_area -
getsockopt 542
io_setup 543
io_submit 544
ioctl 514
kexec_load 528
move_pages 533
mq_notify 527
nfsservctl -
preadv 534
preadv2 546
process_vm_readv 539
process_vm_writev 540
ptrace 521
pwritev 535
pwritev2 547
query_module -
readv 515
recvfrom 517
recvmmsg 537
recvmsg 519
rt_sigaction 512
rt_sigpending 522
rt_sigqueueinfo 524
rt_sigreturn 513
rt_sigtimedwait 523
rt_tgsigqueueinfo 536
sendmmsg 538
sendmsg 518
set_robust_list 530
set_thread_area -
setsockopt 541
sigaltstack 525
timer_create 526
uselib -
vmsplice 532
vserver -
waitid 529
writev 516
`

// ownARM are the private calls of ARM, at 0xf0000: arch/arm/include/uapi/asm/unistd.h. No C library starts without set_tls.
const ownARM = `breakpoint 983041
cacheflush 983042
get_tls 983046
set_tls 983045
usr26 983043
usr32 983044
`

// number returns the number of a system call by its name.
func (a *arch) number(name string) (nr uint32, ok bool) {
	text, ok := lookup(a.own, name)
	if !ok {
		text, ok = lookup(a.calls, name)
	}
	if !ok || text == absent {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 30)
	return uint32(n) | a.bit, err == nil
}

// lookup finds a name in a table: lines "name number" in the order of the names, each with its newline. A string costs nothing at the
// program's start, and is searched in some hundred nanoseconds.
func lookup(table, name string) (number string, ok bool) {
	for table != "" {
		start := strings.LastIndexByte(table[:len(table)/2], '\n') + 1
		end := start + strings.IndexByte(table[start:], '\n')
		found, number, _ := strings.Cut(table[start:end], " ")
		switch {
		case found == name:
			return number, true
		case found < name:
			table = table[end+1:]
		default:
			table = table[:start]
		}
	}
	return "", false
}

// native returns the architecture of a value of runtime.GOARCH, or nil.
func native(goarch string) *arch {
	i := slices.IndexFunc(archs[:], func(a arch) bool { return goarch != "" && a.goarch == goarch })
	if i < 0 {
		return nil
	}
	return &archs[i]
}

// byName returns an architecture by the name that the runtime-spec has for it; nil if it is foreign. The bool is whether there is one.
func byName(name specs.Arch) (*arch, bool) {
	if i := slices.IndexFunc(archs[:], func(a arch) bool { return a.name == name }); i >= 0 {
		return &archs[i], true
	}
	return nil, slices.Contains(foreign[:], name)
}
