package group

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// bell is what wakes a run: a pipe with a name in the directory of the tree, wake.N, where N is the place of its seat. Who waits there costs no thread.
type bell struct {
	path string
	pipe *os.File
}

func bellPath(dir string, i int) string { return filepath.Join(dir, "wake."+strconv.Itoa(i)) }

func removeBell(dir string, i int) { _ = unix.Unlink(bellPath(dir, i)) }

// Bell has f called, in a goroutine of its own, when others want the run to be looked at, until Leave.
func (s *Seat) Bell(f func()) error {
	if s.i < 0 || s.gone.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path := bellPath(s.t.dir, s.i)
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("groups: %w", &fs.PathError{Op: "mkfifo", Path: path, Err: err})
	}
	// For writing, too: else its end would be seen whenever nobody else has it open (fifo(7)).
	p, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	if info, err := p.Stat(); err != nil || info.Mode().Type() != fs.ModeNamedPipe || p.SetReadDeadline(time.Time{}) != nil {
		p.Close()
		return fmt.Errorf("groups: %s: no pipe that can be waited for", path)
	}
	s.bell = &bell{path, p}
	go func() {
		var buf [64]byte
		for {
			if _, err := p.Read(buf[:]); err != nil {
				return
			}
			f()
		}
	}()
	return nil
}

func (b *bell) close() {
	if b.pipe != nil {
		b.pipe.Close()
		b.pipe = nil
	}
}

// ring wakes the run at a place. It does not matter if nobody is there.
func ring(dir string, i int) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(bellPath(dir, i), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	})
	if err != nil {
		return
	}
	_, _ = unix.Write(fd, []byte{0})
	unix.Close(fd)
}
