package bundle

import (
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// isOwn tells whether the path of a namespace leads to the one that this
// process is in: the same inode, by namespaces(7).
func isOwn(ns specs.LinuxNamespace) bool {
	name := string(ns.Type)
	switch ns.Type {
	case specs.NetworkNamespace:
		name = "net"
	case specs.MountNamespace:
		name = "mnt"
	}
	own, err := os.Stat("/proc/self/ns/" + name)
	if err != nil {
		return false
	}
	asked, err := os.Stat(ns.Path)
	return err == nil && os.SameFile(own, asked)
}
