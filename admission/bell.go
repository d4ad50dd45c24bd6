package admission

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// bell is what wakes a process that waits: a pipe with a name in the directory of the line, wake.N, where N is the number of the process. Who waits there costs
// nothing, and no thread: the Go runtime polls. On a file system without such pipes there is only the time.
type bell struct {
	dir  string
	proc int      // whose pipe it is
	pipe *os.File // nil: none
	poke chan struct{}
	tune [64]byte
}

func newBell(dir string) bell { return bell{dir: dir, poke: make(chan struct{}, 1)} }

func (b *bell) path(proc int) string { return filepath.Join(b.dir, "wake."+strconv.Itoa(proc)) }

// hang makes the pipe of this process, whose number is proc.
func (b *bell) hang(proc int) {
	if b.pipe != nil && b.proc == proc {
		return
	}
	b.close()
	path := b.path(proc)
	err := unix.Mkfifo(path, 0o600)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeNamedPipe {
		return
	}
	// For writing, too: else its end would be seen whenever nobody else has it open (fifo(7)).
	if f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0); err == nil {
		if f.SetReadDeadline(time.Time{}) != nil {
			f.Close() // it cannot be polled
			return
		}
		b.pipe, b.proc = f, proc
	}
}

// ring wakes a process. It does not matter if nobody is there.
func (b *bell) ring(proc int, self bool) {
	if self {
		b.ringSelf()
		return
	}
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(b.path(proc), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	})
	if err != nil {
		return
	}
	_, _ = unix.Write(fd, b.tune[:1])
	unix.Close(fd)
}

func (b *bell) ringSelf() {
	select {
	case b.poke <- struct{}{}:
	default:
	}
	if b.pipe != nil {
		_, _ = b.pipe.Write(b.tune[:1])
	}
}

// sleep returns when the bell was rung, or after d.
func (b *bell) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	if b.pipe == nil {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-b.poke:
		}
		return
	}
	var buf [64]byte
	_ = b.pipe.SetReadDeadline(time.Now().Add(d))
	_, _ = b.pipe.Read(buf[:])
}

// close gives the pipe back, and its name: the number is still that of this process.
func (b *bell) close() {
	if b.pipe != nil {
		os.Remove(b.path(b.proc))
		b.pipe.Close()
		b.pipe = nil
	}
}
