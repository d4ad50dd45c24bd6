package runtime

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/admission"
	"mlrun/bundle"
	"mlrun/runtime/execgate"
	"mlrun/runtime/launch"
	"mlrun/runtime/supervise"
)

// AdmitOptions are the options of Runtime.Admit.
type AdmitOptions struct {
	Admission          // Scope is of no account
	Command   []string // program and arguments
	Env       []string
	Keep      []int                // descriptors that the program keeps, besides 0 to 2
	Observe   func(AdmissionEvent) // is told how the wait goes; nil: nobody
	Leave     func()               // is called right before the program is executed; nil: nothing
}

// Admit waits until there is memory for a program, and then executes it in place of this one: it returns with an error only. That is ErrNotAdmitted when
// the time is over, a *launch.ExecError when there is no such program, which is found out before the wait. What is reserved is left to the program
// (admission.Queue.Bequeath): nobody looks at what it uses, so it is reserved until it has ended or 30 seconds have passed.
func (r *Runtime) Admit(ctx context.Context, o AdmitOptions) error {
	path, err := LookPath(o.Command[0], o.Env)
	if err != nil {
		return err
	}
	if err := r.store.Ready(); err != nil {
		return err
	}
	q, err := admission.Open(r.AdmissionDir(), admission.ThisHost())
	if err != nil {
		return err
	}
	defer q.Close()
	g := &gate{Available: o.Available.String(), Pressure: o.Pressure, Reserve: o.Reserve, Timeout: o.Timeout}
	expected, _ := q.Expect(execgate.Key(filepath.Base(o.Command[0])))
	c := g.criteria(0, expected)
	c.Observe = o.Observe
	ticket, err := join(q, g, c, false)
	if err != nil {
		return err
	}
	if _, err := g.wait(ctx, ticket); err != nil {
		return err
	}
	if c.Reserve > 0 {
		if err := q.Bequeath(); err != nil {
			return err
		}
	}
	for _, fd := range o.Keep {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
	if o.Leave != nil {
		o.Leave()
	}
	err = syscall.Exec(path, o.Command, o.Env)
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = &launch.ExecError{Name: o.Command[0], Path: path, Errno: errno, Interpreter: errno == syscall.ENOENT}
	}
	return err
}

// admissionDir is the directory of the line below the state directory. It is no container's: the name is no id.
const admissionDir = "@admission"

// AdmissionDir is the directory of the line of all who wait for memory with this state directory (package admission).
func (r *Runtime) AdmissionDir() string { return filepath.Join(r.store.Root(), admissionDir) }

// join takes a ticket. What a program has used before is no more than a guess, and no reason not to start it: unless limited, which reserves what the
// memory limit is.
func join(q *admission.Queue, g *gate, c admission.Criteria, limited bool) (*admission.Ticket, error) {
	t, err := q.Join(c)
	if errors.Is(err, admission.ErrImpossible) && g.Reserve <= 0 && !limited {
		c.Reserve = 0
		return q.Join(c)
	}
	return t, err
}

// errWaited is that the time for an admission is over.
var errWaited = errors.New("waited long enough")

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// wait waits for the admission of a ticket, for as long as the gate permits.
func (g *gate) wait(ctx context.Context, t *admission.Ticket) (admission.Event, error) {
	began := time.Now()
	if g.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, g.Timeout, errWaited)
		defer cancel()
	}
	err := t.Wait(ctx)
	e := t.Admission()
	if err == nil {
		return e, nil
	}
	t.Release()
	e.Waited = time.Since(began)
	if errors.Is(err, errWaited) {
		err = fmt.Errorf("%w: waited %v for %s and %s for the program itself, %s are available", supervise.ErrNotAdmitted,
			e.Waited.Round(time.Millisecond), mebibytes(e.Required), mebibytes(e.Reserve), mebibytes(e.Available-e.Outstanding))
	}
	return e, err
}

// LookPath finds a program as execvp(3) does, in the PATH of env. The error is a *launch.ExecError.
func LookPath(name string, env []string) (string, error) {
	list := []string{name}
	searched := !strings.Contains(name, "/")
	if searched {
		path, ok := bundle.LookupEnv(env, "PATH")
		if !ok {
			path = defaultPath
		}
		list = filepath.SplitList(path)
		for i, dir := range list {
			if dir == "" {
				dir = "."
			}
			list[i] = strings.TrimRight(dir, "/") + "/" + name
		}
	}
	e := &launch.ExecError{Name: name, Errno: syscall.ENOENT, Searched: searched}
	for _, path := range list {
		var st unix.Stat_t
		err := unix.Stat(path, &st)
		if err != nil && searched {
			continue // not there, or in a directory that may not be searched
		}
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = syscall.EACCES
		}
		if err == nil {
			err = unix.Access(path, unix.X_OK)
		}
		if err == nil {
			return path, nil
		}
		if errno, ok := err.(syscall.Errno); ok && errno != syscall.ENOENT && errno != syscall.ENOTDIR {
			e.Errno, e.Path = errno, path
		}
	}
	return "", e
}

// defaultPath is where programs are looked up when there is no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
