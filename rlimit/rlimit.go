// Package rlimit knows the resource limits of the platform it is built for:
// their names as the OCI runtime-spec and getrlimit(2) write them, the numbers
// the system calls take, what each one counts and what it is counted for.
//
// It reads limits, of this process and of others, parses them as they are
// given on a command line, judges them before they are set, and sets those of a
// process that runs ([Set]). Setting those of a process that starts is left to
// the code that starts it, because a limit must be set in that process and at
// the right moment: the Go runtime itself reacts to changes of RLIMIT_NOFILE,
// and RLIMIT_AS or RLIMIT_NPROC set too early break the starter instead of the
// program.
//
// A limit is inherited over fork and kept over execve (getrlimit(2)).
//
// The numbers behind the names are taken from golang.org/x/sys/unix, because
// they differ: between Linux and darwin for four of the names, and between the
// architectures of Linux (mips numbers five of them otherwise, sparc two).
package rlimit

import (
	"errors"
	"strconv"
	"strings"
)

// Scope says what the use of a resource is summed up over.
type Scope uint8

const (
	// Process: each process has its own count. A child inherits the limit,
	// not the use, so a tree of processes can use a multiple of the limit.
	Process Scope = iota
	// User: the count is that of the real user ID, over all of its processes,
	// including those that were not started by mlrun; the limit which is
	// compared with it is that of the process that asks for more.
	User
	// UserNamespace: since Linux 5.14 the count is that of the real user ID in
	// its user namespace, and it is charged to all namespaces above, too: there
	// to the user that made the namespace, whose limit at that moment bounds
	// what is charged (kernel/ucount.c, inc_rlimit_ucounts; kernel/user_namespace.c,
	// create_user_ns). So who has a namespace of its own has a count of its own.
	// Before Linux 5.14 it is User.
	UserNamespace
)

// String returns "process", "real user" or "user namespace".
func (s Scope) String() string {
	return [...]string{Process: "process", User: "real user", UserNamespace: "user namespace"}[s]
}

// Type is one kind of resource limit.
type Type struct {
	Name     string // as in config.json and getrlimit(2): "RLIMIT_NOFILE"
	Resource int    // what getrlimit, setrlimit and prlimit take
	Unit     string // bytes, seconds, microseconds, processes, files, signals, priority or locks
	Scope    Scope

	// Default is what the kernel gives to its first process, from which all
	// others inherit, in the form of [Parse]: "1024:4096" is soft and hard; or
	// in words where the kernel computes it. What logs a user in changes most.
	Default string

	// About is one line on what is limited and what is seen at the limit.
	About string

	// Label is the name in /proc/PID/limits (fs/proc/base.c, lnames); "" where
	// there is none.
	Label string
}

// Key is the name of the type on a command line: "nofile".
func (t Type) Key() string { return strings.ToLower(strings.TrimPrefix(t.Name, prefix)) }

// Same tells whether t and o are one limit of the kernel. Types with other
// names can be: RLIMIT_AS and RLIMIT_RSS of darwin have one number.
func (t Type) Same(o Type) bool { return t.Resource == o.Resource && t.Name != "" && o.Name != "" }

const prefix = "RLIMIT_"

// Limit is a value for one kind of resource. The soft limit is enforced, the
// hard limit bounds what the soft one may be raised to. Both are in units of
// Type.Unit, or [Infinity].
type Limit struct {
	Type
	Soft, Hard uint64
}

// Lookup returns the type with exactly this name, which is written in capitals
// with its prefix: "RLIMIT_CORE". It knows only what the platform has.
func Lookup(name string) (Type, bool) {
	for i := range types {
		if types[i].Name == name {
			return types[i], true
		}
	}
	return Type{}, false
}

// Names returns the names of all types of the platform, sorted.
func Names() []string {
	names := make([]string, len(types))
	for i := range types {
		names[i] = types[i].Name
	}
	return names
}

// Check tells whether a process whose hard limit of this type is curHard may
// set l. privileged is whether it may raise hard limits, which is what
// CAP_SYS_RESOURCE in the initial user namespace allows on Linux, and being
// the superuser elsewhere. The error is one line that says what was asked for,
// what is allowed and what to do. It also refuses values between Max and
// Infinity, which the kernel would make infinite.
//
// A kernel can refuse what passes here: RLIMIT_NOFILE above the sysctl
// fs.nr_open is refused by Linux even to the superuser.
func Check(l Limit, curHard uint64, privileged bool) error {
	switch {
	case l.Hard > Max && l.Hard < Infinity || l.Soft > Max && l.Soft < Infinity:
		return errors.New(l.Name + ": " + number(max(l.Soft, l.Hard)) + " does not fit rlim_t: ask for at most " + number(Max) + ", or for unlimited")
	case l.Soft > l.Hard:
		return errors.New(l.Name + ": soft limit " + l.amount(l.Soft) + " is above hard limit " +
			l.amount(l.Hard) + ": lower soft or raise hard")
	case l.Hard > curHard && !privileged:
		return errors.New(l.Name + ": hard limit " + l.amount(l.Hard) + " is above the " +
			l.amount(curHard) + " of the caller, which takes privilege (CAP_SYS_RESOURCE): ask for at most " +
			number(curHard) + ", or run as root")
	}
	return nil
}

// amount returns v with its unit.
func (t Type) amount(v uint64) string {
	if v >= Infinity {
		return number(v)
	}
	return number(v) + " (" + t.Unit + ")"
}

// number returns v in decimal, or "unlimited".
func number(v uint64) string {
	if v >= Infinity {
		return "unlimited"
	}
	return strconv.FormatUint(v, 10)
}
