package meter

import (
	"os"

	"golang.org/x/sys/unix"

	"mlrun/libproc"
	"mlrun/proc"
)

// Meter measures one set of processes. It is not safe for concurrent use. Close it.
type Meter struct{ footprint }

// New returns a meter.
func New(fs proc.FS) *Meter {
	memory, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		memory = 1 << 40 // more than any Mac has had
	}
	return &Meter{newFootprint(&darwin{fs, int64(memory), int64(os.Getpagesize())})}
}

// Another returns a meter of the same kind with an empty set, for another goroutine.
func (m *Meter) Another() *Meter { return &Meter{newFootprint(m.source)} }

// darwin is the source of macOS.
type darwin struct {
	fs           proc.FS
	memory, page int64
}

func (*darwin) rusage(pid int) (libproc.Rusage, error) { return libproc.RusageOf(pid) }

func (*darwin) resident(pid int) (int64, bool) {
	i, ok := libproc.TaskInfoOf(pid)
	return size(i.Resident), ok
}

func (d *darwin) stat(pid int) (proc.Stat, error) { return d.fs.Stat(pid) }

func (d *darwin) machine() (memory, page int64) { return d.memory, d.page }

// Mapped is how much memory all processes of the machine have mapped together.
type Mapped struct{}

// NewMapped returns nil: nothing on macOS tells that.
func NewMapped() *Mapped { return nil }

// Close does nothing.
func (*Mapped) Close() {}

// Read knows nothing.
func (*Mapped) Read() (bytes int64, ok bool) { return 0, false }

// HugePages is the memory of processes in huge pages of these sizes, in bytes: macOS has none that are set aside.
func HugePages(_ proc.FS, _ []proc.ID, sizes []int64) []int64 { return make([]int64, len(sizes)) }

// SwapUsed is a bound of what a group of processes has swapped out beside what it has in memory: none, since a footprint has all of it.
func SwapUsed() int64 { return 0 }
