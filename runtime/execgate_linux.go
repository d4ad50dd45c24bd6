//go:build !portable

package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"mlrun/admission"
	"mlrun/bundle"
	"mlrun/runtime/execgate"
	"mlrun/runtime/launch"
	"mlrun/runtime/seccomp"
	"mlrun/runtime/store"
	"mlrun/runtime/supervise"
)

// room is the line of those who wait for memory as a gate sees it.
type room struct {
	queue *admission.Queue
	c     admission.Criteria
	known bool      // the reservation is what was asked for, and no guess
	roomy time.Time // until when there is room without a look; of Enter

	mu      sync.Mutex
	waiting *admission.Ticket // of the oldest; nil: nobody waits
	newest  time.Time         // when the newest was let in of which nothing is known
}

// ticket is one for need bytes. A guess that is more than can be had is no reason to wait for ever.
func (r *room) ticket(need int64) (*admission.Ticket, error) {
	c := r.c
	c.Reserve = need
	t, err := r.queue.Join(c)
	if errors.Is(err, admission.ErrImpossible) && !r.known {
		c.Reserve = 0
		t, err = r.queue.Join(c)
	}
	return t, err
}

const (
	roomyTime = 5 * time.Millisecond // for how long nobody looks again who reserves nothing,
	roomyPart = 16                   // when so much more than required was available: this part of all memory, which nobody can fill in that time
)

// Enter implements execgate.Room.
func (r *room) Enter(now time.Time, need int64) (execgate.Ticket, bool) {
	if need == 0 && now.Before(r.roomy) {
		return nil, true
	}
	r.roomy = time.Time{}
	t, err := r.ticket(need)
	if err != nil || !t.TryNow() {
		return nil, false
	}
	if need > 0 {
		return t, true
	}
	if e := t.Admission(); r.c.Pressure <= 0 && e.Available-e.Outstanding-e.Required >= e.Total/roomyPart {
		r.roomy = now.Add(roomyTime)
	}
	return nil, true
}

// pledged is the ticket, unless nothing is pledged by it.
func pledged(t *admission.Ticket, need int64) execgate.Ticket {
	if need == 0 {
		return nil
	}
	return t
}

// roomAgain is how long a line that cannot be used is left alone.
const roomAgain = time.Second

// roomPace is how long what a program uses, of which nothing is known, has to show before the next one follows that waits.
const roomPace = 100 * time.Millisecond

// Wait implements execgate.Room.
func (r *room) Wait(ctx context.Context, need int64) (execgate.Ticket, error) {
	if need == 0 && !sleep(ctx, r.pause()) {
		return nil, ctx.Err()
	}
	for {
		t, err := r.ticket(need)
		if err == nil {
			r.stands(t)
			err = t.Wait(ctx)
			r.stands(nil)
		}
		if err == nil {
			if need == 0 {
				r.mu.Lock()
				r.newest = time.Now()
				r.mu.Unlock()
			}
			return pledged(t, need), nil
		}
		if !sleep(ctx, roomAgain) { // the state directory is full, or was removed
			return nil, ctx.Err()
		}
	}
}

// pause is how long the next one has to wait in any case of which nothing is known.
func (r *room) pause() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(r.newest.Add(roomPace))
}

// sleep waits; false: ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return ctx.Err() == nil
	}
}

func (r *room) stands(t *admission.Ticket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = t
}

// standing is how the oldest that waits stands.
func (r *room) standing() (e admission.Event, ok bool) {
	r.mu.Lock()
	t := r.waiting
	r.mu.Unlock()
	if t == nil {
		return e, false
	}
	return t.Admission(), true
}

// execGate is the gate of a run in which each program waits.
type execGate struct {
	gate  *execgate.Gate
	room  *room
	told  func(ExecNotice) // set before there is a listener
	vigil vigil
}

// gateExecs has each program of the run wait in the line of the session.
func (s *session) gateExecs(cfg *supervise.Config) error {
	g := s.rec.Gate
	e := &execGate{room: &room{queue: s.turn.queue, c: g.criteria(0, 0), known: g.Reserve > 0}}
	var err error
	e.gate, err = execgate.New(execgate.Config{
		Room: e.room, Reserve: g.Reserve, Peaks: s.turn.queue,
		Held: func(n execgate.Notice) {
			if n.Outcome == execgate.Forced {
				s.rt.log.Warn("nothing but the run itself could make room, and all of it waits: its oldest program is let through without memory",
					"id", s.rec.ID, "process", n.PID, "program", n.Program, "waited", n.Waited.Round(time.Millisecond))
			}
			if e.told != nil {
				e.told(n)
			}
		},
		Broken: func(err error) {
			s.rt.log.Error("seccomp notifications do not work any more: every exec of the run fails from now on", "id", s.rec.ID, "error", err.Error())
		},
	})
	if err != nil {
		return err
	}
	s.execs, cfg.Gate = e, e
	pid := 0
	gated(&cfg.Launch, func(payload, fd int) error {
		pid = payload
		e.gate.Listen(fd, payload) // which was admitted before the start
		return nil
	})
	started := cfg.Started
	cfg.Started = func(at time.Time) error {
		e.gate.Passed(pid)
		return started(at)
	}
	return nil
}

// Waits implements supervise.Gate.
func (e *execGate) Waits() bool { return e.gate.Stats().Waiting > 0 }

// Look implements supervise.Gate.
func (e *execGate) Look(memory int64, cpu time.Duration) {
	_, since, ok := e.gate.Oldest()
	if !ok {
		return
	}
	if stands, ok := e.room.standing(); ok && e.vigil.look(time.Now(), since, memory, cpu, stands) {
		e.gate.Force()
	}
}

// Account implements supervise.Gate.
func (e *execGate) Account() *supervise.Gated {
	s := e.gate.Stats()
	return &supervise.Gated{Execs: s.Execs, Held: s.Held, Forced: s.Forced, WaitedUS: s.Waited.Microseconds(), LongestUS: s.Longest.Microseconds()}
}

// gateStep is what an error says about the filter. Of those in force one may have a listener: EBUSY is that there is one.
const gateStep = "seccomp filter that has each program wait (one below another needs none: its programs wait already)"

// gated makes a process tell take of its execs. The filter comes before that of the configuration, which need not allow what it takes.
func gated(c *launch.Config, take func(pid, fd int) error) {
	f, err := seccomp.Notify(architecture, execgate.Calls...)
	if err != nil {
		return // refused by checkExecGate
	}
	first := &launch.Seccomp{Flags: f.Flags, Listener: take, Step: gateStep, Next: c.Seccomp}
	for _, i := range f.Program {
		first.Program = append(first.Program, launch.Instruction(i))
	}
	if c.Seccomp != nil {
		first.Keep = c.Seccomp.Keep
	}
	c.Seccomp, c.NoNewPrivileges = first, true
}

// checkExecGate refuses what cannot be together with a gate of each exec.
func checkExecGate(o *CreateOptions) error {
	if err := execgate.Supported(); err != nil {
		return fmt.Errorf("%s: %w", o.scopeSource(), err)
	}
	if _, err := seccomp.Notify(architecture, execgate.Calls...); err != nil {
		return fmt.Errorf("%s: %w", o.scopeSource(), err)
	}
	linux := o.Bundle.Spec.Linux
	if linux == nil {
		return nil
	}
	var p []bundle.Problem
	for _, found := range seccomp.Outranked(linux.Seccomp, execgate.Calls...) {
		p = append(p, bundle.Problem{Path: "linux.seccomp." + found.Path, Found: found.Found,
			Want: string(specs.ActAllow) + " or " + string(specs.ActErrno) + ": " + o.scopeSource() + " answers execve itself, with the one listener that Linux allows"})
	}
	if len(p) > 0 {
		return &bundle.Error{File: o.Bundle.File, Problems: p}
	}
	return nil
}

// gateGuest makes a process that is executed in the container later tell the gate of its execs.
func (s *session) gateGuest(c *launch.Config) {
	if s.execs == nil {
		return
	}
	gated(c, func(_, fd int) error {
		s.execs.gate.Listen(fd, 0)
		return nil
	})
}

// listenTo takes over a listener that a client has sent. It owns the descriptors.
func (s *session) listenTo(files []int) error {
	if s.execs == nil || len(files) != 1 {
		closeAll(files)
		return fmt.Errorf("request: %d listeners, and the container waits at no exec", len(files))
	}
	s.execs.gate.Listen(files[0], 0)
	return nil
}

// tree tells whether each program waits that the run executes.
func (g *gate) tree() bool { return g != nil && g.Tree }

// gateChild is gateGuest for a process that the client makes itself.
func gateChild(c *launch.Config, d *store.Dir, rec *record) {
	if !rec.Gate.tree() {
		return
	}
	gated(c, func(_, fd int) error {
		defer unix.Close(fd)
		conn, err := reach(rec, func() (*net.UnixConn, error) { return dial(d) })
		if err != nil {
			return gone(err)
		}
		defer conn.Close()
		return send(conn, &message{Request: supervise.Request{Op: opListen}}, []int{fd})
	})
}
