package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/bundle"
	"mlrun/proc"
	"mlrun/runtime/launch"
	"mlrun/runtime/store"
	"mlrun/runtime/supervise"
)

// handshake is what a supervisor tells Create, as JSON on a pipe.
type handshake struct {
	Error    string `json:"error,omitempty"`
	ExitCode int    `json:"exitCode,omitempty"`
}

// LaunchError is a container that could not be created or started by its supervisor.
type LaunchError struct {
	Message  string
	ExitCode int // what Run would have made of it: 126, 127 or 1
}

func (e *LaunchError) Error() string { return e.Message }

// Create makes a container whose payload waits for Start, and returns when its create hooks have run. The payload inherits the
// descriptors 0 to 2 of the calling process. With PIDFile it is a child of the calling process, and becomes one of the nearest subreaper above
// when that exits, which is to wait for it: see package launch, "Observed processes".
func (r *Runtime) Create(o CreateOptions) error {
	if err := r.prepare(&o); err != nil {
		return err
	}
	for _, path := range []*string{&o.PIDFile, &o.Report} {
		if *path != "" {
			abs, err := filepath.Abs(*path)
			if err != nil {
				return err
			}
			*path = abs
		}
	}
	dir, err := r.store.Create(o.ID)
	if err != nil {
		return err
	}
	rec := o.record()
	rec.CallerReaps = o.PIDFile != "" && launch.Adopts
	if err = dir.WriteFile(configFile, o.Bundle.Raw); err == nil {
		err = dir.Write(rec)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("state directory: %w", err), dir.Remove())
	}
	if err := r.startSupervisor(&o); err != nil {
		return errors.Join(err, withdraw(dir, rec.Creator))
	}
	if err := reload(dir, rec); err != nil {
		return err
	}
	if o.PIDFile == "" || rec.Payload == nil {
		return nil
	}
	if err := WritePIDFile(o.PIDFile, rec.Payload.PID); err != nil {
		return errors.Join(err, r.Delete(o.ID, true))
	}
	return nil
}

// withdraw removes what Create has made, unless somebody deletes it at this moment, or has and there is another one of that id by now.
func withdraw(d *store.Dir, creator proc.ID) error {
	unlock, err := d.TryLock()
	if errors.Is(err, ErrNotExist) || errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err == nil {
		defer unlock()
	}
	if rec, err := load(d); err != nil || rec.Creator != creator {
		return nil
	}
	return d.Remove()
}

func reload(d *store.Dir, rec *record) error {
	*rec = record{}
	return d.Read(rec)
}

// SuperviseArg is the first argument of the program that Create starts; the program hands the others to Supervise.
const SuperviseArg = "supervise"

// startSupervisor starts the supervisor and waits for its word.
func (r *Runtime) startSupervisor(o *CreateOptions) error {
	rd, wr, err := os.Pipe()
	if err != nil {
		return err
	}
	defer rd.Close()
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	if t := o.Terminal; t != nil {
		files = []*os.File{t, t, t}
	}
	for fd := 3; fd < 3+o.PreserveFDs; fd++ {
		files = append(files, os.NewFile(uintptr(fd), "preserved"))
	}
	files = append(files, wr)
	p, err := os.StartProcess(r.self, []string{"mlrun", SuperviseArg, r.store.Root(), o.ID, strconv.Itoa(o.PreserveFDs)}, &os.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	wr.Close()
	if err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	var h handshake
	if json.NewDecoder(rd).Decode(&h) != nil {
		st, _ := p.Wait()
		return fmt.Errorf("supervisor of %s ended before the container was created: %v", o.ID, st)
	}
	if h.Error != "" {
		_, _ = p.Wait()
		return &LaunchError{Message: h.Error, ExitCode: h.ExitCode}
	}
	return p.Release()
}

// Supervise is the life of a supervisor that Create started: args are the arguments after SuperviseArg.
func Supervise(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("supervise: is started by mlrun create, and by nobody else")
	}
	preserve, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	if err := errors.Join(launch.CloseOnExec(), launch.BecomeSubreaper()); err != nil {
		return err
	}
	pipe := os.NewFile(uintptr(3+preserve), "handshake")
	s, err := adoptSession(args[0], args[1], preserve)
	if err != nil {
		tell(pipe, &handshake{Error: err.Error(), ExitCode: supervise.ExitFailure})
		return err
	}
	return s.supervise(pipe)
}

// tell sends a handshake. Nobody may be there to read it any more.
func tell(pipe *os.File, h *handshake) {
	b, _ := json.Marshal(h)
	_, _ = pipe.Write(b)
	pipe.Close()
}

// adoptSession reads back what Create has stored.
func adoptSession(root, id string, preserve int) (*session, error) {
	rt, err := New(Options{Root: root})
	if err != nil {
		return nil, err
	}
	dir, err := rt.store.Get(id)
	if err != nil {
		return nil, err
	}
	rec, err := load(dir)
	if err != nil {
		return nil, err
	}
	b, err := stored(dir, rec)
	if err != nil {
		return nil, err
	}
	// Until the record names the supervisor, one whose creator was killed is stopped for everybody, and may be gone or another one by now.
	if os.Getppid() != rec.Creator.PID {
		return nil, fmt.Errorf("%s: who creates it has ended", id)
	}
	rec.Supervisor = proc.Self()
	s := &session{rt: rt, dir: dir, rec: rec, opts: &CreateOptions{ID: id, Bundle: b, PreserveFDs: preserve, Report: rec.Report, rlimits: rec.rlimits()}}
	if err := s.save(); err != nil {
		return nil, err
	}
	s.control = newControl(s.process, s.listenTo)
	return s, s.control.listen(dir)
}

// stored is the bundle as of create.
func stored(dir *store.Dir, rec *record) (*bundle.Bundle, error) {
	raw, err := os.ReadFile(dir.Path(configFile))
	if err != nil {
		return nil, err
	}
	return bundle.Parse(raw, rec.Bundle, dir.Path(configFile), bundle.Options{IgnoreUnsupported: true})
}

func (s *session) supervise(pipe *os.File) error {
	cfg := s.config()
	if err := s.enter(cfg); err != nil {
		s.leave()
		tell(pipe, &handshake{Error: err.Error(), ExitCode: supervise.ExitFailure})
		return err
	}
	ready := false
	created := cfg.Created
	cfg.Created = func(id proc.ID) error {
		s.letGo()
		return created(id)
	}
	cfg.Ready = func() {
		ready = true
		tell(pipe, &handshake{})
	}
	v, err := supervise.Run(cfg)
	if !ready {
		// The container never came to be: nothing of it stays.
		err = errors.Join(err, s.end(v, false))
		if err == nil {
			err = fmt.Errorf("%s: ended while it was created: %s", s.rec.ID, v.Reason)
		}
		tell(pipe, &handshake{Error: err.Error(), ExitCode: v.ExitCode})
		return err
	}
	if s.opts.Report != "" {
		if err := WriteReport(s.opts.Report, v); err != nil {
			v.Error = err.Error()
		}
	}
	return s.end(v, true)
}

// letGo gives up what the payload has inherited: whoever reads from it must see its end when the payload is gone.
func (s *session) letGo() {
	if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
		for fd := 0; fd < 3; fd++ {
			_ = become(fd, int(null.Fd()))
		}
		null.Close()
	}
	for fd := 3; fd < 3+s.opts.PreserveFDs; fd++ {
		unix.Close(fd)
	}
}

// WriteReport writes a verdict to a file, atomically; "-" is the standard output.
func WriteReport(path string, v *Verdict) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	if err != nil {
		return err
	}
	b := buf.Bytes()
	if path == "-" {
		_, err = os.Stdout.Write(b)
	} else if info, e := os.Lstat(path); e == nil && !info.Mode().IsRegular() {
		err = writeTo(path, b) // a device, a pipe, a link, /dev/fd/3
	} else {
		err = store.WriteFile(path, b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// writeTimeout is how long a report waits for who reads it.
const writeTimeout = time.Second

func writeTo(path string, b []byte) error {
	end := time.Now().Add(writeTimeout)
	f, err := openTo(path)
	for ; errors.Is(err, unix.ENXIO) && time.Now().Before(end); f, err = openTo(path) {
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return err
	}
	_ = f.SetWriteDeadline(end)
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// openTo does not wait: of a pipe that nobody reads the error is ENXIO.
func openTo(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NONBLOCK, 0o644)
}
