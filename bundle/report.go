package bundle

import (
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxProblems bounds what a hostile file can make of itself: further problems,
// and further unsupported properties, are dropped.
const maxProblems = 256

// checker turns a tree into a bundle and gathers what is wrong with it.
type checker struct {
	*tree
	bundle  *Bundle
	invalid []Problem // wrong
	refused []Problem // valid but unsupported
}

// newChecker makes a checker of a tree for a bundle without limits.
func newChecker(t *tree, b *Bundle) *checker {
	b.Spec, b.MemoryLimit, b.MemoryReservation, b.MemorySwap = new(specs.Spec), -1, -1, -1
	return &checker{tree: t, bundle: b}
}

// wrong records that node n is not what is wanted: what the table of wants has
// for it, or else the general want. Of several problems with one node only the
// first is recorded.
func (c *checker) wrong(n int, general string) {
	if c.isNew(n) {
		path, pattern := c.path(n)
		c.invalid = append(c.invalid, Problem{Path: path, Found: c.found(n), Want: wantFor(pattern, general)})
	}
}

// wrongHere is wrong with this want, whatever the table has.
func (c *checker) wrongHere(n int, want string) {
	if c.isNew(n) {
		path, _ := c.path(n)
		c.invalid = append(c.invalid, Problem{Path: path, Found: c.found(n), Want: want})
	}
}

// wrongMember is wrong of a member of object n, which may be missing.
func (c *checker) wrongMember(n int, name, general string) {
	if m := c.member(n, name); m >= 0 {
		c.wrong(m, general)
		return
	}
	if len(c.invalid) < maxProblems {
		path, pattern := c.path(n)
		c.invalid = append(c.invalid, Problem{
			Path: join(path, name), Found: c.found(-1), Want: wantFor(join(pattern, name), general),
		})
	}
}

// isNew tells whether a problem with node n is to be recorded, and marks it.
func (c *checker) isNew(n int) bool {
	if c.nodes[n].flags&bad != 0 {
		return false
	}
	c.nodes[n].flags |= bad
	return len(c.invalid) < maxProblems
}

// refuse records that node n is valid but has no effect, and why.
func (c *checker) refuse(n int, reason string) {
	if c.nodes[n].flags&bad == 0 && len(c.refused) < maxProblems {
		path, _ := c.path(n)
		c.refused = append(c.refused, Problem{Path: path, Found: c.found(n), Want: reason, Unsupported: true})
	}
}

// path returns where node n is, and the same with indices and keys left out:
// process.env[3] and process.env[]. It looks for n from the top, so that
// nothing has to be kept for the many values that are fine.
func (c *checker) path(n int) (path, pattern string) {
	in := func(child int) bool { return child <= n && n < int(c.nodes[child].next) }
	for at := 0; at < n; {
		child := -1
		for index, e := range c.elements(at) {
			if in(e) {
				child = e
				path += "[" + strconv.Itoa(index) + "]"
				pattern += "[]"
				break
			}
		}
		for key, value := range c.members(at) {
			if !in(value) {
				continue
			}
			child = value
			if c.nodes[at].flags&keyed != 0 {
				path += "[" + c.found(key) + "]"
				pattern += "[]"
			} else {
				path, pattern = join(path, c.text(key)), join(pattern, c.text(key))
			}
			break
		}
		at = child
	}
	return path, pattern
}

// join adds the name of a member to a path.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// wantFor returns what the table of wants has for a path without indices and
// keys, or else the general want.
func wantFor(pattern, general string) string {
	if rest, ok := strings.CutPrefix(pattern, "hooks."); ok {
		if _, rest, ok = strings.Cut(rest, "["); ok {
			pattern = "hooks.*[" + rest
		}
	}
	for i := range wants {
		if wants[i].pattern == pattern {
			return wants[i].want
		}
	}
	return general
}

// wants is what is allowed where the type of the property in specs.Spec allows
// more, or needs a word. The six kinds of hooks are one.
var wants = [...]struct{ pattern, want string }{
	{"ociVersion", `a version of the runtime-spec from 1.0.0 to below 2.0.0, such as "1.3.0"`},
	{"process", "an object with at least args and cwd"},
	{"process.args", "an array of at least one string, the program"},
	{"process.args[]", "a string without NUL, and the first one not empty"},
	{"process.cwd", "an absolute path without NUL"},
	{"process.env", "an array of strings NAME=value"},
	{"process.env[]", wantEnv},
	{"process.user.uid", wantID},
	{"process.user.gid", wantID},
	{"process.user.additionalGids[]", wantID},
	{"process.user.umask", "an integer from 0 to 511 (octal 0777)"},
	{"process.oomScoreAdj", "an integer from -1000 to 1000"},
	{"process.rlimits[].soft", wantLimit},
	{"process.rlimits[].hard", wantLimit},
	{"root.path", "a path without NUL"},
	{"hooks.*[].path", "an absolute path without NUL"},
	{"hooks.*[].args[]", "a string without NUL"},
	{"hooks.*[].env[]", wantEnv},
	{"hooks.*[].timeout", "an integer number of seconds greater than 0"},
	{"annotations", "an object with strings as its values"},
	{"annotations[]", "a string, with a key that is not empty"},
	{"linux.resources.memory.limit", wantBytes},
	{"linux.resources.memory.reservation", wantBytes},
	{"linux.resources.memory.swap", wantBytes},
	{"linux.resources.pids.limit", "an integer from 0 on, or -1 for unlimited"},
	{"linux.resources.cpu.shares", "an integer from 2 to 262144, or 0 for none"},
	{"linux.resources.cpu.quota", "an integer number of microseconds from 1000 on, or -1 for unlimited"},
	{"linux.resources.cpu.period", "an integer number of microseconds from 1000 to 1000000"},
	{"linux.resources.cpu.idle", "0 or 1"},
	{"linux.resources.blockIO.weight", "an integer from 10 to 1000, or 0 for none"},
	{"linux.resources.hugepageLimits[].pageSize", "a size of huge pages such as 2MB or 1GB, each once"},
	{"linux.resources.hugepageLimits[].limit", "an integer number of bytes from 0 on"},
}

const (
	wantEnv   = "a string NAME=value without NUL, with a name"
	wantID    = "an integer from 0 to 4294967294" // 4294967295 is -1: keep it
	wantLimit = "an integer from 0 to 18446744073709551615 (unlimited)"
	wantBytes = "an integer number of bytes greater than 0, or -1 for unlimited"
)
