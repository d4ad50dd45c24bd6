package batch

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"mlrun/runtime/launch"
	"mlrun/runtime/supervise"
)

// Gate lets jobs start when the machine has memory for them.
type Gate interface {
	// Admit waits until there are so many bytes, or until the context ends, whose cause is the error then. held is called when it has to
	// wait, once.
	Admit(ctx context.Context, c Claim, held func()) (Ticket, error)
}

// Ticket is the place of a job that was admitted.
type Ticket interface {
	Used(bytes int64) // tells how much of it is used by now
	Release()         // gives it back
}

// Config is a batch.
type Config struct {
	List   *List
	Source io.Reader // of the list
	Total  int       // jobs in Source that are to be run; -1: nobody knows before its end
	Policy Policy
	Grace  time.Duration // between SIGTERM and SIGKILL
	// FailFast ends all jobs when one has failed.
	FailFast bool
	Gate     Gate
	// Output is written to a line at a time. An error ends all jobs.
	Output io.Writer
	// Interrupts end all jobs: the first with their grace period, the second at once.
	Interrupts <-chan os.Signal
	// Record is told the peak of what a program has used, in bytes; nil: nobody.
	Record func(program string, peak int64)
	// Invalid is called for each line that describes no job, besides its verdict; Held when a job waits for the memory of the machine. Neither may
	// block. Nil: nobody.
	Invalid func(Problem)
	Held    func(id string, c Claim)
	// Progress is called every ProgressEvery. Nil: nobody.
	Progress      func(Progress)
	ProgressEvery time.Duration
}

// Progress is where a batch is.
type Progress struct {
	Total    int // jobs; -1: unknown
	Done     int // with a final verdict, Failed included
	Failed   int
	Running  int
	Waiting  int           // for its start; -1: unknown
	Held     int           // of Running, that wait for the memory of the machine
	Reserved int64         // bytes, of Budget
	Budget   int64         // bytes
	Left     time.Duration // estimated from how long those that are done took; 0: unknown
}

// Summary is what a batch came to.
type Summary struct {
	Succeeded int // jobs with a final verdict
	Failed    int // likewise
	Killed    int // that ran when the batch was ended
	NotRun    bool
	Repeated  int       // attempts that were followed by another one
	Invalid   int       // of those that failed: lines that describe no job
	Done      int       // that the log has
	Lost      int       // of these, that failed
	Signal    os.Signal // that ended the batch; nil: none
}

// Run runs the jobs of a list. The error is that of the output or of the list; jobs that fail are no error.
func Run(cfg Config) (Summary, error) {
	program, err := launch.Program()
	if err != nil {
		return Summary{}, err
	}
	s, err := newStarter(program, cfg.Policy.Jobs)
	if err != nil {
		return Summary{}, err
	}
	defer s.close()
	r := &run{
		cfg: cfg, queue: queue{policy: cfg.Policy}, starter: s, began: time.Now(),
		posts: make(chan func(), 64), quit: make(chan struct{}), items: make(chan item),
	}
	r.out = newOutput(cfg.Output, cfg.Policy.Jobs, func() { r.post(r.written) })
	defer close(r.quit)
	go r.read()
	r.loop()
	return r.summary, r.err
}

// ending is how urgently everything is to end.
type ending uint8

const (
	goesOn ending = iota
	asked         // with a grace period
	atOnce
)

// run is a batch. All fields belong to the goroutine of loop.
type run struct {
	cfg     Config
	queue   queue
	starter *starter
	out     *output
	posts   chan func()
	quit    chan struct{}
	items   chan item // nil: there are no more

	began    time.Time
	ending   ending
	deadline *time.Timer // of who was asked to end
	crowded  bool        // the system has no room for another process before one ends
	summary  Summary
	err      error
}

// item is what the reader of the list found.
type item struct {
	job   *job
	wrong []Problem
	err   error
	end   bool
}

// ahead is how many jobs are known that cannot start yet.
const ahead = 1000

// read reads the list, as far ahead as they are taken.
func (r *run) read() {
	err := r.cfg.List.each(r.cfg.Source, func(j *job, wrong []Problem) bool {
		select {
		case r.items <- item{job: j, wrong: wrong}:
			return true
		case <-r.quit:
			return false
		}
	})
	select {
	case r.items <- item{err: err, end: true}:
	case <-r.quit:
	}
}

// post hands something to the loop.
func (r *run) post(f func()) {
	select {
	case r.posts <- f:
	case <-r.quit:
	}
}

// job is one, from its line to its last verdict.
type job struct {
	line    int
	spec    Spec
	id      string
	digest  uint64
	program string // what history knows it by
	most    int64  // bytes: its limit is not grown beyond
	past    past
	claim   Claim
	attempt int // from 1 on

	cancel  context.CancelFunc // while it waits for the memory of the machine
	held    bool               // it does
	waited  time.Duration
	ticket  Ticket
	process *process
	asked   bool
}

func (r *run) loop() {
	var tick <-chan time.Time
	if r.cfg.Progress != nil {
		t := time.NewTicker(r.cfg.ProgressEvery)
		defer t.Stop()
		tick = t.C
	}
	source := r.items
	r.deadline = time.NewTimer(time.Hour)
	r.deadline.Stop()
	for {
		r.advance()
		if len(r.queue.running) == 0 && (r.ending > goesOn || source == nil && len(r.queue.waiting) == 0) {
			break
		}
		items := source
		if r.ending > goesOn || len(r.queue.waiting) >= ahead || r.out.crowded() {
			items = nil
		}
		select {
		case it := <-items:
			if r.take(it); it.end {
				source = nil
			}
		case f := <-r.posts:
			f()
		case sig := <-r.cfg.Interrupts:
			r.interrupt(sig)
		case <-r.deadline.C:
			r.end(atOnce)
		case <-tick:
			r.cfg.Progress(r.progress())
		}
	}
	r.summary.NotRun = source != nil || len(r.queue.waiting) > 0
	r.flush()
}

// flush waits for the output, or for somebody who does not want to.
func (r *run) flush() {
	done := r.out.close()
	for {
		select {
		case <-done:
			r.written()
			return
		case f := <-r.posts:
			f()
		case sig := <-r.cfg.Interrupts:
			if r.interrupt(sig); r.ending == atOnce {
				r.err = errors.Join(r.err, errors.New("standard output: nobody reads it: verdicts are lost"))
				return
			}
		}
	}
}

// written is called when there is room in the output again, and when it has failed.
func (r *run) written() {
	if err := r.out.err.Load(); err != nil {
		r.fail(*err)
	}
}

// take takes in what the reader of the list found.
func (r *run) take(it item) {
	switch {
	case it.err != nil:
		r.fail(it.err)
	case it.end:
	case it.job == nil:
		r.invalid(it.wrong)
	case it.job.past.done:
		r.summary.Done++
		if !it.job.past.ok {
			r.summary.Lost++
		}
	default:
		r.queue.add(it.job)
	}
}

// invalid gives a line that describes no job its verdict.
func (r *run) invalid(p []Problem) {
	if r.cfg.Invalid != nil {
		for _, one := range p {
			r.cfg.Invalid(one)
		}
	}
	j := &job{line: p[0].Line, id: lineID(p[0].Line)}
	r.summary.Invalid++
	r.summary.Failed++
	r.out.write(j.text(j.without(reasonInvalid, joined(p), supervise.ExitUsage), true))
	if r.cfg.FailFast {
		r.end(asked)
	}
}

// advance starts what may start.
func (r *run) advance() {
	for r.ending == goesOn && !r.crowded && !r.out.crowded() {
		j := r.queue.next()
		if j == nil {
			return
		}
		r.admit(j)
	}
}

// admit lets a job wait until the machine has memory for it.
func (r *run) admit(j *job) {
	ctx, cancel := context.WithCancel(context.Background())
	j.cancel, j.process, j.asked, j.waited = cancel, nil, false, 0
	since := time.Now()
	held := func() {
		r.post(func() {
			if j.held = true; r.cfg.Held != nil {
				r.cfg.Held(j.id, j.claim)
			}
		})
	}
	go func() {
		t, err := r.cfg.Gate.Admit(ctx, j.claim, held)
		r.post(func() { r.admitted(j, t, err, time.Since(since)) })
	}()
}

func (r *run) admitted(j *job, t Ticket, err error, waited time.Duration) {
	j.cancel()
	if j.held {
		j.waited, j.held = waited, false
	}
	j.ticket = t
	switch {
	case r.ending > goesOn:
		r.giveBack(j)
		r.queue.add(j)
	case err != nil:
		r.over(j, j.without(supervise.ReasonLaunch, err.Error(), supervise.ExitFailure))
	default:
		r.starter.start(r.order(j), func(p *process, err error) { r.post(func() { r.started(j, p, err) }) })
	}
}

func (r *run) order(j *job) *order {
	s := &j.spec
	o := &order{ID: j.id, Bundle: s.Bundle, Args: s.Args, Env: s.Env, Cwd: s.Cwd, Stdout: s.Stdout, Stderr: s.Stderr,
		Limit: j.claim.Limit, Timeout: s.Timeout, Grace: r.cfg.Grace}
	if j.ticket != nil {
		o.Expect = j.claim.Expected
	}
	return o
}

// started is told what came of a worker.
func (r *run) started(j *job, p *process, err error) {
	if err != nil {
		if isCrowded(err) && len(r.queue.running) > 1 {
			r.crowded = true // until one of the others has ended
			r.giveBack(j)
			r.queue.add(j)
			return
		}
		r.over(j, j.without(supervise.ReasonLaunch, "mlrun "+WorkerArg+": "+err.Error(), supervise.ExitFailure))
		return
	}
	j.process = p
	go func() {
		rep, _ := p.wait(func(n int64) {
			r.post(func() {
				if j.ticket != nil {
					j.ticket.Used(n)
				}
			})
		})
		r.post(func() { r.over(j, j.ended(rep, j.asked)) })
	}()
	if r.ending > goesOn {
		r.stop(j)
	}
}

// isCrowded tells whether there is no room for another process or pipe at this moment.
func isCrowded(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// giveBack takes a job out of those that run.
func (r *run) giveBack(j *job) {
	if j.ticket != nil {
		j.ticket.Release()
		j.ticket = nil
	}
	r.queue.end(j)
}

// over is the end of an attempt.
func (r *run) over(j *job, a attempt) {
	r.giveBack(j)
	r.crowded = false
	if r.cfg.Record != nil && a.Memory.Peak > 0 {
		r.cfg.Record(j.program, a.Memory.Peak)
	}
	again, retry := j.claim, false
	if a.Reason == supervise.ReasonMemory && j.attempt <= j.spec.Retries {
		again, retry = r.cfg.Policy.Grown(j.claim, j.most)
	}
	r.out.write(j.text(a, !retry))
	switch {
	case retry:
		r.summary.Repeated++
		j.attempt, j.claim = j.attempt+1, again
		r.queue.add(j)
		return
	case succeeded(a.Reason, a.ExitCode):
		r.summary.Succeeded++
		return
	case a.Reason == supervise.ReasonKilled && j.asked:
		r.summary.Killed++
		return
	}
	r.summary.Failed++
	if r.cfg.FailFast {
		r.end(asked)
	}
}

// interrupt is a signal to the batch.
func (r *run) interrupt(sig os.Signal) {
	if r.summary.Signal == nil {
		r.summary.Signal = sig
		r.end(asked)
		return
	}
	r.end(atOnce)
}

// fail ends the batch with an error of its own.
func (r *run) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.end(asked)
}

const (
	endSlack  = 5 * time.Second // what a worker may take beyond the grace period
	killAfter = 2 * time.Second // and one that was told to kill, before it is killed itself
)

// end makes everything end that runs, and nothing start any more. What is asked for once more is more urgent.
func (r *run) end(how ending) {
	if how < r.ending || how == asked && r.ending == asked {
		return
	}
	again := r.ending == atOnce
	r.ending = how
	for _, j := range r.queue.running {
		if r.stop(j); again && j.process != nil {
			j.process.kill()
		}
	}
	r.deadline.Reset(killAfter)
	if how == asked {
		r.deadline.Reset(r.cfg.Grace + endSlack)
	}
}

// stop makes a job end.
func (r *run) stop(j *job) {
	j.cancel()
	if j.process == nil {
		return // it is not started, or started is called
	}
	if !j.asked {
		j.asked = true
		j.process.stop()
	}
	if r.ending == atOnce {
		j.process.destroy()
	}
}

// progress is where the batch is.
func (r *run) progress() Progress {
	s := &r.summary
	p := Progress{Total: r.cfg.Total, Failed: s.Failed, Done: s.Succeeded + s.Failed + s.Killed, Running: len(r.queue.running),
		Waiting: -1, Reserved: r.queue.reserved, Budget: r.cfg.Policy.Budget}
	for _, j := range r.queue.running {
		if j.held {
			p.Held++
		}
	}
	if p.Total >= 0 {
		p.Waiting = max(p.Total-p.Done-p.Running, 0)
		if p.Done > 0 {
			p.Left = time.Since(r.began) / time.Duration(p.Done) * time.Duration(p.Total-p.Done)
		}
	}
	return p
}
