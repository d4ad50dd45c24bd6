package supervise

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"mlrun/proc"
	"mlrun/rlimit"
	"mlrun/runtime/launch"
)

const (
	giveUp       = 2 * time.Second        // after this long, members that may not be signalled are left alone
	questionWait = 200 * time.Millisecond // how long a question waits for a busy sampler
)

// loop is a run. All fields belong to the goroutine of run.
type loop struct {
	cfg   *Config
	set   settings
	state state

	posts chan func(*loop) // what other goroutines found out
	sigs  chan os.Signal   // nil without Foreground
	timer *time.Timer
	term  *terminal

	proc    *launch.Process
	group   *proc.Group
	sampler *sampler
	pending *breach      // the group is frozen and waits for the decision
	asleep  *proc.Frozen // the group is stopped along with mlrun

	verdict    Verdict
	launchCode int
	launchErr  error
	start      *Request // start request that waits for its answer
	starting   bool
	executing  bool           // execve was ordered, and what came of it is not known
	nobody     bool           // no process is left of the payload
	guests     map[int]*guest // other processes that run in the container, by their reapers
	orphans    bool           // a reaper of these was killed
	observed   bool           // no reaper tells that nothing is left: a process of the container is or was somebody else's child (observe.go), or there is no subreaper
	sweeping   bool           // what such ones leave is looked for
	swept      bool           // there is nothing more of it
	erase      atomic.Bool    // and it is to end
	paused     bool           // everything is stopped by request
	watchers   []func(Occurrence)
	following  bool            // execve was ordered, and what follows it is not done
	ended      bool            // nothing is left
	finished   bool            // and nothing is to be done
	ctx        context.Context // ends with the run: hooks that still run are stopped
	cancel     context.CancelFunc
	helpers    sync.WaitGroup
	killSince  time.Time
	rusage     *syscall.Rusage
	seen       *Rusage // when the payload ended, where its parent is told what it has used
	several    bool    // there was more than one process at some sample
	shared     bool    // and memory that was shared with others

	admission atomic.Pointer[Admission] // what Admit came to

	given    []rlimit.Limit // by updates, each type once
	place    Place          // of updates
	changing sync.Mutex     // held while an update changes what the kernel keeps of the members
	own      int            // nice value of this process
	nice     int            // of members that have not chosen one; below changing
	death    *death         // of the payload, if a limit may be the cause
}

// Run carries out one run and returns its verdict. The error is the reason why the program was never executed, or that a
// hook failed; the verdict is complete all the same.
func Run(cfg *Config) (*Verdict, error) {
	l := newLoop(cfg)
	if cfg.Foreground != nil {
		if !cfg.Launch.Session { // else it has a terminal of its own
			l.term = openTerminal()
			l.set.jobControl = l.term.exists()
		}
		l.sigs = cfg.Foreground.C
	}
	go l.launch()
	l.run()
	v := l.conclude()
	l.tell(Occurrence{Ended: v})
	if cfg.Ended != nil {
		cfg.Ended(v)
	}
	if l.rusage != nil || l.proc != nil && l.proc.Observed() && l.nobody && l.proc.Reaper > 0 {
		l.proc.Wait() // its last report was before the end of its memory, which takes the kernel a while
	}
	return v, l.launchErr
}

func newLoop(cfg *Config) *loop {
	l := &loop{
		cfg: cfg, set: settings{grace: cfg.Grace, onBreach: cfg.Memory.OnBreach, strict: cfg.Strict}, term: &terminal{fd: -1},
		posts: make(chan func(*loop), 16), guests: map[int]*guest{},
		timer: time.NewTimer(time.Hour), launchCode: ExitFailure,
	}
	l.timer.Stop()
	l.own, _ = niceOf(0)
	l.nice = baseNice(&cfg.Launch, l.own)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.verdict = Verdict{Version: VerdictVersion, ID: cfg.ID, Created: time.Now().UTC()}
	return l
}

// post hands a result to the loop; false: that has ended.
func (l *loop) post(f func(*loop)) bool {
	select {
	case l.posts <- f:
		return true
	case <-l.ctx.Done():
		return false
	}
}

func (l *loop) run() {
	var progress <-chan time.Time
	if l.cfg.Progress != nil && l.cfg.ProgressEvery > 0 {
		t := time.NewTicker(l.cfg.ProgressEvery)
		defer t.Stop()
		progress = t.C
	}
	for !l.finished {
		select {
		case f := <-l.posts:
			f(l)
		case sig := <-l.sigs:
			l.onSignal(sig.(syscall.Signal))
			l.finished = l.finished || l.ended && endsRun(sig.(syscall.Signal)) // a hook takes too long
		case r := <-l.cfg.Requests:
			l.onRequest(r)
		case <-l.timer.C:
			l.event(event{kind: evTimer})
			l.checkDenied()
		case <-progress:
			if s := l.sampler; s != nil {
				go l.progress(s)
			}
		}
	}
}

func (l *loop) progress(s *sampler) {
	if sn, ok := s.question(l.cfg.ProgressEvery); ok {
		l.cfg.Progress(sn)
	}
}

// event runs one event through step and does what follows.
func (l *loop) event(e event) {
	var actions []action
	l.state, actions = step(l.state, e, l.set)
	for _, a := range actions {
		l.do(a)
	}
}

func (l *loop) do(a action) {
	switch a.kind {
	case actOpenGate:
		l.openGate()
	case actSignalGroup:
		if l.group != nil {
			_ = l.group.SignalGroup(a.sig)
		}
	case actSignalLeader:
		if l.group != nil {
			_ = l.group.SignalLeader(a.sig)
		}
	case actSignalAll:
		l.signalAll(a.sig)
	case actSignalBreach:
		_ = l.group.SignalLeader(l.cfg.Signal)
		l.goesOn(l.pending)
	case actKillVictim:
		l.killVictim()
	case actHold:
		l.hold()
	case actGoOn:
		l.goOnToEnd()
		l.sampler.endThrottle()
		l.signalAll(syscall.SIGCONT)
	case actThaw:
		l.thaw()
	case actArm:
		l.timer.Reset(a.wait)
	case actDisarm:
		l.timer.Stop()
	case actReap:
		l.reap()
	case actKillAll:
		l.killAll()
	case actSuspend:
		l.suspend(a.sig)
	case actFinish:
		l.ended = true
		l.finish()
	}
}

func (l *loop) onRequest(r Request) {
	switch r.Op {
	case OpStart:
		if l.start != nil {
			r.Reply(Snapshot{}, ErrNotCreated)
			return
		}
		l.start = &r
		l.begin()
	case OpKill:
		if l.state.exited || l.state.phase == creating {
			r.Reply(Snapshot{}, ErrNotRunning)
			return
		}
		l.event(event{kind: evKill, sig: r.Signal, all: r.All})
		r.Reply(Snapshot{}, nil)
	case OpDestroy:
		l.event(event{kind: evDestroy})
		r.Reply(Snapshot{}, nil)
	case OpPause, OpResume:
		l.onPause(r)
	case OpList:
		l.list(r)
	case OpUsage:
		l.usage(r)
	case OpWatch:
		l.watchers = append(l.watchers, r.Watch)
		r.Reply(Snapshot{}, nil)
	case OpUpdate:
		l.update(r)
	case OpExec:
		l.exec(r)
	case OpStats:
		if s := l.sampler; s != nil {
			held := l.state.held
			go func() {
				sn, _ := s.question(questionWait)
				sn.Frozen = held
				r.Reply(sn, nil)
			}()
			return
		}
		r.Reply(Snapshot{Processes: 1}, nil)
	default:
		r.Reply(Snapshot{}, fmt.Errorf("request %q: unknown", r.Op))
	}
}
