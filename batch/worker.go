package batch

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"mlrun/bundle"
	"mlrun/runtime"
	"mlrun/runtime/launch"
	"mlrun/runtime/supervise"
)

// WorkerArg is the first argument of the program that Run starts for each job, which hands over to Work.
const WorkerArg = "work"

// The descriptors of a worker besides 0 to 2: pipes, of which the batch has the other ends.
const (
	requestsFD = 3 // an order, and then requestEnd; at its end everything is killed
	reportsFD  = 4 // reports
)

// requestEnd asks a worker to end its job, with a grace period.
const requestEnd = "end\n"

// order is what a worker is to run. It has the environment and the working directory of the batch.
type order struct {
	ID      string        `json:"id"`
	Bundle  string        `json:"bundle,omitempty"`
	Args    []string      `json:"args,omitempty"`
	Env     []string      `json:"env,omitempty"`
	Cwd     string        `json:"cwd,omitempty"`
	Stdout  string        `json:"stdout,omitempty"`
	Stderr  string        `json:"stderr,omitempty"`
	Limit   int64         `json:"limit"`             // bytes
	Timeout time.Duration `json:"timeout,omitempty"` // 0: none
	Grace   time.Duration `json:"grace"`             // between SIGTERM and SIGKILL
	Expect  int64         `json:"expect,omitempty"`  // bytes: what is used is reported until it is as much
}

// report is what a worker says, as a line of JSON: what is used now and then, and the rest once, at the end.
type report struct {
	Used    int64           `json:"used,omitempty"`    // bytes
	Verdict json.RawMessage `json:"verdict,omitempty"` // a runtime.Verdict
	Error   string          `json:"error,omitempty"`   // why nothing was started, without a verdict
}

// worker supervises one job.
type worker struct {
	order    order
	mu       sync.Mutex // of out
	out      *os.File
	requests chan runtime.Request
	asked    atomic.Bool   // its end was requested, and it had not ended
	done     chan struct{} // it has
}

// Work is the life of a worker: it reads its order, runs the job until nothing is left of it, and reports the verdict. The error is for
// whoever has called it without being Run.
func Work() error {
	_ = syscall.SetNonblock(requestsFD, true) // so that waiting for a request takes no thread
	in, out := os.NewFile(requestsFD, "requests"), os.NewFile(reportsFD, "reports")
	if in == nil || out == nil {
		return errNotAsked
	}
	if err := launch.CloseOnExec(); err != nil {
		return err
	}
	w := &worker{out: out, requests: make(chan runtime.Request), done: make(chan struct{})}
	r := bufio.NewReader(in)
	if line, err := r.ReadBytes('\n'); err != nil || json.Unmarshal(line, &w.order) != nil {
		return errNotAsked
	}
	go w.listen(r)
	v, err := w.run()
	close(w.done)
	var last report
	if v == nil {
		last.Error = err.Error()
	} else {
		if natural := v.Reason == supervise.ReasonExited || v.Reason == supervise.ReasonSignaled; natural && w.asked.Load() {
			v.Reason = supervise.ReasonKilled // however it took that: nobody knows how it would have ended
		}
		if last.Verdict, err = json.Marshal(v); err != nil {
			return err
		}
	}
	return w.report(last)
}

// report writes one line.
func (w *worker) report(r report) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, err := json.Marshal(&r)
	if err == nil {
		_, err = w.out.Write(append(b, '\n'))
	}
	return err
}

var errNotAsked = fmt.Errorf("%s: is started by mlrun batch, and by nobody else", WorkerArg)

// run runs the job.
func (w *worker) run() (*runtime.Verdict, error) {
	o := &w.order
	b, err := o.load()
	if err != nil {
		return nil, err
	}
	if err := o.redirect(); err != nil {
		return nil, err
	}
	rt, err := runtime.New(runtime.Options{})
	if err != nil {
		return nil, err
	}
	ro := runtime.RunOptions{NoState: true, Strict: true, Requests: w.requests}
	ro.ID, ro.Bundle, ro.Memory, ro.WallTime, ro.Grace = o.ID, b, o.Limit, o.Timeout, &o.Grace
	if o.Expect > 0 {
		ro.ProgressEvery, ro.Progress = usageEvery, w.usage()
	}
	return rt.Run(ro)
}

// usageEvery is how often it is looked whether more is used.
const usageEvery = time.Second

// usage reports the peak whenever it is more by a part of what is expected.
func (w *worker) usage() func(runtime.Snapshot) {
	const parts = 32
	var (
		mu   sync.Mutex
		told int64
	)
	return func(s runtime.Snapshot) {
		mu.Lock()
		defer mu.Unlock()
		if told < w.order.Expect && s.Peak-told >= max(w.order.Expect/parts, 1) {
			told = s.Peak
			_ = w.report(report{Used: told})
		}
	}
}

// load is the bundle of the job, with what the order adds to it.
func (o *order) load() (*bundle.Bundle, error) {
	if o.Bundle == "" {
		p := &specs.Process{Args: o.Args, Cwd: o.Cwd, Env: os.Environ()}
		if o.Cwd != "" {
			p.Env = append(p.Env, "PWD="+o.Cwd)
		}
		p.Env = append(p.Env, o.Env...)
		return &bundle.Bundle{Dir: "/", MemoryLimit: o.Limit, Spec: &specs.Spec{Version: specs.Version, Process: p}}, nil
	}
	loaded, err := bundle.Load(o.Bundle, bundle.Options{})
	if err != nil {
		return nil, err
	}
	b, s, p := *loaded, *loaded.Spec, *loaded.Spec.Process
	b.Spec, s.Process = &s, &p
	p.Env = append(slices.Clip(p.Env), o.Env...)
	if o.Cwd != "" {
		p.Cwd = o.Cwd
	}
	return &b, nil
}

// redirect makes the files of the order standard output and standard error of this process, and so of the job.
func (o *order) redirect() error {
	files := map[string]*os.File{}
	for fd, path := range map[int]string{1: o.Stdout, 2: o.Stderr} {
		if path == "" {
			continue
		}
		f := files[path]
		if f == nil {
			var err error
			if f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666); err != nil {
				return fmt.Errorf("%s: %w", [...]string{1: "stdout", 2: "stderr"}[fd], err)
			}
			files[path] = f
		}
		if err := unix.Dup2(int(f.Fd()), fd); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for _, f := range files {
		f.Close()
	}
	return nil
}

// retryEvery is how often a request is repeated that comes before there is a process.
const retryEvery = 5 * time.Millisecond

// listen takes requests until there is nobody any more who could make one.
func (w *worker) listen(r *bufio.Reader) {
	var line string
	var err error
	for err == nil && line != requestEnd {
		line, err = r.ReadString('\n')
	}
	if err == nil {
		go func() {
			_, _ = io.Copy(io.Discard, r)
			w.destroy()
		}()
		for !w.ask(runtime.Request{Op: supervise.OpKill, Signal: syscall.SIGTERM, All: true}) {
			select {
			case <-time.After(retryEvery):
			case <-w.done:
				return
			}
		}
		select {
		case <-time.After(w.order.Grace):
		case <-w.done:
			return
		}
	}
	w.destroy()
}

func (w *worker) destroy() { w.ask(runtime.Request{Op: supervise.OpDestroy}) }

// ask makes a request of the run. It is false when there was nobody to carry it out.
func (w *worker) ask(r runtime.Request) bool {
	reply := make(chan error, 1)
	r.Reply = func(_ runtime.Snapshot, err error) { reply <- err }
	select {
	case w.requests <- r:
	case <-w.done:
		return false
	}
	select {
	case err := <-reply:
		if err == nil {
			w.asked.Store(true)
		}
		return err == nil
	case <-w.done:
		return false
	}
}
