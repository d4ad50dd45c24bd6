package meter

import "golang.org/x/sys/unix"

// Mapped is how much memory all processes of the machine have mapped together, each page once: a read of about 10 us that tells
// that no process has grown, of however many.
type Mapped struct {
	fd  int
	buf []byte
}

// NewMapped opens the file; nil when it is not the kernel's own (containers often have one of their own there).
func NewMapped() *Mapped {
	const procSuper = 0x9fa0 // PROC_SUPER_MAGIC
	fd, err := unix.Open("/proc/meminfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || st.Type != procSuper {
		unix.Close(fd)
		return nil
	}
	return &Mapped{fd: fd, buf: make([]byte, 4096)}
}

// Close gives the descriptor back.
func (m *Mapped) Close() { unix.Close(m.fd) }

// Read returns anonymous memory, mapped files and shared memory, and huge pages in use, in bytes. Each CPU may hold back
// about 0.5 MiB of it (vm.stat_threshold). ok is false when it cannot be read.
func (m *Mapped) Read() (bytes int64, ok bool) {
	n, err := unix.Pread(m.fd, m.buf, 0)
	if err != nil || n <= 0 {
		return 0, false
	}
	b := m.buf[:n]
	huge := field(b, "HugePages_Total:") - field(b, "HugePages_Free:") // pages, which field takes for KiB
	return field(b, "AnonPages:") + field(b, "Mapped:") + (huge>>10)*field(b, "Hugepagesize:"), true
}
