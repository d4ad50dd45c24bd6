//go:build !portable

package launch

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// errTasksOfRoot is a limit of tasks that the kernel would not hold.
var errTasksOfRoot = errors.New("user namespace: RLIMIT_NPROC does not hold for root")

func (p *plan) checkTasks(c *Config) error {
	if c.Tasks != nil && c.Tasks.PID == 0 && c.SetUser && c.UID == 0 {
		return errTasksOfRoot
	}
	return nil
}

// tasks adds what puts the payload, with the user that it has now, into a user namespace, and limits the tasks in it. RLIMIT_NPROC of the time
// before is what the namespace, and all below it, may have of the user's (user_namespaces(7), kernel/user_namespace.c).
func (p *plan) tasks(c *Config) {
	t := c.Tasks
	if t == nil {
		return
	}
	if t.PID > 0 {
		path, _ := p.cstring("/proc/" + strconv.Itoa(t.PID) + "/ns/user")
		p.add(step{op: opJoin, name: namespaceStep + "setns", a: [4]uintptr{addr(p, path)}})
	} else {
		p.namespaces(c)
	}
	// What it was before, the limit of who joins is set for the payload's sake, too: it is that of the process that forks.
	p.call("rlimit RLIMIT_NPROC", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NPROC, addr(p, &unix.Rlimit{Cur: t.Max, Max: t.Max}))
	if c.Capabilities == nil {
		p.capset(&Capabilities{}, 0) // in a namespace of its own it has got all
	}
	if !c.Sibling && !c.child {
		p.call("prctl PR_SET_PDEATHSIG", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	}
}

// namespaces adds what joins the outer namespaces that exist, and makes the others, one in the other. What a namespace may have of the one
// around it is the soft RLIMIT_NPROC of the process that makes it (create_user_ns, since Linux 5.14), so that is set before; the hard limit
// stays, since an inner limit may be the larger one.
func (p *plan) namespaces(c *Config) {
	t := c.Tasks
	limits := append(append([]uint64(nil), t.Outer...), t.Max)
	if t.Joined > 0 {
		p.namespace, p.setns = int32(t.Namespace), len(p.steps)
		p.call(namespaceStep+"setns", unix.SYS_SETNS, uintptr(t.Namespace), unix.CLONE_NEWUSER)
	}
	if t.Joined < len(limits) && c.SetUser {
		// Files below /proc/self are root's after a change of user (proc(5)).
		p.call(namespaceStep+"prctl PR_SET_DUMPABLE", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1)
	}
	for i := t.Joined; i < len(limits); i++ {
		if i > 0 {
			p.softTasks(limits[i-1], hardTasks(c))
		}
		p.newNamespace(c)
	}
	if t.Joined < len(limits) && c.SetUser {
		p.call(namespaceStep+"prctl PR_SET_DUMPABLE", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
	}
}

// softTasks adds a change of the soft RLIMIT_NPROC. The hard one is what the caller has, or was set before.
func (p *plan) softTasks(soft, hard uint64) {
	p.call(namespaceStep+"rlimit RLIMIT_NPROC", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NPROC, addr(p, &unix.Rlimit{Cur: min(soft, hard), Max: hard}))
}

// hardTasks is the hard RLIMIT_NPROC that the payload has before its namespaces are made.
func hardTasks(c *Config) uint64 {
	for i := len(c.Rlimits) - 1; i >= 0; i-- {
		if c.Rlimits[i].Resource == unix.RLIMIT_NPROC {
			return c.Rlimits[i].Hard
		}
	}
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NPROC, &l) != nil {
		return unix.RLIM_INFINITY
	}
	return l.Max
}

func (p *plan) newNamespace(c *Config) {
	p.call(namespaceStep+"unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	// An ordinary user may map itself alone, and its group when nobody can get rid of groups any more.
	for _, f := range []struct{ name, text string }{
		{"setgroups", "deny"}, {"uid_map", oneID(c.UID)}, {"gid_map", oneID(c.GID)},
	} {
		_ = p.write(namespaceStep+f.name, "/proc/self/"+f.name, f.text)
	}
}

// oneID maps an id to itself.
func oneID(id uint32) string {
	n := strconv.FormatUint(uint64(id), 10)
	return n + " " + n + " 1"
}
