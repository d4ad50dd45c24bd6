//go:build !linux

package bundle

import "github.com/opencontainers/runtime-spec/specs-go"

// isOwn is false: there are no namespaces here.
func isOwn(specs.LinuxNamespace) bool { return false }
