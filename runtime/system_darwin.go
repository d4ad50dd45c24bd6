package runtime

import (
	"encoding/binary"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

func random() (uint32, error) {
	f, err := os.Open("/dev/urandom") // random(4)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var b [4]byte
	_, err = io.ReadFull(f, b[:])
	return binary.NativeEndian.Uint32(b[:]), err
}

// ownNice is the nice value of this process.
func ownNice() (int, error) { return unix.Getpriority(unix.PRIO_PROCESS, 0) }

// become makes a descriptor a duplicate of another one.
func become(fd, like int) error { return unix.Dup2(like, fd) }

// memfile makes a file without a name with content, to be read from its start.
func memfile(name string, content []byte) (*os.File, error) {
	f, err := os.CreateTemp("", "mlrun-"+name)
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	return filled(f, content)
}
