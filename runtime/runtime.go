// Package runtime is the life of containers: create, start, state, kill, delete, list, and run, which is all of them at once.
//
// # What it does
//
// A container is a process with limits and a state, as in the OCI runtime-spec, in the namespaces and the file system of the
// caller, without cgroups. Run supervises it in the calling process. Create starts a supervisor of its own for it, a second
// mlrun in a session of its own, and returns when the payload waits for its start; the other calls talk to that supervisor
// over a socket beside the state.
//
// Facts are stored: identities (pid and start time), times, the verdict. The status is derived from them and from what is
// true of these processes now, so a supervisor that was killed leaves no false status.
//
// # What it does not
//
// It prints nothing and exits nothing. Run changes properties of the calling process that cannot be given back: it becomes a child
// subreaper.
package runtime

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"mlrun/bundle"
	"mlrun/runtime/launch"
	"mlrun/runtime/store"
	"mlrun/runtime/supervise"
)

// Errors. Test for them with errors.Is.
var (
	ErrNotExist    = store.ErrNotExist
	ErrExist       = store.ErrExist
	ErrNotRunning  = supervise.ErrNotRunning
	ErrNotCreated  = supervise.ErrNotCreated
	ErrNotStopped  = errors.New("container is not stopped")
	ErrUnsupported = launch.ErrUnsupported
)

// Verdict is the account of a finished run.
type Verdict = supervise.Verdict

// Signals are the signals of this process that Run passes on to a foreground payload.
type Signals = supervise.Signals

// CatchSignals takes over the signals that are passed on, from now to the end of the process.
func CatchSignals() *Signals { return supervise.CatchSignals() }

// Snapshot is the memory of a run at some moment.
type Snapshot = supervise.Snapshot

// DefaultGrace is the time between SIGTERM and SIGKILL after a memory limit was exceeded.
const DefaultGrace = 5 * time.Second

// Runtime knows the containers in one state directory.
type Runtime struct {
	store *store.Store
	log   *slog.Logger
	self  string
}

// Options of New.
type Options struct {
	Root string       // state directory; "" is DefaultRoot()
	Log  *slog.Logger // nil: nothing is logged
	Self string       // program that Create starts with the arguments of SuperviseArgs; "" is the running one
}

// DefaultRoot is the state directory when none is given.
func DefaultRoot() string { return store.DefaultRoot() }

// New opens a state directory. It is created with the first container.
func New(o Options) (*Runtime, error) {
	if o.Root == "" {
		o.Root = DefaultRoot()
	}
	s, err := store.Open(o.Root)
	if err != nil {
		return nil, err
	}
	r := &Runtime{store: s, log: o.Log, self: o.Self}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.self == "" {
		r.self = "/proc/self/exe"
	}
	return r, nil
}

// CreateOptions are common to Run and Create.
type CreateOptions struct {
	ID          string // "" for Run: one is generated
	Bundle      *bundle.Bundle
	Memory      int64          // bytes, in place of the bundle's limit; 0: the bundle's
	Grace       *time.Duration // in place of the bundle's; nil: the bundle's, else DefaultGrace
	PIDFile     string         // written when the payload is created
	PreserveFDs int            // descriptors from 3 on that the payload keeps; the caller has checked that they are open
	Report      string         // file that Create's supervisor writes the verdict to
}

// RunOptions are the options of Run.
type RunOptions struct {
	CreateOptions
	Keep       bool     // keep the state afterwards, as Create does
	NoState    bool     // have no state directory: the run has no id that others can use
	Foreground *Signals // pass these signals on, and hand the terminal over; nil: neither

	Progress      func(Snapshot) // called every ProgressEvery
	ProgressEvery time.Duration
}

// Limit is one limit of a container and how it is held: "kernel", "sampled", "advisory" or "none".
type Limit struct {
	Path string `json:"path"` // JSON path in config.json: "linux.resources.memory.limit"
	Name string `json:"name"` // "memory", "RLIMIT_NOFILE"
	Soft uint64 `json:"soft"` // value in the unit of the limit; the only one where a limit has no hard value
	Hard uint64 `json:"hard"`
	Held string `json:"held"`
}

// effective are the options with the bundle's settings filled in.
func (o *CreateOptions) effective() (memory int64, grace time.Duration) {
	memory, grace = o.Bundle.MemoryLimit, DefaultGrace
	if o.Memory != 0 {
		memory = o.Memory
	}
	if o.Bundle.Settings.MemoryGraceSet {
		grace = o.Bundle.Settings.MemoryGrace
	}
	if o.Grace != nil {
		grace = *o.Grace
	}
	return memory, grace
}

// limits lists what is limited.
func (o *CreateOptions) limits() []Limit {
	var list []Limit
	if memory, _ := o.effective(); memory > 0 {
		list = append(list, Limit{Path: "linux.resources.memory.limit", Name: "memory", Soft: uint64(memory), Hard: uint64(memory), Held: "sampled"})
	}
	for i, l := range o.Bundle.Rlimits {
		list = append(list, Limit{Path: fmt.Sprintf("process.rlimits[%d]", i), Name: l.Type.Name, Soft: l.Soft, Hard: l.Hard, Held: "kernel"})
	}
	return list
}

// GenerateID makes an id for a run of the bundle in dir: its name and something random.
func GenerateID(dir string) (string, error) {
	var b strings.Builder
	for _, c := range filepath.Base(dir) {
		if b.Len() < 40 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-') {
			b.WriteRune(c)
		}
	}
	if strings.Trim(b.String(), ".") == "" {
		b.Reset()
		b.WriteString("run")
	}
	n, err := random()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s-%08x", b.String(), n), nil
}
