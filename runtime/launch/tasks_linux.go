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
		p.newNamespace(c)
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

func (p *plan) newNamespace(c *Config) {
	p.call(namespaceStep+"unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	if c.SetUser {
		// Files below /proc/self are root's after a change of user (proc(5)).
		p.call(namespaceStep+"prctl PR_SET_DUMPABLE", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1)
	}
	// An ordinary user may map itself alone, and its group when nobody can get rid of groups any more.
	for _, f := range []struct{ name, text string }{
		{"setgroups", "deny"}, {"uid_map", oneID(c.UID)}, {"gid_map", oneID(c.GID)},
	} {
		_ = p.write(namespaceStep+f.name, "/proc/self/"+f.name, f.text)
	}
	if c.SetUser {
		p.call(namespaceStep+"prctl PR_SET_DUMPABLE", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
	}
}

// oneID maps an id to itself.
func oneID(id uint32) string {
	n := strconv.FormatUint(uint64(id), 10)
	return n + " " + n + " 1"
}
