package bundle

import (
	"errors"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// MaxSize is how many bytes a config.json may have. Those in use have a few
// thousand; the bound keeps a mistaken name from filling the memory.
const MaxSize = 16 << 20

// whatIsBundle is what to do when there is none.
const whatIsBundle = "a bundle is a directory with a config.json (mlrun spec writes one)"

// readConfig returns the contents of file, the config.json in dir.
//
// It uses the system calls directly, because os.File would set up the network
// poller. O_NONBLOCK keeps the open of a FIFO from waiting for a writer.
func readConfig(dir, file string) ([]byte, error) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(file, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	})
	var st unix.Stat_t
	if err != nil {
		// A socket can not be opened, nor some devices: say what they are.
		if unix.Stat(file, &st) == nil {
			if p := checkMode(uint32(st.Mode)); p != nil {
				return nil, &Error{File: file, Problems: []Problem{*p}}
			}
		}
		return nil, openError(dir, file, err)
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, pathError(file, err)
	}
	problem := checkMode(uint32(st.Mode))
	if problem == nil && st.Size > MaxSize {
		problem = tooBig(strconv.FormatInt(st.Size, 10))
	}
	if problem != nil {
		return nil, &Error{File: file, Problems: []Problem{*problem}}
	}
	return readAll(fd, file, int(st.Size))
}

// readAll reads fd to its end. size is what is expected, which is 0 for files
// of /proc; the file may grow meanwhile.
func readAll(fd int, file string, size int) ([]byte, error) {
	data := make([]byte, 0, size+512)
	for {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := ignoringEINTR(func() (int, error) {
			return unix.Read(fd, data[len(data):cap(data)])
		})
		if err != nil {
			return nil, pathError(file, err)
		}
		if n <= 0 {
			return data, nil
		}
		data = data[:len(data)+n]
		if len(data) > MaxSize {
			return nil, &Error{File: file, Problems: []Problem{*tooBig("more than " + strconv.Itoa(MaxSize))}}
		}
	}
}

// tooBig is the problem of a file with so many bytes.
func tooBig(size string) *Problem {
	return &Problem{Found: size + " bytes", Want: "at most " + strconv.Itoa(MaxSize) + " bytes (16 MiB)"}
}

// checkMode tells what a file is if it is not a regular one.
func checkMode(mode uint32) *Problem {
	found := "an unknown type of file"
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		found = "a directory"
	case unix.S_IFIFO:
		found = "a FIFO"
	case unix.S_IFSOCK:
		found = "a socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		found = "a device"
	}
	return &Problem{Found: found, Want: "a regular file"}
}

// openError says which part of the path to config.json the error is about.
func openError(dir, file string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return pathError(file, err)
	}
	if dir == "" {
		dir = "."
	}
	var st unix.Stat_t
	switch statErr := unix.Stat(dir, &st); {
	case statErr != nil:
		return &fileError{dir, statErr, whatIsBundle}
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return &fileError{dir, unix.ENOTDIR, whatIsBundle}
	}
	return &fileError{file, err, whatIsBundle}
}

// ignoringEINTR repeats a system call that a signal interrupted.
func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
