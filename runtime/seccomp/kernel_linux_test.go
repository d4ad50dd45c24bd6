package seccomp

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// childEnv has the name of the case that a child runs.
const childEnv = "MLRUN_SECCOMP_CASE"

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		child(name)
		return
	}
	os.Exit(m.Run())
}

// kernelCase is a filter, system calls, and what becomes of them.
type kernelCase struct {
	conf  string
	calls [][4]uintptr // number and arguments
	want  string       // the errors of the calls, and the listener
	kill  bool
}

// argument is what the kernel sees of a 64-bit argument, or as much as the machine has.
func argument(x uint64) uintptr { return uintptr(x) }

var kernelCases = map[string]kernelCase{
	"errno": {
		conf: `{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
			"syscalls": [{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]}`,
		calls: [][4]uintptr{{unix.SYS_GETPRIORITY, 7}, {unix.SYS_GETPPID}},
		want:  "99 0 ",
	},
	"without flags": {
		conf:  `{"defaultAction": "SCMP_ACT_ALLOW", "flags": [], "syscalls": [{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO"}]}`,
		calls: [][4]uintptr{{unix.SYS_GETPRIORITY, 7}},
		want:  "1 ",
	},
	"both halves": {
		conf: `{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"],
			"syscalls": [
			{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 90, "args": [{"index": 2, "op": "SCMP_CMP_EQ", "value": 21474836487}]},
			{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 91, "args": [{"index": 2, "op": "SCMP_CMP_GT", "value": 25769803784}]},
			{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 92, "args": [{"index": 2, "op": "SCMP_CMP_LE", "value": 8589934591}]},
			{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 93, "args": [
				{"index": 2, "op": "SCMP_CMP_MASKED_EQ", "value": 64424509455, "valueTwo": 38654705673}]}]}`,
		calls: [][4]uintptr{ // getpriority(7) is EINVAL, and does not look at the third argument
			{unix.SYS_GETPRIORITY, 7, 0, argument(5<<32 | 7)}, {unix.SYS_GETPRIORITY, 7, 0, argument(5<<32 | 8)},
			{unix.SYS_GETPRIORITY, 7, 0, argument(6<<32 | 7)}, {unix.SYS_GETPRIORITY, 7, 0, argument(6<<32 | 9)},
			{unix.SYS_GETPRIORITY, 7, 0, argument(7 << 32)}, {unix.SYS_GETPRIORITY, 7, 0, argument(1<<33 - 1)},
			{unix.SYS_GETPRIORITY, 7, 0, argument(1 << 33)}, {unix.SYS_GETPRIORITY, 7, 0, 7}, {unix.SYS_GETPRIORITY, 7, 0, argument(0xfff9<<32 | 0xff9)},
		},
		want: "90 22 22 91 91 92 22 92 93 ",
	},
	"kill": {
		conf:  `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpriority"], "action": "SCMP_ACT_KILL_PROCESS"}]}`,
		calls: [][4]uintptr{{unix.SYS_GETPPID}, {unix.SYS_GETPRIORITY, 7}},
		kill:  true,
	},
	"notify": {
		conf: `{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
			"syscalls": [{"names": ["getpriority"], "action": "SCMP_ACT_NOTIFY"}]}`,
		want: "listener ",
	},
	"profile": { // everything but getpriority and by arguments prlimit64, which the Go runtime does not use while it runs
		calls: [][4]uintptr{{unix.SYS_GETPRIORITY, 7}, {unix.SYS_GETPPID}, {5000}, {unix.SYS_PRLIMIT64, 0, 77}, {unix.SYS_PRLIMIT64, 0, 78}},
		want:  "1 0 38 13 22 ",
	},
}

// config is the case's own, or one like the profiles of Docker for the machine's own architecture.
func (c kernelCase) config() *specs.LinuxSeccomp {
	if c.conf != "" {
		return parse(new(testing.T), c.conf)
	}
	var names []string
	for line := range strings.Lines(native(runtime.GOARCH).calls) {
		name, _, _ := strings.Cut(line, " ")
		if name != "getpriority" && name != "prlimit64" {
			names = append(names, name)
		}
	}
	errno := uint(unix.EACCES)
	return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
		{Names: names, Action: specs.ActAllow},
		{Names: []string{"prlimit64"}, Action: specs.ActErrno, ErrnoRet: &errno, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 77, Op: specs.OpEqualTo}}},
		{Names: []string{"prlimit64"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 77, Op: specs.OpNotEqual}}},
	}}
}

// child installs the filter of a case in its thread, and prints the errors of the calls.
func child(name string) {
	runtime.LockOSThread()
	c := kernelCases[name]
	f, err := Compile(c.config(), runtime.GOARCH)
	if err != nil {
		panic(err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	flags := f.Flags
	if f.Listener {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	prog := unix.SockFprog{Len: uint16(len(f.Program)), Filter: (*unix.SockFilter)(unsafe.Pointer(&f.Program[0]))}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		panic(fmt.Errorf("seccomp: %w", errno))
	}
	var out strings.Builder
	if f.Listener && fd > 2 {
		out.WriteString("listener ")
	}
	for _, call := range c.calls {
		_, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3])
		out.WriteString(strconv.Itoa(int(errno)) + " ")
	}
	fmt.Print(out.String())
}

// TestKernel runs filters in the kernel, each in a process of its own.
func TestKernel(t *testing.T) {
	action := uint32(retKillProcess)
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action))); errno != 0 {
		t.Skipf("this kernel has no filters for system calls, or not all of their actions: %v", errno)
	}
	if native(runtime.GOARCH) == nil {
		t.Skipf("there are no filters for %s", runtime.GOARCH)
	}
	for name, c := range kernelCases {
		t.Run(name, func(t *testing.T) {
			if name == "both halves" && !slices.Contains([]string{"amd64", "arm64", "riscv64"}, runtime.GOARCH) {
				t.Skip("arguments have 32 bits here")
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+name)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			var exit *exec.ExitError
			switch {
			case c.kill && errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGSYS:
			case c.kill || err != nil || string(out) != c.want:
				t.Errorf("%v, %q, %s, want %q, killed %v", err, out, &stderr, c.want, c.kill)
			}
		})
	}
}
