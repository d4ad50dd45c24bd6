package seccomp

import (
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	call := func(rest string) string {
		return `{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s", "syscalls": [{"names": ["read"], ` + rest + `}]}`
	}
	with := func(rest string) string { return `{"defaultAction": "SCMP_ACT_ALLOW", ` + rest + `}` }
	const (
		wantAction = "want an action: SCMP_ACT_ALLOW, ERRNO, KILL, KILL_PROCESS, KILL_THREAD, LOG, NOTIFY, TRACE or TRAP"
		wantOp     = "want a comparison: SCMP_CMP_EQ, NE, LT, LE, GT, GE or MASKED_EQ"
		wantSocket = "want the absolute path of a socket"
	)
	for _, test := range []struct {
		conf string
		want []string
	}{
		{`{"defaultAction": "SCMP_ACT_KILL"}`, nil},
		{`{}`, []string{"defaultAction: found nothing, " + wantAction}},
		{`{"defaultAction": "ALLOW"}`, []string{`defaultAction: found "ALLOW", ` + wantAction}},
		{with(`"defaultErrnoRet": 1`), []string{"defaultErrnoRet: found 1 with SCMP_ACT_ALLOW, want " + wantNoErrno}},
		{with(`"defaultErrnoRet": 0`), []string{"defaultErrnoRet: found 0 with SCMP_ACT_ALLOW, want " + wantNoErrno}},
		{`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}`, []string{"defaultErrnoRet: found 4096, want an errno from 0 to 4095"}},
		{`{"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65536}`, []string{"defaultErrnoRet: found 65536, want a value of 16 bits for the tracer"}},
		{`{"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/s"}`, []string{
			`defaultAction: found "SCMP_ACT_NOTIFY", want another action, since it is that of sendmsg too` + wantAnotherThanNotify}},

		{with(`"architectures": ["SCMP_ARCH_X86", "amd64", "", "SCMP_ARCH_S390X"]`), []string{
			`architectures[1]: found "amd64", want an architecture of the runtime-spec, such as SCMP_ARCH_X86_64`,
			`architectures[2]: found "", want an architecture of the runtime-spec, such as SCMP_ARCH_X86_64`}},
		{with(`"flags": ["SECCOMP_FILTER_FLAG_LOG", "LOG", "SECCOMP_FILTER_FLAG_NEW_LISTENER"]`), []string{
			`flags[1]: found "LOG", want SECCOMP_FILTER_FLAG_LOG, SPEC_ALLOW, TSYNC or WAIT_KILLABLE_RECV`,
			`flags[2]: found "SECCOMP_FILTER_FLAG_NEW_LISTENER", want SECCOMP_FILTER_FLAG_LOG, SPEC_ALLOW, TSYNC or WAIT_KILLABLE_RECV`}},
		{with(`"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]`), []string{
			`flags[0]: found "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", want an action SCMP_ACT_NOTIFY with it, or not this flag`}},

		{with(`"listenerPath": "/run/agent.sock", "listenerMetadata": "m"`), nil},
		{with(`"listenerPath": "run/agent.sock"`), []string{`listenerPath: found "run/agent.sock", ` + wantSocket}},
		{with(`"listenerPath": "/run\u0000"`), []string{`listenerPath: found "/run\x00", ` + wantSocket}},
		{with(`"listenerMetadata": "m"`), []string{`listenerMetadata: found "m", want nothing without listenerPath`}},
		{with(`"syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]`), []string{
			"listenerPath: found nothing, " + wantSocket + ", which SCMP_ACT_NOTIFY needs"}},

		{call(`"action": "SCMP_ACT_NOTIFY"`), nil},
		{call(`"action": ""`), []string{"syscalls[0].action: found nothing, " + wantAction}},
		{call(`"action": "SCMP_ACT_NOTIFY", "errnoRet": 1`), []string{"syscalls[0].errnoRet: found 1 with SCMP_ACT_NOTIFY, want " + wantNoErrno}},
		{call(`"action": "SCMP_ACT_ERRNO", "errnoRet": 4294967295`), []string{"syscalls[0].errnoRet: found 4294967295, want an errno from 0 to 4095"}},
		{call(`"names": [], "action": "SCMP_ACT_LOG"`), []string{"syscalls[0].names: found nothing, want the names of system calls, at least one"}},
		{call(`"names": ["read", ""], "action": "SCMP_ACT_LOG"`), []string{`syscalls[0].names[1]: found "", want the name of a system call`}},
		{call(`"names": ["read", "sendmsg"], "action": "SCMP_ACT_NOTIFY", "args": [` + arg(0, "EQ", 1) + `]`), []string{
			`syscalls[0].names[1]: found "sendmsg" with SCMP_ACT_NOTIFY, want another action for it` + wantAnotherThanNotify}},
		{call(`"action": "SCMP_ACT_LOG", "args": [` + arg(0, "EQ", 1) + `, {"index": 6, "op": "SCMP_CMP_XX"}, {"index": 1}]`), []string{
			"syscalls[0].args[1].index: found 6, want the index of an argument, from 0 to 5",
			`syscalls[0].args[1].op: found "SCMP_CMP_XX", ` + wantOp,
			"syscalls[0].args[2].op: found nothing, " + wantOp}},
		{with(`"architectures": ["` + strings.Repeat("é", 40) + `"]`), []string{
			`architectures[0]: found "` + strings.Repeat("é", 28) + `...", want an architecture of the runtime-spec, such as SCMP_ARCH_X86_64`}},
	} {
		checkProblems(t, test.conf, "amd64", test.want)
	}
	checkProblems(t, `{"defaultAction": "SCMP_ACT_KILL"}`, "s390x", []string{
		`architectures: found a machine of the kind "s390x", want one of amd64, 386, arm64, arm and riscv64: there is no table of system calls of others`})
}

// checkProblems compares what Check and Compile say of a configuration.
func checkProblems(t *testing.T, conf, goarch string, want []string) {
	t.Helper()
	var got []string
	for _, p := range Check(parse(t, conf), goarch) {
		got = append(got, p.Path+": found "+p.Found+", want "+p.Want)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", conf, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	f, err := Compile(parse(t, conf), goarch)
	switch {
	case len(want) == 0 && (err != nil || f == nil):
		t.Errorf("%s: Compile: %v", conf, err)
	case len(want) == 1 && (err == nil || f != nil || err.Error() != "linux.seccomp."+want[0]):
		t.Errorf("%s: Compile: %v", conf, err)
	case len(want) > 1 && (err == nil || !strings.HasPrefix(err.Error(), "linux.seccomp."+want[0]+" (and ")):
		t.Errorf("%s: Compile: %v", conf, err)
	}
}

// Rules of which libseccomp says EEXIST.
func TestContradictions(t *testing.T) {
	one, two := arg(0, "EQ", 1), arg(1, "GE", 1<<33)
	for _, test := range []struct{ first, second string }{
		{one, one}, {two, two}, {one + "," + two, two + "," + one}, {one + "," + two, one},
	} {
		conf := func(second string) string {
			return `{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": [
				{"names": ["read"], "action": "SCMP_ACT_LOG"},
				{"names": ["write"], "action": "SCMP_ACT_ERRNO", "args": [` + test.first + `]},
				{"names": ["read", "write"], "action": ` + second + `, "args": [` + test.second + `]}]}`
		}
		want := `syscalls[2].names[1]: found "write" with SCMP_ACT_ERRNO, want the action and errnoRet of syscalls[1], ` +
			`whose conditions include these, or other conditions`
		checkProblems(t, conf(`"SCMP_ACT_ERRNO", "errnoRet": 2`), "amd64", []string{want})
		checkProblems(t, conf(`"SCMP_ACT_ERRNO", "errnoRet": 1`), "amd64", nil)
		checkProblems(t, conf(`"SCMP_ACT_ALLOW"`), "amd64", nil) // the default action
	}
}
