// Package sockpath names socket files for bind(2) and connect(2), whose struct sockaddr_un has little room for a path: 108 bytes on Linux (unix(7)), 104 on
// macOS (bsd/sys/un.h), the final NUL included.
//
// It neither makes nor removes the socket.
package sockpath

import (
	"os"
	"path/filepath"
	"syscall"
)

// For returns a name for the socket file path that fits. It is valid until release is called, which must be done after bind(2) or connect(2). The file
// need not exist, its directory must.
func For(path string) (name string, release func(), err error) {
	if len(path) < room {
		return path, func() {}, nil
	}
	return shorten(path)
}

// temporary is where links are made. It is short, which $TMPDIR of macOS is not.
const temporary = "/tmp"

// link reaches the directory of path through a symbolic link with a short name, in a directory of its own below tmp that nobody else may write to. The
// name has less than room bytes, or the error wraps ENAMETOOLONG.
func link(path, tmp string, room int) (name string, release func(), err error) {
	dir, err := os.MkdirTemp(tmp, "mlrun-")
	if err != nil {
		return "", nil, err
	}
	short := filepath.Join(dir, "d")
	release = func() {
		os.Remove(short)
		os.Remove(dir)
	}
	parent, err := filepath.Abs(filepath.Dir(path))
	if err == nil {
		_, err = os.Stat(parent) // a link to nothing would say that the socket is missing
	}
	if err == nil {
		err = os.Symlink(parent, short)
	}
	if name = filepath.Join(short, filepath.Base(path)); err == nil && len(name) >= room {
		err = &os.PathError{Op: "socket", Path: path, Err: syscall.ENAMETOOLONG}
	}
	if err != nil {
		release()
		return "", nil, err
	}
	return name, release, nil
}
