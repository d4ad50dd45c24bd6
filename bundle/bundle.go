// Package bundle reads and checks a bundle: a directory with a config.json in
// the form of the OCI runtime-spec.
//
// It reports everything that is wrong with a configuration at once, each
// problem with the exact JSON path, what was found there and what is wanted.
// mlrun has no namespaces, no cgroups and needs no root, so it honours a small
// part of the spec only. A property of the spec that would change how the
// program runs but which mlrun does not honour is refused by name, never
// passed over: who asks for a limit must not run without it and not know.
// [Options.IgnoreUnsupported] turns these, and only these, into warnings.
// Properties which the spec does not know are ignored, as the spec demands.
//
// It does not apply anything, does not look at the host apart from the bundle
// itself, and does not write: whether a program, user or working directory
// exists turns out when it is used.
//
// It does not use encoding/json. Loading a configuration is on the path of
// every start of a program, and building the decoder of encoding/json for
// specs.Spec takes several times what all of this package does. The parser here
// makes an index of the text, from which the properties that are present are
// decoded by reflection, and problems quoted as they were written.
package bundle

import (
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/rlimit"
)

// ConfigName is the name of the configuration in the directory of a bundle.
const ConfigName = "config.json"

// Options change how a configuration is judged.
type Options struct {
	// IgnoreUnsupported turns properties which mlrun does not support into
	// [Bundle.Warnings]. Values that are not valid stay errors.
	IgnoreUnsupported bool
}

// Bundle is a configuration that has been found valid. It must not be changed.
type Bundle struct {
	// Dir is the absolute path of the bundle. Symbolic links are kept.
	Dir string

	// File is the name of config.json in errors: as Load or Parse were given it.
	File string

	// Raw is config.json as it was read, for [Parse].
	Raw []byte

	// Spec is all of the configuration that the spec knows, including what is
	// unsupported and was ignored. Process is not nil, Process.Args not empty.
	// Where it can not tell absent from zero, the fields below do.
	Spec *specs.Spec

	// UID and GID are process.user.uid and gid, or nil if they are absent,
	// which means those of the caller. In Spec absent ones are 0: root.
	UID, GID *uint32

	// MemoryLimit is linux.resources.memory.limit in bytes, greater than 0, or
	// -1 if it is absent or -1: unlimited.
	MemoryLimit int64

	// MemoryReservation is linux.resources.memory.reservation in bytes: the
	// soft limit, over which the program is slowed down. It is greater than 0
	// and at most MemoryLimit if there is one, or -1 for none.
	MemoryReservation int64

	// MemorySwap is linux.resources.memory.swap in bytes: the limit of memory
	// and swap together. It is at least MemoryLimit, which there is, or -1 for
	// none.
	MemorySwap int64

	// Resources are the rest of linux.resources.
	Resources Resources

	// Settings are those of the annotations dev.mlrun.*, and of what else
	// means the same.
	Settings Settings

	// Rlimits are process.rlimits, in their order, each type once. Whether the
	// caller may set them is for [rlimit.Check] to say.
	Rlimits []rlimit.Limit

	// Warnings are the unsupported properties that were ignored, each to be
	// shown by [Problem.Warning].
	Warnings []Problem
}

// Load reads and checks the bundle in dir, where "" is the working directory.
// Errors of the file system wrap those of package syscall; all others are an
// [*Error].
func Load(dir string, o Options) (*Bundle, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, pathError(dir, err)
	}
	file := filepath.Join(dir, ConfigName)
	data, err := readConfig(dir, file)
	if err != nil {
		return nil, err
	}
	return parse(data, abs, file, o, true)
}

// ChecksUpdates tells whether linux.resources.memory.checkBeforeUpdate is set.
func (b *Bundle) ChecksUpdates() bool {
	l := b.Spec.Linux
	if l == nil || l.Resources == nil || l.Resources.Memory == nil {
		return false
	}
	check := l.Resources.Memory.CheckBeforeUpdate
	return check != nil && *check
}

// Parse is [Load] from the bytes of a config.json instead of a file: the copy
// which mlrun keeps for the life of a container. dir is the absolute path of
// the bundle, file a name for the data in errors. The directory is not looked
// at and needs to exist no more, hence root.path is not resolved: Load has
// done that. The bundle keeps data, which must not be changed any more.
func Parse(data []byte, dir, file string, o Options) (*Bundle, error) {
	return parse(data, dir, file, o, false)
}

// parse is Load and Parse. With resolve, root.path is checked to be the root
// of the host.
func parse(data []byte, dir, file string, o Options, resolve bool) (*Bundle, error) {
	t, problem := parseObject(data)
	if problem != nil {
		return nil, &Error{File: file, Problems: []Problem{*problem}}
	}
	b := &Bundle{Dir: dir, File: file, Raw: data}
	c := newChecker(t, b)
	c.decode()
	c.validate()
	c.unsupported()
	c.namespaces(resolve)
	if resolve {
		c.resolveRoot()
	}
	if o.IgnoreUnsupported {
		b.Warnings = c.refused
	} else {
		c.invalid = append(c.invalid, c.refused...)
	}
	if len(c.invalid) > 0 {
		return nil, &Error{File: file, Problems: c.invalid}
	}
	return b, nil
}
