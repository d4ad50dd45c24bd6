package admission

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"mlrun/rendezvous"
)

// bell is what wakes a process that waits: a pipe with a name in the directory of the line, wake.N, where N is the number of the process. Who waits there costs
// nothing, and no thread: the Go runtime polls. On a file system without such pipes there is only the time.
type bell struct {
	dir  string
	proc int      // whose pipe it is
	pipe *os.File // nil: none
	poke chan struct{}
}

func newBell(dir string) bell { return bell{dir: dir, poke: make(chan struct{}, 1)} }

func (b *bell) path(proc int) string { return filepath.Join(b.dir, "wake."+strconv.Itoa(proc)) }

// hang makes the pipe of this process, whose number is proc.
func (b *bell) hang(proc int) {
	if b.pipe != nil && b.proc == proc {
		return
	}
	b.close()
	if f, err := rendezvous.Pipe(b.path(proc)); err == nil {
		b.pipe, b.proc = f, proc
	}
}

// ring wakes a process. It does not matter if nobody is there.
func (b *bell) ring(proc int, self bool) {
	if self {
		b.ringSelf()
		return
	}
	rendezvous.Ring(b.path(proc))
}

func (b *bell) ringSelf() {
	select {
	case b.poke <- struct{}{}:
	default:
	}
	if b.pipe != nil {
		_, _ = b.pipe.Write([]byte{0})
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
