// Package fuse serves a small file system to the kernel over /dev/fuse: directories and files whose content is made when they are read,
// and commands that are written to them.
//
// # What it does
//
// It speaks the protocol of linux/fuse.h, version 7.31 (Linux 5.4), as far as such files need it. Each request comes with the process that
// made it, which a file system of commands is about. Nothing is cached: every look-up, read and write reaches the FS, one after the other, in
// the goroutine that called Serve. It mounts by way of fusermount3(1), as an ordinary user can, and a second process guards
// the mount: it sees when the one that serves has ended, for whatever reason, and unmounts.
//
// # Why not a library
//
// github.com/hanwen/go-fuse does all of this and much more. Linking it makes every start of the program pay for it, whether it mounts or not: its
// packages take 0.4 ms to be initialised, a fifth of a start, and make a pipe that holds descriptors 3 and 4, which a payload may
// have been passed (docs/decisions/0007-fuse-without-a-library.md).
//
// # What it does not
//
// No links, renames, devices, locks, attributes of one's own, or memory maps that are shared. Names are up to 255 bytes (FUSE_NAME_MAX is more).
package fuse

import (
	"errors"
	"syscall"
)

// ErrUnsupported is returned on platforms that have no FUSE.
var ErrUnsupported = errors.New("there is no FUSE on this platform")

// MaxWrite is how much of one write(2) arrives in one call of FS.Write, in bytes. The kernel splits what is longer.
const MaxWrite = 64 << 10

// Root is the node of the mounted directory.
const Root = 1

// Caller is the process that made a request.
type Caller struct {
	UID, GID uint32
	PID      int // of the thread, in the pid namespace of the server; 0 when it has none there
}

// Attr says what a node is.
type Attr struct {
	Node     uint64 // not 0
	Dir      bool
	Perm     uint32 // as in chmod(2)
	UID, GID uint32
	Changed  int64 // seconds since 1970
}

// Entry is a name in a directory.
type Entry struct {
	Name string
	Node uint64
	Dir  bool
}

// FS is a file system. Errors that are, or wrap, a syscall.Errno go to the caller as such, others as EIO. The methods are called one after the
// other. A node is what Lookup or Attr has called so; there is no Forget, so it should be the same for the same file.
type FS interface {
	// Attr tells about a node.
	Attr(c Caller, node uint64) (Attr, error)
	// Lookup finds a name in a directory.
	Lookup(c Caller, dir uint64, name string) (Attr, error)
	// List lists a directory, without "." and "..".
	List(c Caller, dir uint64) ([]Entry, error)
	// Open opens a file, with flags as in open(2). What it returns is passed to the others, and to Release when the last descriptor is closed.
	Open(c Caller, node uint64, flags int) (file any, err error)
	// Content is called by a read at the beginning of a file; what it returns is what the file has until the next such read.
	Content(c Caller, file any) ([]byte, error)
	// Write takes what was written at once, wherever; up to MaxWrite.
	Write(c Caller, file any, data []byte) error
	Release(file any)
}

// errno is what the kernel is told.
func errno(err error) syscall.Errno {
	var e syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e) && e != 0 && e < 512: // the kernel takes no other
		return e
	}
	return syscall.EIO
}

// Options of a mount.
type Options struct {
	// Name is the type of the file system behind "fuse." in mounts(5): letters and digits.
	Name string
	// AllowOther lets other users in, which for an ordinary user takes user_allow_other in /etc/fuse.conf.
	AllowOther bool
	// Path is where fusermount3 is looked for, as $PATH; then in /bin and /usr/bin.
	Path string
	// Lock is a file that those have who mount on the same directories, and which is made: one after the other they mount, serve and unmount. "": there is none, and the guard of a
	// server that was killed may unmount what the next one has mounted.
	Lock string
}
