//go:build linux || darwin

package note

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Small is the page size that workloads step by: the smallest of any platform.
const Small = 4096

// Map maps anonymous memory that is not touched yet. With huge set the kernel may use huge pages for it, else it must not.
func Map(bytes int64, huge bool) ([]byte, error) {
	m, err := unix.Mmap(-1, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", bytes, err)
	}
	return m, advise(m, huge)
}
