package group

import (
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"mlrun/rendezvous"
)

// bellPath is the pipe that wakes a run: wake.N in the directory of the tree, where N is the place of its seat.
func bellPath(dir string, i int) string { return filepath.Join(dir, "wake."+strconv.Itoa(i)) }

func removeBell(dir string, i int) { _ = unix.Unlink(bellPath(dir, i)) }

// Bell has f called, in a goroutine of its own, when others want the run to be looked at, until Leave.
func (s *Seat) Bell(f func()) error {
	if s.i < 0 || s.gone.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := rendezvous.Pipe(bellPath(s.t.dir, s.i))
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	s.bell = p
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

// ring wakes the run at a place. It does not matter if nobody is there.
func ring(dir string, i int) { rendezvous.Ring(bellPath(dir, i)) }
