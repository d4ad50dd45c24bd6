package sockpath

import (
	"os"
	"path/filepath"
	"strconv"
)

const room = 108 // of sun_path

// shorten goes through an open directory, and makes no file.
func shorten(path string) (name string, release func(), err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + filepath.Base(path), func() { dir.Close() }, nil
}
