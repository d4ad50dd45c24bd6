package admission

import (
	"golang.org/x/sys/unix"

	"mlrun/rendezvous"
)

const meminfo = "/proc/meminfo"

func thisMemory() (Memory, error) { return readMeminfo(meminfo) }

// gauge reads the memory of a machine again and again. The real file stays open, which saves a third; those of tests may be replaced.
type gauge struct {
	host Host
	fd   int // -1: not open
}

func (g *gauge) read() (Memory, error) {
	if g.host.Root != "" {
		return g.host.Memory()
	}
	if g.fd < 0 {
		fd, err := rendezvous.Retry(func() (int, error) { return unix.Open(meminfo, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
		if err != nil {
			return g.host.Memory() // which has the error, or else it
		}
		g.fd = fd
	}
	var buf [256]byte // the first three lines say it all
	n, err := rendezvous.Retry(func() (int, error) { return unix.Pread(g.fd, buf[:], 0) })
	if err != nil {
		return g.host.Memory()
	}
	return parseMeminfo(buf[:n], meminfo)
}

func (g *gauge) close() {
	if g.fd >= 0 {
		unix.Close(g.fd)
		g.fd = -1
	}
}
