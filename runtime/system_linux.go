package runtime

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func random() (uint32, error) {
	var b [4]byte
	_, err := unix.Getrandom(b[:], 0)
	return binary.NativeEndian.Uint32(b[:]), err
}

// ownNice is the nice value of this process.
func ownNice() (int, error) {
	n, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	return 20 - n, err // the system call gives 20 - nice
}

// become makes a descriptor a duplicate of another one.
func become(fd, like int) error { return unix.Dup3(like, fd, 0) }

// memfile makes an anonymous file with content, to be read from its start.
func memfile(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	return filled(f, content)
}
