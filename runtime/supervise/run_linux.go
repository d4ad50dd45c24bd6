package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
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
	executing  bool            // execve was ordered, and what came of it is not known
	nobody     bool            // no process is left
	following  bool            // execve was ordered, and what follows it is not done
	ended      bool            // nothing is left
	finished   bool            // and nothing is to be done
	ctx        context.Context // ends with the run: hooks that still run are stopped
	cancel     context.CancelFunc
	helpers    sync.WaitGroup
	killSince  time.Time
	rusage     *syscall.Rusage
	several    bool // there was more than one process at some sample
}

// Run carries out one run and returns its verdict. The error is the reason why the program was never executed, or that a
// hook failed; the verdict is complete all the same.
func Run(cfg *Config) (*Verdict, error) {
	l := newLoop(cfg)
	if cfg.Foreground != nil {
		l.term = openTerminal()
		l.set.jobControl = l.term.exists()
		l.sigs = cfg.Foreground.C
	}
	go l.launch()
	l.run()
	return l.conclude(), l.launchErr
}

func newLoop(cfg *Config) *loop {
	l := &loop{
		cfg: cfg, set: settings{grace: cfg.Grace}, term: &terminal{fd: -1},
		posts: make(chan func(*loop), 16),
		timer: time.NewTimer(time.Hour), launchCode: ExitFailure,
	}
	l.timer.Stop()
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.verdict = Verdict{Version: VerdictVersion, ID: cfg.ID, Created: time.Now().UTC()}
	return l
}

// post hands a result to the loop, unless that has ended.
func (l *loop) post(f func(*loop)) {
	select {
	case l.posts <- f:
	case <-l.ctx.Done():
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
			l.finished = l.finished || l.ended && asksToEnd(sig.(syscall.Signal)) // a hook takes too long
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
		l.cfg.Progress(Snapshot(sn))
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
		l.suspend()
	case actFinish:
		l.ended = true
		l.finish()
	}
}

// finish ends the loop when nothing is left, and when what follows the execution of the program is done: it may end before
// execve is reported, and its poststart hooks run all the same. That they take long is no reason to wait after a kill.
func (l *loop) finish() {
	l.finished = l.ended && (!l.following || !natural(l.state.reason))
}

// natural tells whether a run ended without anybody's doing.
func natural(reason string) bool { return reason == ReasonExited || reason == ReasonSignaled }

// launch starts the payload. It runs in a goroutine of its own: a step such as chdir can block.
func (l *loop) launch() {
	c := l.cfg.Launch
	c.Terminal = -1
	if l.term.owned() && !inPipeline() {
		c.Terminal = l.term.fd
	}
	p, err := launch.Start(&c)
	l.post(func(l *loop) { l.launched(p, c.Terminal >= 0, err) })
}

// launched is called when the payload waits at the gate, or never will.
func (l *loop) launched(p *launch.Process, lend bool, err error) {
	if err == nil {
		l.proc = p
		go l.watch(p)
		l.group, err = proc.NewGroup(proc.Root, p.Reaper, p.PID)
		if errors.Is(err, proc.ErrGone) {
			err = nil // killed already: its end follows
		}
	}
	if err == nil && l.group != nil && l.cfg.Created != nil {
		err = l.cfg.Created(l.group.Leader())
	}
	if err != nil {
		l.failed(ReasonLaunch, err)
		if l.proc == nil {
			l.event(event{kind: evDone})
		}
		return
	}
	if lend {
		l.term.lent = p.PID
	}
	l.event(event{kind: evCreated})
	if l.state.phase >= stopping { // it was asked to end before it was there
		l.killAll()
		return
	}
	l.hooks(StageCreate, func(l *loop) {
		if l.cfg.Ready != nil {
			l.cfg.Ready()
		}
		if l.cfg.AutoStart {
			l.begin()
		}
	})
}

// failed ends the run with an error.
func (l *loop) failed(reason string, err error) {
	if l.launchErr == nil {
		l.launchErr = err
		l.verdict.Error = err.Error()
		var ee *launch.ExecError
		if errors.As(err, &ee) {
			l.launchCode = ExitNotExecutable
			if ee.NotFound() {
				l.launchCode = ExitNotFound
			}
		}
	}
	l.answerStart(err)
	l.event(event{kind: evFailed, cause: reason})
	l.followed()
}

func (l *loop) answerStart(err error) {
	if l.cfg.Launched != nil {
		l.cfg.Launched(err)
		l.cfg.Launched = nil
	}
	if l.start != nil {
		l.start.Reply(Snapshot{}, err)
		l.start = nil
	}
}

// hooks runs the hooks of a stage and then next, if none failed and nothing has ended meanwhile.
func (l *loop) hooks(stage Stage, next func(*loop)) {
	if l.cfg.Hook == nil || l.group == nil {
		next(l)
		return
	}
	hook, id := l.cfg.Hook, l.group.Leader()
	l.helpers.Add(1)
	go func() {
		defer l.helpers.Done()
		err := hook(l.ctx, stage, id)
		l.post(func(l *loop) {
			switch {
			case err != nil:
				l.failed(ReasonHook, err)
			case stage != StagePost && l.state.phase >= stopping:
				l.answerStart(ErrNotRunning)
			default:
				next(l)
			}
		})
	}()
}

// begin starts a created payload.
func (l *loop) begin() {
	if l.starting || l.state.exited || l.state.phase != created {
		l.answerStart(ErrNotCreated)
		return
	}
	l.starting = true
	l.hooks(StageStart, func(l *loop) { l.event(event{kind: evStart}) })
}

func (l *loop) openGate() {
	now := time.Now().UTC()
	l.verdict.Started = &now
	l.startSampler()
	l.following, l.executing = true, true
	l.helpers.Add(1)
	go func() {
		if f := l.cfg.Foreground; f != nil {
			<-f.ready
		}
		err := l.proc.Exec()
		if err == nil && l.cfg.Started != nil {
			err = l.cfg.Started(now) // while the program runs already: it does not wait for the disk
		}
		l.helpers.Done()
		l.post(func(l *loop) { l.executed(err) })
	}()
}

func (l *loop) executed(err error) {
	l.executing = false
	defer func() {
		if l.nobody {
			l.event(event{kind: evDone})
		}
	}()
	if err != nil {
		l.failed(ReasonLaunch, err)
		return
	}
	l.event(event{kind: evStarted})
	l.hooks(StagePost, func(l *loop) {
		l.answerStart(nil)
		l.followed()
	})
}

// done is called when no process is left. What came of execve, which may be known only after the payload's end, comes first: it
// tells a program that ended from one that was never executed.
func (l *loop) done() {
	l.nobody = true
	if !l.executing {
		l.event(event{kind: evDone})
	}
}

// followed is called when nothing more follows the execution of the program.
func (l *loop) followed() {
	l.following = false
	l.finish()
}

func (l *loop) startSampler() {
	if l.group == nil {
		return
	}
	s := newSampler(proc.Root, l.group, l.cfg.Memory)
	s.onOver = func(b *breach) { l.post(func(l *loop) { l.breached(b) }) }
	s.onHope = func() { l.post(func(l *loop) { l.event(event{kind: evHopeless}) }) }
	l.sampler = s
	go s.run()
}

func (l *loop) breached(b *breach) {
	l.pending = b
	if l.verdict.Top == nil {
		l.verdict.Top = b.victims
	}
	l.event(event{kind: evBreach})
	l.thaw()
}

// thaw lets a group that was frozen for a breach go on, and the sampler too. A group that is to end is continued as a whole,
// also what somebody else had stopped, and has the ceiling as its limit.
func (l *loop) thaw() {
	b := l.pending
	if b == nil {
		return
	}
	l.pending = nil
	ending := l.state.phase >= stopping
	b.frozen.Thaw(ending)
	l.sampler.resume <- ending
}

// signalAll signals every member, and says so when one may not be signalled.
func (l *loop) signalAll(sig syscall.Signal) {
	if l.group == nil {
		return
	}
	for _, id := range l.group.SignalAll(sig) {
		l.deny(id)
	}
}

func (l *loop) deny(id proc.ID) {
	for _, d := range l.verdict.Denied {
		if d == id {
			return
		}
	}
	l.verdict.Denied = append(l.verdict.Denied, id)
	if l.cfg.Log != nil {
		l.cfg.Log.Warn("process may not be signalled: it has other credentials", "pid", id.PID)
	}
}

// killAll sends SIGKILL to every member, and makes the reaper go on with it until nothing is left.
func (l *loop) killAll() {
	if l.proc == nil {
		return
	}
	if l.killSince.IsZero() {
		l.killSince = time.Now()
	}
	if l.group != nil && (!l.state.exited || time.Since(l.killSince) > again/2) {
		l.signalAll(unix.SIGKILL)
	}
	l.release()
	l.proc.KillAll()
	l.thaw()
}

// release stops the use of the payload's process group id.
func (l *loop) release() {
	if l.group != nil {
		l.group.Release()
	}
}

func (l *loop) reap() {
	if l.group != nil {
		l.release()
		for _, id := range l.group.Members() {
			if proc.Root.Alive(id) {
				l.verdict.Left++
			}
		}
	}
	l.proc.Reap()
}

// checkDenied gives up on what may not be signalled when nothing else is left.
func (l *loop) checkDenied() {
	if l.finished || l.killSince.IsZero() || len(l.verdict.Denied) == 0 || time.Since(l.killSince) < giveUp {
		return
	}
	denied := map[proc.ID]bool{}
	for _, id := range l.verdict.Denied {
		denied[id] = true
	}
	l.group.Update(time.Now())
	for _, id := range l.group.Members() {
		if !denied[id] && proc.Root.Alive(id) {
			return
		}
	}
	l.event(event{kind: evDone})
}

// watch turns the reports of the reaper into events.
func (l *loop) watch(p *launch.Process) {
	for {
		e, err := p.Next()
		if err == io.EOF {
			l.post(func(l *loop) { l.reaperLost() })
			return
		}
		l.post(func(l *loop) { l.reported(e) })
		if e.Kind == launch.Done {
			return
		}
	}
}

func (l *loop) reported(e launch.Event) {
	switch e.Kind {
	case launch.Exited:
		l.event(event{kind: evExited, status: e.Status, known: true})
	case launch.Stopped:
		l.event(event{kind: evStopped, sig: e.Status.StopSignal()})
	case launch.Done:
		l.rusage = &e.Rusage
		l.proc.Wait()
		l.done()
	}
}

// reaperLost goes on without the reaper: its children are ours now.
func (l *loop) reaperLost() {
	l.proc.Wait()
	if l.cfg.Log != nil {
		l.cfg.Log.Error("the reaper process was killed: ending everything", "pid", l.proc.Reaper)
	}
	if l.group == nil {
		l.event(event{kind: evDone})
		return
	}
	l.group.Adopt(os.Getpid())
	l.event(event{kind: evReaperLost})
	go l.adopt(l.group)
}

// adopt kills and reaps until no member is left. It is the only place that waits by looking again.
func (l *loop) adopt(g *proc.Group) {
	for {
		g.SignalAll(unix.SIGKILL)
		left := 0
		for _, id := range g.Members() {
			var ws unix.WaitStatus
			pid, err := unix.Wait4(id.PID, &ws, unix.WNOHANG, nil)
			if err == nil && pid == id.PID {
				if id == g.Leader() {
					l.post(func(l *loop) { l.event(event{kind: evExited, status: syscall.WaitStatus(ws), known: true}) })
				}
				g.Drop(id)
				continue
			}
			left++
		}
		if left == 0 && !g.Update(time.Now()) && len(g.Members()) == 0 {
			l.post(func(l *loop) { l.done() })
			return
		}
		time.Sleep(time.Millisecond)
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
	case OpStats:
		if s := l.sampler; s != nil {
			go func() {
				sn, _ := s.question(questionWait)
				r.Reply(Snapshot(sn), nil)
			}()
			return
		}
		r.Reply(Snapshot{Processes: 1}, nil)
	default:
		r.Reply(Snapshot{}, fmt.Errorf("request %q: unknown", r.Op))
	}
}

// conclude fills the verdict in after the end.
func (l *loop) conclude() *Verdict {
	v := &l.verdict
	v.Ended = time.Now().UTC()
	l.cancel()
	l.helpers.Wait()
	v.Terminal = l.term.lent != 0
	l.term.takeBack()
	l.term.close()
	v.Memory.Limit, v.Memory.Held = -1, "none"
	if l.sampler != nil {
		l.sampler.stop()
		st := l.sampler.totals()
		v.Memory, l.several = st.memory, st.several
		v.Memory.Limit, v.Memory.Held = -1, "none"
	}
	if l.cfg.Memory.Limit > 0 {
		v.Memory.Limit, v.Memory.Held = l.cfg.Memory.Limit, "sampled"
	}
	if l.group != nil {
		v.Escaped = l.group.Escaped()
		l.group.Close()
	}
	if l.proc != nil {
		l.proc.Close()
	}
	l.account()
	st := l.state
	v.Reason, v.ExitCode = st.reason, st.exitCode(l.launchCode)
	if st.known && v.Reason != ReasonLaunch {
		switch {
		case st.status.Exited():
			code := st.status.ExitStatus()
			v.Exited, v.Code = true, &code
		case st.status.Signaled():
			v.Signal, v.CoreDumped = SignalName(st.status.Signal()), st.status.CoreDump()
		}
	}
	l.answerStart(ErrNotRunning)
	return v
}

// account adds what the kernel counted.
func (l *loop) account() {
	m := &l.verdict.Memory
	m.PeakSource = "pss"
	if l.rusage != nil {
		l.verdict.Rusage = newRusage(*l.rusage)
		maxrss := l.verdict.Rusage.MaxRSS
		if m.ExactReads == 0 || !l.several && maxrss > m.Peak {
			m.Peak, m.PeakSource = maxrss, "maxrss"
		}
		m.PeakUpper = max(m.PeakUpper, maxrss, m.Peak)
		if m.Limit > 0 && maxrss > m.Limit && m.Peak <= m.Limit {
			m.MissedSpike = maxrss
		}
	}
	var self syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &self) == nil {
		r := newRusage(self)
		m.MonitorCPUMS = float64(r.UTimeUS+r.STimeUS) / 1000
	}
}
