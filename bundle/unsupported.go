package bundle

import (
	"path/filepath"
	"strings"
)

// section lists what is unsupported of one object of the configuration.
type section struct {
	path string // "" is the whole configuration
	list []rule
}

// rule is a property without an effect. Of an array or, with keys, a map each
// element is reported, by the member that identifies it if there is one.
type rule struct {
	name   string
	reason string
	by     string
	keys   bool
	moves  bool // a key without anything asks for something, too
}

// unsupported is all that the spec knows and mlrun does not honour: together
// with what decode and validate take, specs.Spec.
var unsupported = [...]section{
	{"", []rule{
		{name: "hostname", reason: noUTS},
		{name: "domainname", reason: noUTS},
		{name: "mounts", by: "destination", reason: noMounts},
		{name: "solaris", reason: otherPlatform},
		{name: "windows", reason: otherPlatform},
		{name: "vm", reason: otherPlatform},
		{name: "zos", reason: otherPlatform},
		{name: "freebsd", reason: otherPlatform},
	}},
	{"root", []rule{
		{name: "readonly", reason: "mlrun mounts nothing: the root is that of the host, as it is"},
	}},
	{"process", []rule{
		{name: "commandLine", reason: otherPlatform + "; use process.args"},
	}},
	{"process.user", []rule{
		{name: "username", reason: otherPlatform + "; use uid and gid"},
	}},
	{"linux", []rule{
		{name: "uidMappings", reason: noNamespaces},
		{name: "gidMappings", reason: noNamespaces},
		{name: "sysctl", keys: true, reason: noNamespaces + ", so this would change the host"},
		{name: "cgroupsPath", reason: noCgroups},
		{name: "devices", by: "path", reason: "mlrun makes no device files: the program sees those of the host"},
		{name: "netDevices", keys: true, moves: true, reason: noNamespaces},
		{name: "rootfsPropagation", reason: noMounts},
		{name: "maskedPaths", reason: noMounts},
		{name: "readonlyPaths", reason: noMounts},
		{name: "mountLabel", reason: noMounts},
		{name: "intelRdt", reason: "mlrun does not use resctrl"},
		{name: "timeOffsets", keys: true, reason: noNamespaces},
	}},
	{"linux.resources", []rule{
		{name: "devices", reason: noCgroups},
		{name: "rdma", keys: true, reason: noCgroups},
	}},
	{"linux.resources.memory", []rule{
		{name: "kernel", reason: noCgroups},
		{name: "kernelTCP", reason: noCgroups},
		{name: "swappiness", reason: noCgroups},
	}},
	{"linux.resources.cpu", []rule{
		{name: "burst", reason: noCgroups + "; quota and period are held without it"},
		{name: "realtimeRuntime", reason: noCgroups},
		{name: "realtimePeriod", reason: noCgroups},
	}},
	{"linux.resources.blockIO", []rule{
		{name: "leafWeight", reason: noCgroups},
		{name: "weightDevice", reason: noCgroups},
		{name: "throttleReadBpsDevice", reason: noCgroups},
		{name: "throttleWriteBpsDevice", reason: noCgroups},
		{name: "throttleReadIOPSDevice", reason: noCgroups},
		{name: "throttleWriteIOPSDevice", reason: noCgroups},
	}},
	{"linux.resources.network", []rule{
		{name: "classID", reason: noCgroups},
		{name: "priorities", by: "name", reason: noCgroups},
	}},
}

const (
	noCgroups     = "mlrun uses no cgroups"
	noMounts      = "mlrun mounts nothing: the program sees the file systems of its caller"
	noNamespaces  = "mlrun runs in the namespaces of its caller"
	noUTS         = "mlrun runs in the namespaces of its caller, so this would rename the host"
	otherPlatform = "it is for another platform"
)

// unsupported records every property of the table that is set.
func (c *checker) unsupported() {
	for _, s := range unsupported {
		if n := c.find(s.path); n >= 0 {
			for i := range s.list {
				c.apply(&s.list[i], n)
			}
		}
	}
}

// apply refuses the property of r in object n if it is set.
func (c *checker) apply(r *rule, n int) {
	m := c.member(n, r.name)
	switch {
	case m < 0 || c.isEmpty(m):
	case c.nodes[m].kind == array:
		for _, e := range c.elements(m) {
			c.refuseElement(e, r)
		}
	case c.nodes[m].kind == object && r.keys:
		for _, e := range c.entries(m) {
			if r.moves && c.isEmpty(e.value) {
				c.refuse(e.value, r.reason)
				continue
			}
			c.refuseElement(e.value, r)
		}
	default:
		c.refuse(m, r.reason)
	}
}

// refuseElement refuses an element by the member that identifies it.
func (c *checker) refuseElement(n int, r *rule) {
	if c.nodes[n].kind == object && c.isEmpty(n) {
		return
	}
	if m := c.member(n, r.by); m >= 0 {
		n = m
	}
	c.refuse(n, r.reason)
}

// find returns the node of a path of objects, or -1. "" is the whole.
func (c *checker) find(path string) int {
	n := 0
	for path != "" && n >= 0 {
		var name string
		name, path, _ = strings.Cut(path, ".")
		n = c.member(n, name)
	}
	return n
}

// isEmpty tells whether a value says nothing: null, false, "", [], {} and
// objects with members which the spec does not know only. 0 says something.
func (c *checker) isEmpty(n int) bool {
	switch node := &c.nodes[n]; node.kind {
	case null:
		return true
	case boolean:
		return c.raw(n)[0] == 'f'
	case text:
		return node.end-node.start == uint32(len(`""`))
	case array:
		return int(node.next) == n+1
	case object:
		return node.flags&known == 0
	}
	return false
}

// resolveRoot checks that root.path is the root of the host, on the disk.
func (c *checker) resolveRoot() {
	root := c.bundle.Spec.Root
	if root == nil || root.Path == "" || root.Path == "/" {
		return
	}
	dir := root.Path
	if !filepath.IsAbs(dir) {
		dir = c.bundle.Dir + "/" + dir // not Join: it would take a/.. away before a is resolved
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil && resolved == "/" {
		return
	}
	c.refuse(c.find("root.path"), "mlrun runs on the root of the host; "+
		"a rootfs that is a symbolic link to / (ln -s / rootfs) is the portable way to say so")
}
