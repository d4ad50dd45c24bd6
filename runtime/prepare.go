package runtime

import (
	"os"
	"slices"
	"strconv"

	"mlrun/bundle"
	"mlrun/proc"
	"mlrun/rlimit"
	"mlrun/runtime/launch"
)

// Check finds out whether this process, with its user and its limits, can run the bundle. The error is a *bundle.Error.
func Check(b *bundle.Bundle) error { return check(b, nil) }

// check is Check without those resource limits that others replace.
func check(b *bundle.Bundle, replaced []rlimit.Change) error {
	p := append(checkUser(b), checkRlimits(b.Rlimits, replaced)...)
	p = append(p, checkAttributes(b)...)
	p = append(p, checkResources(b)...)
	if len(p) == 0 {
		return nil
	}
	return &bundle.Error{File: b.File, Problems: p}
}

// maxGidProblems is how many wrong groups are reported one by one: a configuration can name a hundred thousand.
const maxGidProblems = 4

// checkUser refuses users and groups that only root can become.
func checkUser(b *bundle.Bundle) (p []bundle.Problem) {
	refuse := func(path string, found uint32, want int) {
		p = append(p, bundle.Problem{Path: path, Found: strconv.Itoa(int(found)),
			Want: strconv.Itoa(want) + ", the caller's: only root can run a process as somebody else"})
	}
	if b.UID != nil && int(*b.UID) != os.Getuid() && !mayChangeUser() {
		refuse("process.user.uid", *b.UID, os.Getuid())
	}
	if b.GID != nil && int(*b.GID) != os.Getgid() && !mayChangeGroups() {
		refuse("process.user.gid", *b.GID, os.Getgid())
	}
	if len(b.Spec.Process.User.AdditionalGids) == 0 || mayChangeGroups() {
		return p
	}
	groups, _ := os.Getgroups()
	groups = append(groups, os.Getgid())
	wrong := 0
	for i, gid := range b.Spec.Process.User.AdditionalGids {
		if slices.Contains(groups, int(gid)) {
			continue
		}
		if wrong++; wrong <= maxGidProblems {
			p = append(p, bundle.Problem{Path: "process.user.additionalGids[" + strconv.Itoa(i) + "]", Found: strconv.Itoa(int(gid)),
				Want: "a group that the caller is in: only root can add others"})
		}
	}
	if more := wrong - maxGidProblems; more > 0 {
		p = append(p, bundle.Problem{Path: "process.user.additionalGids", Found: strconv.Itoa(more) + " more such groups",
			Want: "groups that the caller is in"})
	}
	return p
}

// launchConfig is what is applied between fork and exec.
func (o *CreateOptions) launchConfig(supervisor proc.ID, callerReaps bool) launch.Config {
	p := o.Bundle.Spec.Process
	mark := proc.Mark(os.Getenv(proc.MarkerEnv), supervisor)
	c := launch.Config{
		Args: p.Args, Env: bundle.Dedup(append(slices.Clip(p.Env), mark)), Path: defaultPath, Dir: p.Cwd,
		OOMScoreAdj: p.OOMScoreAdj, Umask: p.User.Umask, NoNewPrivileges: p.NoNewPrivileges,
		PreserveFDs: o.PreserveFDs,
	}
	if path, ok := bundle.LookupEnv(c.Env, "PATH"); ok {
		c.Path = path
	}
	for _, l := range o.limitsInForce() {
		c.Rlimits = append(c.Rlimits, launch.Rlimit{Name: l.Type.Name, Resource: l.Type.Resource, Soft: l.Soft, Hard: l.Hard})
	}
	if callerReaps {
		c.Rlimits = seal(c.Rlimits, supervisor)
	}
	c.UID, c.GID = uint32(os.Getuid()), uint32(os.Getgid())
	if b := o.Bundle; b.UID != nil && *b.UID != c.UID || b.GID != nil && *b.GID != c.GID {
		c.SetUser = true
		if b.UID != nil {
			c.UID = *b.UID
		}
		if b.GID != nil {
			c.GID = *b.GID
		}
	}
	c.Groups = p.User.AdditionalGids
	c.SetGroups = len(c.Groups) > 0 && mayChangeGroups()
	attributes(&c, o.Bundle)
	resources(&c, &o.Bundle.Resources)
	return c
}
