package seccomp

import "github.com/opencontainers/runtime-spec/specs-go"

// Notify returns a filter that tells a listener of the calls named, by whichever architecture of the machine they are made, and allows all
// others. goarch is as for [Compile]; the error is that of a machine without tables.
func Notify(goarch string, names ...string) (*Filter, error) {
	s := &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		ListenerPath:  "/", // whoever installs the filter takes its listener
		Syscalls:      []specs.LinuxSyscall{{Names: names, Action: specs.ActNotify}},
	}
	for i := range archs {
		s.Architectures = append(s.Architectures, archs[i].name)
	}
	return Compile(s, goarch)
}

// Outranked lists the places in s where one of the calls gets an action that a filter of [Notify] beside it would prevent: of the actions
// of several filters SCMP_ACT_NOTIFY goes before SCMP_ACT_TRACE and SCMP_ACT_LOG (seccomp(2)), and whoever answers it lets the call go on
// without these. Another SCMP_ACT_NOTIFY is there, too, for any call: Linux allows one listener among the filters of a process
// (kernel/seccomp.c, has_duplicate_listener).
func Outranked(s *specs.LinuxSeccomp, calls ...string) (places []Problem) {
	if s == nil {
		return nil
	}
	weaker := func(a specs.LinuxSeccompAction) bool { return a == specs.ActTrace || a == specs.ActLog }
	ruled := map[string]bool{} // by a rule without conditions: the default action is not theirs
	for i := range s.Syscalls {
		rule := &s.Syscalls[i]
		at := Problem{Path: path("syscalls", i) + ".action", Found: quote(string(rule.Action))}
		found := rule.Action == specs.ActNotify
		for _, name := range rule.Names {
			for _, call := range calls {
				if name != call {
					continue
				}
				found = found || weaker(rule.Action)
				if len(rule.Args) == 0 {
					ruled[call] = true
				}
			}
		}
		if found {
			places = append(places, at)
		}
	}
	if s.DefaultAction == specs.ActNotify || weaker(s.DefaultAction) && len(ruled) < len(calls) {
		places = append(places, Problem{Path: "defaultAction", Found: quote(string(s.DefaultAction))})
	}
	return places
}
