package seccomp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Every way into execve of every machine is told of, and nothing else is.
func TestNotify(t *testing.T) {
	for _, machine := range archs {
		if machine.goarch == "" {
			continue
		}
		f, err := Notify(machine.goarch, "execve", "execveat")
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(f.Program); err != nil {
			t.Fatal(err)
		}
		if !f.Listener || len(f.Ignored) > 0 || f.Flags != flagSpecAllow {
			t.Errorf("%s: %v, %v, flags %#x", machine.name, f.Listener, f.Ignored, f.Flags)
		}
		for _, a := range archs {
			if a.family != machine.family {
				continue
			}
			want := map[uint32]bool{nr(t, a.name, "execve"): true, nr(t, a.name, "execveat"): true}
			for n := range uint32(1500) {
				for _, number := range []uint32{n, n | x32Bit, n | 1<<31, -n, n + 983040} {
					expected := uint32(retAllow)
					if number&x32Bit == a.bit && want[number] || a.audit == auditX86_64 && (number == 59 || number == 322 || number == x32Bit|520 || number == x32Bit|545) {
						expected = retNotify
					}
					if got, steps := interpret(f.Program, data{nr: number, arch: a.audit}); got != expected || steps > 12 {
						t.Fatalf("%s, %s: call %d gets %#x in %d steps, want %#x", machine.name, a.name, number, got, steps, expected)
					}
				}
			}
		}
	}
	if _, err := Notify("s390x", "execve"); err == nil || !strings.Contains(err.Error(), "s390x") {
		t.Errorf("a machine without tables: %v", err)
	}
}

func TestOutranked(t *testing.T) {
	const plain = `{"names": ["read"], "action": "SCMP_ACT_ERRNO"}`
	for _, c := range []struct{ def, calls, want string }{
		{"ALLOW", plain, ""},
		{"ERRNO", `{"names": ["execve", "execveat"], "action": "SCMP_ACT_ALLOW"}`, ""},
		{"ALLOW", `{"names": ["execve"], "action": "SCMP_ACT_ERRNO"}`, ""},
		{"ALLOW", plain + `, {"names": ["open", "execve"], "action": "SCMP_ACT_TRACE"}`, `syscalls[1].action "SCMP_ACT_TRACE"`},
		{"ALLOW", `{"names": ["execveat"], "action": "SCMP_ACT_LOG", "args": [` + anyArg(0) + `]}`, `syscalls[0].action "SCMP_ACT_LOG"`},
		{"ALLOW", `{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}`, `syscalls[0].action "SCMP_ACT_NOTIFY"`},
		{"ALLOW", `{"names": ["read"], "action": "SCMP_ACT_LOG"}`, ""},
		{"LOG", plain, `defaultAction "SCMP_ACT_LOG"`},
		{"TRACE", `{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}`, `defaultAction "SCMP_ACT_TRACE"`},
		{"LOG", `{"names": ["execve", "execveat"], "action": "SCMP_ACT_ALLOW"}`, ""},
		{"LOG", `{"names": ["execve", "execveat"], "action": "SCMP_ACT_ALLOW", "args": [` + anyArg(0) + `]}`, `defaultAction "SCMP_ACT_LOG"`},
	} {
		s := parse(t, `{"defaultAction": "SCMP_ACT_`+c.def+`", "syscalls": [`+c.calls+`]}`)
		var got []string
		for _, p := range Outranked(s, "execve", "execveat") {
			got = append(got, p.Path+" "+p.Found)
		}
		if fmt.Sprint(got) != fmt.Sprint(strings.Split(c.want, "|")) && (c.want != "" || len(got) > 0) {
			t.Errorf("%s, %s: %v, want %v", c.def, c.calls, got, c.want)
		}
	}
	if Outranked(nil, "execve") != nil || Outranked(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow}) != nil {
		t.Error("found something in nothing")
	}
}
