package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/bundle"
	"mlrun/proc"
	"mlrun/runtime/launch"
	"mlrun/runtime/store"
	"mlrun/runtime/supervise"
)

// process turns the process that a client wants to execute into what is launched.
func (s *session) process(m *execMessage, files []int) (launch.Config, error) {
	b, err := bundle.Parse(m.Config, s.rec.Bundle, s.dir.Path(configFile), bundle.Options{IgnoreUnsupported: true})
	if err != nil {
		return launch.Config{}, err
	}
	var c launch.Config
	s.set(func(r *record) { c = r.guest(b, proc.Self(), false) })
	c.Files, c.Session, c.Affinity = files, m.Terminal, execAffinity(b.Spec.Process.ExecCPUAffinity)
	s.listener(&c, b.Spec.Linux)
	s.gateGuest(&c)
	if len(files) < 3 {
		return c, fmt.Errorf("request: exec with %d descriptors, want 3 or more", len(files))
	}
	return c, nil
}

// guest is what is applied to a process that is executed in a container, with the process in place of the container's own.
func (r *record) guest(b *bundle.Bundle, supervisor proc.ID, callerReaps bool) launch.Config {
	own := *b
	own.Resources = r.placed(b.Resources)
	c := (&CreateOptions{Bundle: &own}).launchConfig(supervisor, callerReaps)
	c.Tasks = r.joins(c.Rlimits)
	return c
}

// Process returns the process object of a container, as it was configured but for its rlimits, as the start of one for Exec.
func (r *Runtime) Process(id string) (map[string]any, error) {
	d, rec, err := r.find(id)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(d.Path(configFile))
	if err != nil {
		if status, _ := rec.status(); status == specs.StateStopped {
			err = fmt.Errorf("%w: it is %s", ErrNotRunning, status) // it was so short that no copy was made
		}
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	var config struct {
		Process map[string]any `json:"process"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", d.Path(configFile), err)
	}
	delete(config.Process, "rlimits") // those of the container hold in any case, as they are by then
	return config.Process, nil
}

// Exec runs one more process in a container that is created or running: under its limits, as a member of it that ends with it. It returns when
// the program is executed. An error is a *LaunchError when it was not. ctx ends the wait for that, not the process.
func (r *Runtime) Exec(ctx context.Context, id string, o ExecOptions) (*Exec, error) {
	o.CallerReaps = o.CallerReaps && launch.Adopts // else only its parent can wait for it
	d, rec, err := r.find(id)
	if err != nil {
		return nil, err
	}
	switch status, _ := rec.status(); status {
	case specs.StateCreated, specs.StateRunning:
	case StatePaused:
		return nil, fmt.Errorf("%s: cannot exec in a paused container; mlrun resume lets it go on", id)
	default:
		return nil, fmt.Errorf("%s: %w: it is %s", id, ErrNotRunning, status)
	}
	config, b, err := o.config(d, rec)
	if err != nil {
		return nil, err
	}
	conn, err := reach(rec, func() (*net.UnixConn, error) { return dial(d) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, gone(err))
	}
	e := &Exec{conn: conn, answers: json.NewDecoder(conn)}
	if o.CallerReaps {
		err = e.fork(ctx, &o, b, d, rec)
	} else {
		m := &execMessage{Config: config, Terminal: o.Terminal}
		err = e.ask(ctx, m, o.files())
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return e, nil
}

func (o *ExecOptions) files() (files []int) {
	for _, f := range o.Files {
		files = append(files, int(f.Fd()))
	}
	return files
}

// ask sends the process to the supervisor, and waits until it is started.
func (e *Exec) ask(ctx context.Context, m *execMessage, files []int) error {
	err := send(e.conn, &message{Request: supervise.Request{Op: supervise.OpExec}, Exec: m}, files)
	var a answer
	if err == nil {
		a, err = e.next(ctx)
	}
	switch {
	case err != nil:
		return gone(err)
	case a.ExitCode != 0:
		return &LaunchError{Message: a.Error, ExitCode: a.ExitCode}
	case a.Error != "":
		return known(a.Error)
	case a.Process == nil:
		return errNoSupervisor
	}
	e.ID = *a.Process
	return nil
}

// fork makes the process as a child of this one, and lets it go on when the supervisor has taken it in.
func (e *Exec) fork(ctx context.Context, o *ExecOptions, b *bundle.Bundle, d *store.Dir, rec *record) error {
	c := rec.guest(b, rec.Supervisor, true)
	c.Files, c.Session, c.Terminal, c.Affinity = o.files(), o.Terminal, -1, execAffinity(b.Spec.Process.ExecCPUAffinity)
	(&session{rec: rec}).listener(&c, b.Spec.Linux)
	gateChild(&c, d, rec)
	p, err := launch.Fork(&c)
	if err == nil {
		defer p.Release()
		if err = e.ask(ctx, &execMessage{PID: p.PID}, nil); err == nil {
			err = p.Exec()
		}
	}
	if code := supervise.LaunchCode(err); code != 0 {
		return &LaunchError{Message: err.Error(), ExitCode: code}
	}
	return err
}

// gone is what it means that there is no supervisor: its reaper is ending what is left.
func gone(err error) error {
	if errors.Is(err, errNoSupervisor) {
		return ErrNotRunning
	}
	return err
}

// config is the configuration of the container with the process in place of its own, checked.
func (o *ExecOptions) config(d *store.Dir, rec *record) ([]byte, *bundle.Bundle, error) {
	if len(o.Files) < 3 {
		return nil, nil, fmt.Errorf("exec: %d files, want standard input, output and error at least", len(o.Files))
	}
	raw, err := os.ReadFile(d.Path(configFile))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", rec.ID, err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", d.Path(configFile), err)
	}
	all["process"] = o.Process
	delete(all, "hooks")
	if raw, err = json.Marshal(all); err != nil {
		return nil, nil, fmt.Errorf("exec: process: %w", err)
	}
	b, err := bundle.Parse(raw, rec.Bundle, o.File, bundle.Options{IgnoreUnsupported: o.IgnoreUnsupported})
	if err != nil {
		return nil, nil, err
	}
	limits, err := o.execRlimits(b, rec)
	if err != nil {
		return nil, nil, err
	}
	if len(limits) > 0 {
		if all["process"], err = withRlimits(o.Process, limits); err != nil {
			return nil, nil, fmt.Errorf("exec: process: %w", err)
		}
		if raw, err = json.Marshal(all); err != nil {
			return nil, nil, fmt.Errorf("exec: process: %w", err)
		}
		if b, err = bundle.Parse(raw, rec.Bundle, o.File, bundle.Options{IgnoreUnsupported: o.IgnoreUnsupported}); err != nil {
			return nil, nil, err
		}
	}
	if err := check(b, o.settled(rec)); err != nil {
		var e *bundle.Error
		if errors.As(err, &e) {
			e.File = o.File
		}
		return nil, nil, err
	}
	return raw, b, nil
}

// next reads the next answer.
func (e *Exec) next(ctx context.Context) (a answer, err error) {
	stop := context.AfterFunc(ctx, func() { _ = e.conn.SetReadDeadline(time.Unix(1, 0)) })
	err = e.answers.Decode(&a)
	if !stop() {
		return a, ctx.Err()
	}
	if err != nil {
		err = errNoSupervisor
	}
	return a, err
}

// Wait waits for the end of the process. known is false when nobody can tell how it ended. The error is ErrNotRunning when the supervisor of the
// container was killed meanwhile, and all processes with it.
func (e *Exec) Wait(ctx context.Context) (status syscall.WaitStatus, known bool, err error) {
	a, err := e.next(ctx)
	if err != nil {
		return 0, false, gone(err)
	}
	if a.Ended == nil {
		return 0, false, ErrNotRunning
	}
	return a.Ended.Status, a.Ended.Known, nil
}

// Signal sends a signal to the process, if it has not ended.
func (e *Exec) Signal(sig syscall.Signal) error {
	h, err := proc.OpenID(proc.Root, e.ID)
	if err == nil {
		defer h.Close()
		err = h.Signal(sig)
	}
	if errors.Is(err, proc.ErrGone) {
		return ErrNotRunning
	}
	return err
}

// Close gives the connection to the supervisor back. The process goes on.
func (e *Exec) Close() error { return e.conn.Close() }
