package fuse

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lockPatience is how long Mount waits for those who mount on the same directory, or unmount it: the guard of a server that was killed takes some milliseconds.
var lockPatience = 5 * time.Second

// lockDir takes the lock of a directory in a file: that of a byte, whose number is made of the name. It is one of an open file (F_OFD_SETLK, fcntl(2)), which the guard inherits, and
// all that it executes: the lock is free when the last of them has ended. Without a file there is no lock.
func lockDir(dir, file string) (*os.File, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	give(f)
	if above, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
		dir = filepath.Join(above, filepath.Base(dir))
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(dir))
	l := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(h.Sum64() >> 2), Len: 1}
	for end := time.Now().Add(lockPatience); ; time.Sleep(time.Millisecond) {
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l)
		if err == nil {
			return f, nil
		}
		if err != unix.EINTR && err != unix.EAGAIN && err != unix.EACCES {
			err = fmt.Errorf("%s: lock: %w", file, err)
			break
		}
		if time.Now().After(end) {
			err = fmt.Errorf("%s: is mounted already; unmount it before (%s -u %s)", dir, Program, dir)
			break
		}
	}
	f.Close()
	return nil, err
}

// give makes a file that the superuser has made in somebody else's directory that user's.
func give(f *os.File) {
	if os.Geteuid() != 0 {
		return
	}
	if info, err := os.Stat(filepath.Dir(f.Name())); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			_ = f.Chown(int(st.Uid), int(st.Gid))
		}
	}
}
