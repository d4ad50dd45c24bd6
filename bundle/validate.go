package bundle

import (
	"math"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/rlimit"
)

// validate checks the values of the properties which mlrun honours, and takes
// over into the bundle what Spec can not express. Values of a wrong type have
// been recorded by decode, and are zero; as only the first problem with a value
// is recorded, they need no care here.
func (c *checker) validate() {
	if !isVersion1(c.bundle.Spec.Version) {
		c.wrongMember(0, "ociVersion", "")
	}
	c.process()
	c.root()
	c.hooks()
	c.annotations()
	c.memory()
	c.resources()
	c.attributes()
}

// isVersion1 tells whether v is a semantic version 1.x.y.
func isVersion1(v string) bool {
	v, build, hasBuild := strings.Cut(v, "+")
	v, pre, hasPre := strings.Cut(v, "-")
	part := strings.Split(v, ".")
	return len(part) == 3 && part[0] == "1" && isNumber(part[1]) && isNumber(part[2]) &&
		(!hasPre || areIdentifiers(pre, false)) && (!hasBuild || areIdentifiers(build, true))
}

// isNumber tells whether s is a number without leading zeros.
func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == "" && (s == "0" || s[0] != '0')
}

// areIdentifiers tells whether s is made of identifiers with dots between, of
// which those that are numbers may begin with 0 only if leading.
func areIdentifiers(s string, leading bool) bool {
	const digits = "0123456789"
	for id := range strings.SplitSeq(s, ".") {
		if strings.Trim(id, digits+"-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" || id == "" {
			return false
		}
		if !leading && strings.Trim(id, digits) == "" && !isNumber(id) {
			return false
		}
	}
	return true
}

func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }

func isAbsolute(s string) bool { return strings.HasPrefix(s, "/") && !hasNUL(s) }

// isEnv tells whether s is an entry of an environment.
func isEnv(s string) bool { return strings.IndexByte(s, '=') > 0 && !hasNUL(s) }

// strings checks the elements of a member of n, whose values are in list.
func (c *checker) strings(n int, name string, list []string, ok func(string) bool) {
	for i, e := range c.elements(c.member(n, name)) {
		if !ok(list[i]) {
			c.wrong(e, "")
		}
	}
}

// process checks process, which is required.
func (c *checker) process() {
	n := c.member(0, "process")
	if n < 0 || c.nodes[n].kind != object {
		c.wrongMember(0, "process", "")
		return
	}
	process := c.bundle.Spec.Process
	if len(process.Args) == 0 {
		c.wrongMember(n, "args", "")
	}
	for i, e := range c.elements(c.member(n, "args")) {
		if hasNUL(process.Args[i]) || i == 0 && process.Args[i] == "" {
			c.wrong(e, "")
		}
	}
	c.strings(n, "env", process.Env, isEnv)
	if !isAbsolute(process.Cwd) {
		c.wrongMember(n, "cwd", "")
	}
	if a := process.OOMScoreAdj; a != nil && (*a < -1000 || *a > 1000) {
		c.wrongMember(n, "oomScoreAdj", "")
	}
	c.user(c.member(n, "user"), &process.User)
	c.rlimits(c.member(n, "rlimits"), process.Rlimits)
}

// user checks process.user, and tells absent IDs from 0.
func (c *checker) user(n int, user *specs.User) {
	if c.member(n, "uid") >= 0 {
		c.bundle.UID = &user.UID
	}
	if c.member(n, "gid") >= 0 {
		c.bundle.GID = &user.GID
	}
	if user.UID == math.MaxUint32 {
		c.wrongMember(n, "uid", "")
	}
	if user.GID == math.MaxUint32 {
		c.wrongMember(n, "gid", "")
	}
	if user.Umask != nil && *user.Umask > 0o777 {
		c.wrongMember(n, "umask", "")
	}
	for i, e := range c.elements(c.member(n, "additionalGids")) {
		if user.AdditionalGids[i] == math.MaxUint32 {
			c.wrong(e, "")
		}
	}
}

// rlimits checks process.rlimits. All three members are required: a limit of 0
// must be written, not come from a member that was forgotten.
func (c *checker) rlimits(n int, list []specs.POSIXRlimit) {
	seen := map[int]bool{}
	for i, e := range c.elements(n) {
		if c.nodes[e].kind != object {
			continue // recorded by decode
		}
		limit := list[i]
		typ, ok := rlimit.Lookup(limit.Type)
		if !ok {
			c.wrongMember(e, "type", "one of "+strings.Join(rlimit.Names(), ", "))
		} else if seen[typ.Resource] { // by the number: two names can be one limit
			c.wrongMember(e, "type", "a type that is not in the list before")
		} else {
			seen[typ.Resource] = true
		}

		soft, hard := c.member(e, "soft"), c.member(e, "hard")
		if soft < 0 {
			c.wrongMember(e, "soft", "")
		}
		if hard < 0 {
			c.wrongMember(e, "hard", "")
		}
		if soft >= 0 && hard >= 0 && c.nodes[hard].flags&bad == 0 && limit.Soft > limit.Hard {
			c.wrongHere(soft, "at most the hard limit, "+c.found(hard))
		}
		c.bundle.Rlimits = append(c.bundle.Rlimits, rlimit.Limit{
			Type: typ,
			Soft: min(limit.Soft, rlimit.Infinity),
			Hard: min(limit.Hard, rlimit.Infinity),
		})
	}
}

// root checks what root.path is by itself.
func (c *checker) root() {
	if root := c.bundle.Spec.Root; root != nil && hasNUL(root.Path) {
		c.wrong(c.find("root.path"), "")
	}
}

// hooks checks the six lists of hooks.
func (c *checker) hooks() {
	hooks := c.bundle.Spec.Hooks
	if hooks == nil {
		return
	}
	n := c.member(0, "hooks")
	//lint:ignore SA1019 prestart is deprecated, and still in use
	c.hookList(c.member(n, "prestart"), hooks.Prestart)
	c.hookList(c.member(n, "createRuntime"), hooks.CreateRuntime)
	c.hookList(c.member(n, "createContainer"), hooks.CreateContainer)
	c.hookList(c.member(n, "startContainer"), hooks.StartContainer)
	c.hookList(c.member(n, "poststart"), hooks.Poststart)
	c.hookList(c.member(n, "poststop"), hooks.Poststop)
}

func (c *checker) hookList(n int, list []specs.Hook) {
	for i, e := range c.elements(n) {
		if c.nodes[e].kind != object {
			continue // recorded by decode
		}
		hook := &list[i]
		if !isAbsolute(hook.Path) {
			c.wrongMember(e, "path", "")
		}
		if hook.Timeout != nil && *hook.Timeout <= 0 {
			c.wrongMember(e, "timeout", "")
		}
		c.strings(e, "args", hook.Args, func(s string) bool { return !hasNUL(s) })
		c.strings(e, "env", hook.Env, isEnv)
	}
}

// memory checks linux.resources.memory, and the annotation for its limit.
func (c *checker) memory() {
	annotated := c.bundle.Settings.MemoryLimit
	if annotated > 0 {
		c.bundle.MemoryLimit = annotated
	}
	linux := c.bundle.Spec.Linux
	if linux == nil || linux.Resources == nil || linux.Resources.Memory == nil {
		return
	}
	n := c.find("linux.resources.memory")
	memory := linux.Resources.Memory
	if memory.Limit != nil || annotated <= 0 {
		c.bundle.MemoryLimit = c.bytes(n, "limit", memory.Limit)
	}
	if m := c.member(n, "limit"); annotated > 0 && annotated != c.bundle.MemoryLimit && c.nodes[m].flags&bad == 0 {
		c.wrongHere(c.member(c.member(0, "annotations"), MemoryLimitAnnotation), "the same as linux.resources.memory.limit, "+c.found(m)+", or only one of both")
	}
	c.bundle.MemoryReservation = c.bytes(n, "reservation", memory.Reservation)
	c.bundle.MemorySwap = c.bytes(n, "swap", memory.Swap)
	c.compareMemory(n)
	if memory.DisableOOMKiller != nil && *memory.DisableOOMKiller {
		c.disableOOMKiller(c.member(n, "disableOOMKiller"))
	}
}

// bytes checks a member of n that is a number of bytes, or -1 for unlimited,
// which an absent one means, too.
func (c *checker) bytes(n int, name string, value *int64) int64 {
	if value == nil {
		return -1
	}
	if *value < -1 || *value == 0 {
		c.wrongMember(n, name, "")
	}
	return *value
}

// compareMemory checks the limits of memory against each other: those of them
// that are right by themselves. That swap is not below the limit is a rule of
// the kernel (memory.memsw.limit_in_bytes of cgroup v1), that there must be a
// limit one of runc (ConvertMemorySwapToCgroupV2Value).
func (c *checker) compareMemory(n int) {
	b := c.bundle
	limit := c.member(n, "limit")
	if limit >= 0 && c.nodes[limit].flags&bad != 0 {
		return
	}
	most := strconv.FormatInt(b.MemoryLimit, 10)
	if limit >= 0 {
		most = c.found(limit)
	}
	if b.MemoryLimit > 0 && b.MemoryReservation > b.MemoryLimit {
		c.wrongHere(c.member(n, "reservation"), "at most the limit, "+most)
	}
	switch {
	case b.MemorySwap <= 0:
	case b.MemoryLimit <= 0:
		c.wrongHere(c.member(n, "swap"), "a limit beside it, since swap is that of memory and swap together; or -1 for unlimited")
	case b.MemorySwap < b.MemoryLimit:
		c.wrongHere(c.member(n, "swap"), "at least the limit, "+most+
			", since swap is that of memory and swap together; or -1 for unlimited")
	}
}

// disableOOMKiller takes over node n, which is true: as with cgroups nothing is
// killed at the limit, and the program stands still. An annotation that asks
// for something else contradicts it.
func (c *checker) disableOOMKiller(n int) {
	s := &c.bundle.Settings
	if a := c.member(c.member(0, "annotations"), MemoryOnBreachAnnotation); a >= 0 && s.OnBreach.Action != BreachFreeze {
		if c.nodes[a].flags&bad == 0 {
			c.wrongHere(n, "false, since the annotation "+MemoryOnBreachAnnotation+" asks for "+s.OnBreach.String()+
				" instead of "+breachActions[BreachFreeze])
		}
		return
	}
	s.OnBreach = Breach{Action: BreachFreeze}
}
