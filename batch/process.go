package batch

import (
	"encoding/json"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"mlrun/proc"
)

// process is a worker, seen from the batch.
type process struct {
	proc     *os.Process
	id       proc.ID
	requests *os.File      // of the pipe that the worker reads
	reports  *os.File      // of the pipe that it writes
	end      chan struct{} // closed: the job is to end
	gone     chan struct{} // closed: it has
}

// starter starts workers, all of them in one thread: the kernel sends the parent-death signal when the thread ends that has forked
// (PR_SET_PDEATHSIG(2const)), and a thread of the Go runtime may end at any time.
type starter struct {
	program string
	null    *os.File
	todo    chan func()
}

// newStarter begins, for jobs workers at once: start does not block then. close ends it, when no worker is left.
func newStarter(program string, jobs int) (*starter, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	s := &starter{program: program, null: null, todo: make(chan func(), jobs)}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		for f := range s.todo {
			f()
		}
	}()
	return s, nil
}

func (s *starter) close() {
	close(s.todo)
	s.null.Close()
}

// start starts a worker in the starter's thread and tells done what came of it.
func (s *starter) start(o *order, done func(*process, error)) {
	s.todo <- func() { done(s.fork(o)) }
}

func (s *starter) fork(o *order) (*process, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	theirs, requests, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	reports, answers, err := os.Pipe()
	if err != nil {
		requests.Close()
		return nil, err
	}
	defer answers.Close()
	p := &process{requests: requests, reports: reports, end: make(chan struct{}), gone: make(chan struct{})}
	p.proc, err = os.StartProcess(s.program, []string{"mlrun", WorkerArg}, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{s.null, os.Stderr, os.Stderr, theirs, answers}, Sys: attributes(),
	})
	if err != nil {
		requests.Close()
		reports.Close()
		return nil, err
	}
	who, _ := proc.Root.Stat(p.proc.Pid) // a child that was not waited for keeps it
	p.id = who.ID()
	go func() {
		if _, err := requests.Write(append(text, '\n')); err != nil {
			return // it has ended, or is not to begin any more
		}
		select {
		case <-p.end:
			_, _ = io.WriteString(requests, requestEnd)
		case <-p.gone:
		}
	}()
	return p, nil
}

// sweepTime is how long what a worker has left that was killed may take to end: its reaper kills it, and frees its memory.
const sweepTime = 5 * time.Second

// wait reads what the worker has to say, and waits for its end. used is called with what it tells in between. Nil: it did not come to a
// verdict, and nothing is left of the job all the same.
func (p *process) wait(used func(int64)) (*report, *os.ProcessState) {
	var last *report
	for d := json.NewDecoder(p.reports); ; {
		var r report
		if d.Decode(&r) != nil {
			break
		}
		if r.Verdict != nil || r.Error != "" {
			last = &r
		} else {
			used(r.Used)
		}
	}
	st, _ := p.proc.Wait()
	if last == nil {
		sweep(p.id)
	}
	close(p.gone)
	p.requests.Close()
	p.reports.Close()
	return last, st
}

// stop asks the worker to end its job. It is called once at most.
func (p *process) stop() { close(p.end) }

// destroy makes it kill its job at once. It may be called again.
func (p *process) destroy() { p.requests.Close() }

// kill ends the worker itself: its reaper kills what is left of the job.
func (p *process) kill() { _ = p.proc.Signal(syscall.SIGKILL) }

// sweep kills what is left of the run of a supervisor that is gone, and returns when nothing is. Mostly its reaper is faster; it does not
// know when that has been killed along with it.
func sweep(supervisor proc.ID) {
	for end := time.Now().Add(sweepTime); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if n, err := proc.Root.KillMarked(supervisor); n == 0 || err != nil {
			return
		}
	}
}
