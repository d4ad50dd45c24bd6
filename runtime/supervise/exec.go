package supervise

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"

	"mlrun/proc"
	"mlrun/runtime/launch"
)

// guest is a process that runs in the container beside the payload, below a reaper of its own.
type guest struct {
	proc   *launch.Process
	leader proc.ID
	exec   *Exec
	gone   bool // it has ended: its pid is not ours any more
	told   bool // Started was called

	executed bool     // what came of execve is known
	end      *outcome // how it ended, if it has: told after that
}

// errNotItsChild refuses a process that somebody else has made.
var errNotItsChild = errors.New("the process to take in is no child of who asks for it")

// outcome is how a guest ended.
type outcome struct {
	status syscall.WaitStatus
	known  bool
}

// exec starts a guest. It is created in a goroutine of its own, since a step such as chdir can block.
func (l *loop) exec(r Request) {
	if l.state.phase != running && l.state.phase != created || l.state.exited || l.group == nil {
		r.Reply(Snapshot{}, ErrNotRunning)
		return
	}
	if l.paused {
		r.Reply(Snapshot{}, ErrPaused)
		return
	}
	r.Reply(Snapshot{}, nil)
	e := r.Exec
	if e.PID > 0 {
		go l.takeIn(e)
		return
	}
	c := e.Launch
	c.Terminal = -1
	if f := l.cfg.Foreground; f != nil {
		c.Caught = f.caught
	}
	go func() {
		p, err := launch.Start(&c)
		if err != nil {
			e.Started(proc.ID{}, err)
			return
		}
		if !l.post(func(l *loop) { l.arrived(&guest{proc: p, exec: e}) }) {
			p.Close() // the run has ended: its reaper kills it
			p.Wait()
			e.Started(proc.ID{}, ErrNotRunning)
		}
	}()
}

// takeIn observes a process that its client has made, and that waits for the client.
func (l *loop) takeIn(e *Exec) {
	if !above(e.Parent, e.PID) {
		e.Started(proc.ID{}, errNotItsChild)
		return
	}
	p, err := launch.Observe(e.PID)
	if err != nil {
		e.Started(proc.ID{}, err)
		return
	}
	if !l.post(func(l *loop) { l.arrived(&guest{proc: p, exec: e}) }) {
		p.Close()
		e.Started(proc.ID{}, ErrNotRunning)
	}
}

// arrived takes in a guest that waits at its gate.
func (l *loop) arrived(g *guest) {
	id, err := l.group.Join(g.proc.Reaper, g.proc.PID)
	if err == nil && (l.state.phase >= stopping || l.state.exited) {
		err = ErrNotRunning
	}
	l.lower(id)
	l.settle(id)
	g.leader = id
	l.guests[g.proc.Reaper] = g
	go l.attend(g)
	if err != nil {
		g.executed = true
		g.started(err)
		g.kill()
		return
	}
	if s := l.sampler; s != nil {
		s.post(func() { s.joined(id, g.proc.Observed()) })
	}
	if g.proc.Observed() {
		l.observed = true
		l.group.Mark(proc.Self())
		g.executed = true // by its client
		g.started(nil)
		return
	}
	g.proc.Hold() // what it leaves behind is the container's
	l.helpers.Add(1)
	go func() {
		err := g.proc.Exec()
		l.helpers.Done()
		l.post(func(*loop) {
			g.executed = true
			g.started(err)
			g.tell()
		})
	}()
}

// started reports what came of a guest.
func (g *guest) started(err error) {
	if !g.told {
		g.told = true
		g.exec.Started(g.leader, err)
		if err != nil {
			g.exec.Ended = nil
		}
	}
}

// kill ends a guest and what it has started.
func (g *guest) kill() {
	if !g.gone && !g.proc.Observed() {
		_ = unix.Kill(-g.proc.PID, unix.SIGKILL)
	}
	g.proc.KillAll()
	_ = unix.Kill(g.proc.Reaper, unix.SIGCONT)
}

// attend turns the reports of a guest's reaper into what follows from them.
func (l *loop) attend(g *guest) {
	for {
		e, err := g.proc.Next()
		if err == io.EOF {
			g.bury()
			l.post(func(l *loop) { l.left(g, true) })
			return
		}
		if g.proc.Observed() {
			g.bury()
			l.post(func(l *loop) {
				g.ended(outcome{e.Status, e.Known})
				l.left(g, false)
			})
			return
		}
		switch e.Kind {
		case launch.Exited:
			l.post(func(l *loop) {
				l.group.Leave(g.leader)
				g.gone = true
				g.proc.Reap()
				g.ended(outcome{e.Status, true})
			})
		case launch.Done:
			g.bury()
			l.post(func(l *loop) { l.left(g, false) })
			return
		}
	}
}

// bury waits for the reaper, which has ended.
func (g *guest) bury() {
	g.proc.Close()
	g.proc.Wait()
}

// ended notes the end of a guest. What came of execve, which may be known only after it, comes first.
func (g *guest) ended(o outcome) {
	if g.end == nil {
		g.end = &o
	}
	g.tell()
}

// tell reports the end of a guest, once.
func (g *guest) tell() {
	if f := g.exec.Ended; f != nil && g.executed && g.end != nil {
		g.exec.Ended = nil
		f(g.end.status, g.end.known)
	}
}

// left is called when nothing is left below a guest's reaper, or when that was killed. What it leaves then has no reaper that would end it with
// the run: so everything ends, and it after all others.
func (l *loop) left(g *guest, lost bool) {
	delete(l.guests, g.proc.Reaper)
	observed := g.proc.Observed()
	switch {
	case observed && !lost:
		l.group.Lost(g.leader)
	case !g.gone && !observed:
		l.group.Leave(g.leader)
	}
	g.gone = true
	g.ended(outcome{})
	if lost {
		if l.cfg.Log != nil {
			l.cfg.Log.Error("the reaper of a process that was executed in the container was killed: ending everything", "pid", g.proc.Reaper)
		}
		if !observed {
			l.orphans = true
			l.group.Adopt(g.proc.Reaper, unix.Getpid())
		}
		l.event(event{kind: evReaperLost})
	} else {
		l.group.Gone(g.proc.Reaper)
		if s := l.sampler; s != nil {
			above := g.proc.Reaper
			if observed {
				above = g.proc.PID
			}
			s.post(func() { s.ended(above) })
		}
	}
	l.over()
}
