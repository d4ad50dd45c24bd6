package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	goruntime "runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"mlrun/admission"
	"mlrun/batch"
	"mlrun/bundle"
	"mlrun/runtime/supervise"
)

const batchHelp = `batch runs jobs, as many at once as memory and --jobs allow, and writes the verdict of each to standard output: an object a line, in the
order in which they end. FILE has a job on each line, a JSON object; - is standard input, whose jobs start while more lines come.

  {"args": ["simulate", "--seed", "1"], "memory": "512M", "retries": 2}
  {"id": "fit-2", "bundle": "bundles/fit", "env": ["SEED=2"], "timeout": "1h"}

Of a file that is not valid in any line no job is started. What is reserved for all jobs that run is never more than the budget (--memory), and
no job can use more than what is reserved for it: one without a limit of its own has its reservation as limit. Jobs start in the order of
the list; one that does not fit may be passed by those that fit beside it.

EXIT STATUS
    0  every job succeeded: it exited with 0, now or in the log of --resume
    1  a job failed, a line of standard input was not valid, or mlrun itself failed
    2  the command line was wrong, or a line of FILE: nothing was started
  130  it was ended by SIGINT (Ctrl-C), and
128+N  by signal N; mlrun batch --resume goes on`

// batchOptions are the flags of batch.
type batchOptions struct {
	jobs                        int
	memory, most, grace, resume string
	grow                        string
	failFast, keepGoing         bool
	policy                      batch.Policy
	graceTime                   time.Duration
}

func (o *batchOptions) add(f *pflag.FlagSet) {
	f.IntVarP(&o.jobs, "jobs", "j", 0, "run up to `N` jobs at once (default: as many as there are processors)")
	f.StringVar(&o.memory, "memory", "", "the budget: what the limits of all running jobs come to at most (`AMOUNT`: 4G, or 50% of all memory; default nine tenths of what is available)")
	f.StringVar(&o.grow, "grow", "2", "multiply the limit of a job that is tried again by `FACTOR`")
	f.StringVar(&o.most, "max-memory", "", "let limits grow up to `SIZE` (default: the budget)")
	f.StringVar(&o.grace, "grace", "5", "`TIME` between SIGTERM and SIGKILL for jobs that are ended before their end: seconds, or 500ms; one over its memory limit has none")
	f.StringVar(&o.resume, "resume", "", "leave out the jobs that are done by `FILE`, the output of an earlier run; it may be the output of this one, too (>>FILE)")
	f.BoolVarP(&o.keepGoing, "keep-going", "k", false, "run all jobs, whether others fail or not (the default)")
	f.BoolVar(&o.failFast, "fail-fast", false, "end everything as soon as a job has failed")
}

func (a *app) batchCmd() *cobra.Command {
	var o batchOptions
	cmd := &cobra.Command{
		Use:   "batch [flags] FILE",
		Short: "run jobs from a list, as many at once as there is memory for",
		Long:  batchHelp,
		Args:  exactArgs(1, "a list of jobs, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd.Flags()); err != nil {
				return err
			}
			return a.batch(&o, args[0])
		},
	}
	o.add(cmd.Flags())
	cmd.Flags().BoolVarP(&a.console.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

// maxJobs is how many jobs may be asked for at once.
const maxJobs = 4096

// check turns the flags into a policy.
func (o *batchOptions) check(f *pflag.FlagSet) (err error) {
	if err := notEmpty(f, "memory", "grow", "max-memory", "grace", "resume"); err != nil {
		return err
	}
	if o.jobs == 0 && !f.Changed("jobs") {
		o.jobs = min(goruntime.NumCPU(), maxJobs)
	}
	switch {
	case o.jobs < 1 || o.jobs > maxJobs:
		return usagef("--jobs %d: want a number from 1 to %d", o.jobs, maxJobs)
	case o.failFast && o.keepGoing:
		return usagef("--fail-fast and --keep-going: want one of them")
	}
	if o.graceTime, err = bundle.ParseGrace(o.grace); err != nil {
		return usagef("--grace: %v", err)
	}
	grow, err := strconv.ParseFloat(o.grow, 64)
	if err != nil || !(grow > 1 && grow <= 1000) {
		return usagef("--grow %q: want a number greater than 1 and at most 1000, such as 1.5", o.grow)
	}
	budget, err := o.budget()
	if err != nil {
		return err
	}
	o.policy = batch.Policy{Budget: budget, Jobs: o.jobs, Grow: grow, Max: budget}
	if o.most != "" {
		if o.policy.Max, err = bundle.ParseSize(o.most); err != nil {
			return usagef("--max-memory: %v", err)
		}
		if o.policy.Max > budget {
			return usagef("--max-memory %s: want at most the %s of the budget (--memory)", o.most, size(budget))
		}
	}
	return nil
}

// budget is the budget in bytes.
func (o *batchOptions) budget() (int64, error) {
	var amount admission.Amount
	if o.memory != "" {
		var err error
		if amount, err = admission.ParseAmount(o.memory); err != nil {
			return 0, usagef("--memory: %v", err)
		}
	}
	m, err := admission.ThisHost().Memory()
	if err != nil {
		return 0, err
	}
	n := amount.Of(m.Total)
	switch {
	case o.memory == "":
		return m.Available / 10 * 9, nil
	case n <= 0 || n > m.Total:
		return 0, usagef("--memory %s: want more than nothing and at most the %s that this machine has", o.memory, size(m.Total))
	}
	return n, nil
}

// batch runs the jobs of a file.
func (a *app) batch(o *batchOptions, name string) error {
	interrupts := endSignals()
	log, err := o.log()
	if err != nil {
		return err
	}
	file := os.Stdin
	if name == "-" {
		name = "standard input"
	} else {
		if file, err = os.Open(name); err != nil {
			return err
		}
		defer file.Close()
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	rt, err := a.open()
	if err != nil {
		return err
	}
	line, err := admission.Open(rt.AdmissionDir(), admission.ThisHost())
	if err != nil {
		return err
	}
	defer line.Close()
	list := batch.NewList(o.policy, dir, log, func(program string) int64 { n, _ := line.Expect(program); return n })
	cfg := batch.Config{
		List: list, Source: file, Total: -1, Policy: o.policy, Grace: o.graceTime, FailFast: o.failFast, Gate: batch.NewGate(line), Record: line.Record,
		Output: stdout{}, Interrupts: interrupts,
		Invalid: func(p batch.Problem) { a.fail(name + ": " + p.String()) },
		Held: func(id string, c batch.Claim) {
			a.notice("%s waits until %s are available", id, size(c.Expected))
		},
	}
	if info, err := file.Stat(); err != nil {
		return err
	} else if info.Mode().IsRegular() {
		if err := a.checkList(&cfg, name, file, info.Size()); err != nil {
			return err
		}
	}
	if log != nil && log.Open && o.appends() {
		cfg.Output = &mend{w: cfg.Output}
	}
	if width() > 0 && !a.console.quiet {
		cfg.Progress, cfg.ProgressEvery = a.batchProgress, progressEvery
	}
	s, err := batch.Run(cfg)
	if cfg.Progress != nil {
		a.console.status("")
	}
	return a.concluded(s, cfg.Total, err)
}

// checkList reads all of a list before anything is started.
func (a *app) checkList(cfg *batch.Config, name string, file *os.File, bytes int64) error {
	all := io.NewSectionReader(file, 0, bytes)
	n, err := cfg.List.Check(all)
	var wrong *batch.ListError
	if errors.As(err, &wrong) {
		for _, p := range wrong.Problems {
			a.fail(name + ": " + p.String())
		}
		if wrong.More > 0 {
			a.fail(fmt.Sprintf("%s: %d more problems", name, wrong.More))
		}
		a.exit = supervise.ExitUsage
		return reported{err}
	}
	if err != nil {
		return err
	}
	if n.Unlimited > 0 {
		a.notice("%d of %d jobs have no memory limit: theirs is what is reserved for them, %s or more if their program has used that before",
			n.Unlimited, n.Jobs, size(cfg.Policy.Share()))
	}
	cfg.Source, cfg.Total = io.NewSectionReader(file, 0, bytes), n.Jobs-n.Done
	return nil
}

// concluded says what a batch came to.
func (a *app) concluded(s batch.Summary, total int, err error) error {
	text := fmt.Sprintf("%d jobs succeeded, %d failed", s.Succeeded, s.Failed)
	if s.Done > 0 {
		text = fmt.Sprintf("%d jobs were done before, %d of them failed; ", s.Done, s.Lost) + text
	}
	if s.Repeated > 0 {
		text += fmt.Sprintf(", %d attempts with a larger limit", s.Repeated)
	}
	if s.Killed > 0 {
		text += fmt.Sprintf(", %d were ended", s.Killed)
	}
	if left := total - s.Succeeded - s.Failed - s.Killed; total >= 0 && left > 0 {
		text += fmt.Sprintf(", %d were not run", left)
	} else if total < 0 && s.NotRun {
		text += ", the rest was not run"
	}
	a.notice("%s", text)
	if s.Failed > 0 || s.Lost > 0 || s.Killed > 0 {
		a.exit = supervise.ExitFailure
	}
	if sig, ok := s.Signal.(syscall.Signal); ok && err == nil {
		a.exit, a.interrupted = supervise.ExitSignal+int(sig), sig == unix.SIGINT
	}
	return err
}

// log reads the log of --resume.
func (o *batchOptions) log() (*batch.Log, error) {
	if o.resume == "" {
		return nil, nil
	}
	f, err := os.Open(o.resume)
	if err != nil {
		return nil, fmt.Errorf("--resume: %w", err)
	}
	defer f.Close()
	if flags, err := unix.FcntlInt(1, unix.F_GETFL, 0); err == nil && flags&unix.O_APPEND == 0 && o.appends() {
		return nil, usagef("--resume %s: standard output is the same file and not appended to: want >>%s", o.resume, o.resume)
	}
	l, err := batch.ReadLog(f)
	if err != nil {
		return nil, fmt.Errorf("--resume %s: %w", o.resume, err)
	}
	return l, nil
}

// appends tells whether standard output is the log.
func (o *batchOptions) appends() bool {
	log, err := os.Stat(o.resume)
	out, e := os.Stdout.Stat()
	return err == nil && e == nil && os.SameFile(log, out)
}

// endSignals are the signals that end a batch; those that the caller ignores (nohup) stay ignored.
func endSignals() <-chan os.Signal {
	c := make(chan os.Signal, 8)
	for _, sig := range []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM} {
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
	return c
}

// stdout is standard output, where the end of its reader is an error and no signal (package os).
type stdout struct{}

func (stdout) Write(b []byte) (n int, err error) {
	for n < len(b) {
		m, err := unix.Write(1, b[n:])
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			_, _ = unix.Poll([]unix.PollFd{{Fd: 1, Events: unix.POLLOUT}}, -1)
		case err != nil:
			return n, err
		default:
			n += m
		}
	}
	return n, nil
}

// mend ends the torn last line of a file before the first line is appended to it.
type mend struct {
	w    io.Writer
	done bool
}

func (m *mend) Write(b []byte) (int, error) {
	if !m.done {
		if _, err := m.w.Write([]byte("\n")); err != nil {
			return 0, err
		}
		m.done = true
	}
	return m.w.Write(b)
}

// progressEvery is how often the progress line is drawn.
const progressEvery = 250 * time.Millisecond

// batchProgress draws the progress line.
func (a *app) batchProgress(p batch.Progress) {
	done := strconv.Itoa(p.Done)
	if p.Total >= 0 {
		done += " of " + strconv.Itoa(p.Total)
	}
	text := fmt.Sprintf("%s done, %d failed, %d running", done, p.Failed, p.Running)
	if p.Held > 0 {
		text = fmt.Sprintf("%s done, %d failed, %d running, %d held", done, p.Failed, p.Running-p.Held, p.Held)
	}
	if p.Waiting >= 0 {
		text += fmt.Sprintf(", %d waiting", p.Waiting)
	}
	text += fmt.Sprintf("; %s of %s reserved", size(p.Reserved), size(p.Budget))
	if m, err := admission.ThisHost().Memory(); err == nil {
		text += ", " + size(m.Available) + " available"
	}
	if p.Left > 0 {
		text += "; " + p.Left.Round(time.Second).String() + " left"
	}
	a.console.status(a.name + ": " + text)
}
