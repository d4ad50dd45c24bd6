package batch

import (
	"fmt"
	"io"
	"sync/atomic"
)

// backlog is how many lines may wait to be written before nothing is started any more.
const backlog = 64

// output writes lines in a goroutine of its own: who reads them slowly holds nothing up but new jobs.
type output struct {
	lines chan []byte
	done  chan struct{}
	err   atomic.Pointer[error] // nothing is written any more
}

// newOutput begins to write to w. What is written while it is crowded, jobs lines at most, waits, too. changed is called when there is room
// again, and with an error.
func newOutput(w io.Writer, jobs int, changed func()) *output {
	o := &output{lines: make(chan []byte, backlog+jobs+1), done: make(chan struct{})}
	go func() {
		defer close(o.done)
		for line := range o.lines {
			if o.err.Load() != nil {
				continue
			}
			if _, err := w.Write(line); err != nil {
				err = fmt.Errorf("standard output: %w; the jobs that ran were ended", err)
				o.err.Store(&err)
				go changed()
			} else if len(o.lines) == backlog-1 {
				go changed()
			}
		}
	}()
	return o
}

// write adds a line. It does not block as long as nothing is started while the output is crowded.
func (o *output) write(line []byte) { o.lines <- line }

func (o *output) crowded() bool { return len(o.lines) >= backlog }

// close ends the output; the channel is closed when all is written.
func (o *output) close() <-chan struct{} {
	close(o.lines)
	return o.done
}
