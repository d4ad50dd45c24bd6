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
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mlrun/bundle"
	"mlrun/group"
	"mlrun/limit"
	"mlrun/meter"
	"mlrun/proc"
	"mlrun/rlimit"
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
	ErrPaused      = supervise.ErrPaused
	ErrNotPaused   = supervise.ErrNotPaused
	ErrNotStopped  = errors.New("container is not stopped")
	ErrUnsupported = launch.ErrUnsupported
)

// Verdict is the account of a finished run.
type Verdict = supervise.Verdict

// Signals are the signals of this process that Run passes on to a foreground payload.
type Signals = supervise.Signals

// CatchSignals takes over the signals that are passed on, from now to the end of the process.
func CatchSignals() *Signals { return supervise.CatchSignals() }

// Warning tells that a part of the memory limit is in use.
type Warning = supervise.Warning

// Occurrence is something that happens in a container.
type Occurrence = supervise.Occurrence

// Notice tells of a breach of the memory limit that does not end the run.
type Notice = supervise.Notice

// Request asks a run for something.
type Request = supervise.Request

// Snapshot is the memory of a run at some moment.
type Snapshot = supervise.Snapshot

// Rusage is what the processes of a container have used, in the words of getrusage(2).
type Rusage = supervise.Rusage

// Peak is the most memory that a process had.
type Peak = supervise.Peak

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
		if r.self, err = launch.Program(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// CreateOptions are common to Run and Create.
type CreateOptions struct {
	ID        string // "" for Run: one is generated
	Bundle    *bundle.Bundle
	Memory    int64          // bytes, in place of the bundle's limit; 0: the bundle's
	Grace     *time.Duration // in place of the bundle's; nil: the bundle's, else DefaultGrace
	Overshoot int64          // bytes, in place of the bundle's; 0: the bundle's
	OnBreach  *bundle.Breach // in place of the bundle's; nil: the bundle's
	Meter     *bundle.Meter  // in place of the bundle's; nil: the bundle's
	// Rlimits are set in place of the bundle's of the same type. What a change leaves open is that of the bundle, else that of the caller.
	Rlimits     []rlimit.Change
	Pids        *int64        // processes and threads at once, in place of the bundle's; -1: no limit; nil: the bundle's
	CPUs        float64       // how many processors' time may be used, in place of the bundle's quota; 0: the bundle's
	CPUTime     time.Duration // of all processes together, in place of the bundle's; 0: the bundle's
	WallTime    time.Duration // since the start, in place of the bundle's; 0: the bundle's
	HangTime    time.Duration // without using CPU time, in place of the bundle's; 0: the bundle's
	Admission   Admission     // before the program is executed
	Group       string        // limit group that it is in, an id or a label, in place of the bundle's; "": the bundle's
	PIDFile     string        // written when the payload is created
	Terminal    *os.File      // becomes descriptors 0 to 2 of the payload and its controlling terminal; nil: it has those of the caller
	PreserveFDs int           // descriptors from 3 on that the payload keeps; the caller has checked that they are open
	Report      string        // file that Create's supervisor writes the verdict to

	group   group.ID       // what Group, or the bundle's, comes to; 0: none
	rlimits []rlimit.Limit // those of the bundle with Rlimits applied; nil: those of the bundle
}

// RunOptions are the options of Run.
type RunOptions struct {
	CreateOptions
	Keep       bool     // keep the state afterwards, as Create does
	NoState    bool     // have no state directory: the run has no id that others can use
	Foreground *Signals // pass these signals on, and hand the terminal over; nil: neither
	// Strict ends everything at once when it is over the memory limit, whatever Grace is for: no grace period can be used to grow on.
	Strict bool
	// Requests are carried out in order, of a run with NoState only: others have a socket for them. Nil: there are none.
	Requests <-chan Request

	Progress      func(Snapshot) // called every ProgressEvery
	ProgressEvery time.Duration

	// Warned is called when a part of the memory limit is in use, Breached when it is exceeded and the run goes on all the same. Neither may
	// block. Nil: nobody.
	Warned   func(Warning)
	Breached func(Notice)
	// Admitting is told how the wait for memory goes, if there is one. It must not block. Nil: nobody.
	Admitting func(AdmissionEvent)
	// Gated is told of each program that has to wait, with bundle.ScopeTree. It must not block. Nil: nobody.
	Gated func(ExecNotice)
}

// ExecOptions are the options of Runtime.Exec.
type ExecOptions struct {
	Process           json.RawMessage // the process object of the runtime-spec
	File              string          // where it comes from, for errors
	Files             []*os.File      // descriptors 0, 1, 2 and more of it
	Terminal          bool            // Files[0] is a terminal, which becomes its controlling one
	CallerReaps       bool            // it is a child of the calling process, and of its parent when that exits
	IgnoreUnsupported bool
	// Rlimits are changed for the process, and for what it starts. A hard limit may only be lowered. The limits of the container that neither
	// they nor the process name hold, too.
	Rlimits []rlimit.Change
}

// Exec is a process that was executed in a container. Close it.
type Exec struct {
	ID      proc.ID
	conn    *net.UnixConn
	answers *json.Decoder
}

// UpdateOptions are what Update changes.
type UpdateOptions struct {
	// Update is of linux.resources. Without Check a memory limit that the container is over already is a breach, with all that follows. A limit of
	// tasks that the kernel holds can be lowered only. Weight, Idle, CPUs and IOWeight are changed of every thread, and of those that Exec makes
	// later; more of the CPU than before is refused without CAP_SYS_NICE of the supervisor or RLIMIT_NICE.
	bundle.Update
	// Rlimits are changed of every process, and of those that Exec makes later. A hard limit above that of the payload is refused without
	// CAP_SYS_RESOURCE of the supervisor. Of processes with other credentials they are not changed; then the error names them, and all else is.
	Rlimits []rlimit.Change
}

// Usage is what a container uses.
type Usage struct {
	Snapshot
	MemoryLimit int64 // bytes; <= 0: none
	PidsLimit   int64 // processes and threads; -1: none
}

// Limit is one limit of a container and how it is held: "kernel", "sampled", "advisory" or "none".
type Limit struct {
	Path string `json:"path"` // JSON path in config.json: "linux.resources.memory.limit"
	Name string `json:"name"` // "memory", "RLIMIT_NOFILE"
	Soft uint64 `json:"soft"` // value in the unit of the limit; the only one where a limit has no hard value
	Hard uint64 `json:"hard"`
	Unit string `json:"unit,omitempty"`
	Held string `json:"held"`
}

// ProcessLimits are the limits of setrlimit(2) that a process has.
type ProcessLimits struct {
	PID     int
	Command string
	Limits  []rlimit.Limit // sorted by name
}

// ContainerLimits are the limits of a container: of its processes, and of all of it.
type ContainerLimits struct {
	Processes []ProcessLimits // sorted by pid
	Run       []Limit         // as in State
}

// memory is what is asked of the memory limits. Amounts are in bytes; <= 0 is none.
type memory struct {
	Limit     int64          `json:"limit"`
	Swap      int64          `json:"swap,omitempty"`      // of memory and swap together
	Soft      int64          `json:"soft,omitempty"`      // over it the group is slowed down
	Overshoot int64          `json:"overshoot,omitempty"` // asked for
	OnBreach  limit.Action   `json:"onBreach,omitempty"`
	Signal    syscall.Signal `json:"signal,omitempty"` // for limit.Signal
	Meter     meter.Mode     `json:"meter"`
	GraceNS   int64          `json:"graceNs"` // nanoseconds
}

// memory is what is asked for, by the options or else by the bundle.
func (o *CreateOptions) memory() memory {
	b, s := o.Bundle, o.Bundle.Settings
	m := memory{Limit: b.MemoryLimit, Swap: b.MemorySwap, Soft: b.MemoryReservation, Overshoot: s.Overshoot}
	if o.Memory != 0 {
		m.Limit = o.Memory
	}
	if o.Overshoot != 0 {
		m.Overshoot = o.Overshoot
	}
	grace := DefaultGrace
	if s.MemoryGraceSet {
		grace = s.MemoryGrace
	}
	if o.Grace != nil {
		grace = *o.Grace
	}
	if o.OnBreach != nil {
		s.OnBreach = *o.OnBreach
	}
	if o.Meter != nil {
		s.Meter = *o.Meter
	}
	m.GraceNS = int64(grace)
	m.OnBreach, m.Signal = actions[s.OnBreach.Action], s.OnBreach.Signal
	m.Meter = meter.Mode(s.Meter.String())
	return m
}

// checkMemory compares a limit that is given in place of the bundle's with the bundle's other limits, as package bundle does its own.
func (o *CreateOptions) checkMemory() error {
	m := o.memory()
	switch {
	case o.Memory <= 0:
		return nil
	case m.Soft > m.Limit:
		return fmt.Errorf("memory limit of %d bytes: less than linux.resources.memory.reservation of the bundle, %d", m.Limit, m.Soft)
	case m.Swap > 0 && m.Swap < m.Limit:
		return fmt.Errorf("memory limit of %d bytes: more than linux.resources.memory.swap of the bundle, %d, which is that of memory and swap together", m.Limit, m.Swap)
	}
	return nil
}

// actions are the policy's words for those of a bundle.
var actions = map[bundle.BreachAction]limit.Action{
	bundle.BreachKill: limit.Kill, bundle.BreachKillLargest: limit.KillLargest, bundle.BreachKillNewest: limit.KillNewest,
	bundle.BreachFreeze: limit.Freeze, bundle.BreachSignal: limit.Signal,
}

// policy is how the limits are watched on this machine.
func (m memory) policy() limit.Policy {
	return limit.New(limit.Config{
		Limit: m.Limit, Swap: m.Swap, High: m.Soft, Overshoot: m.Overshoot, OnBreach: m.OnBreach, CPUs: goruntime.NumCPU(),
	})
}

// limits lists what of them is limited.
func (m memory) limits() (list []Limit) {
	for _, l := range []struct {
		name, path string
		bytes      int64
	}{{"memory", "limit", m.Limit}, {"memory+swap", "swap", m.Swap}, {"memory (soft)", "reservation", m.Soft}} {
		if l.bytes > 0 {
			list = append(list, Limit{Path: memoryPath + l.path, Name: l.name, Soft: uint64(l.bytes), Hard: uint64(l.bytes), Held: "sampled"})
		}
	}
	return list
}

const memoryPath = "linux.resources.memory."

// limits lists what is limited.
func (o *CreateOptions) limits(b *budget) []Limit {
	list := append(o.memory().limits(), b.limits(o)...)
	for i, l := range o.limitsInForce() {
		path := rlimitsPath
		if i < len(o.Bundle.Rlimits) { // the others come after those of the bundle
			path += fmt.Sprintf("[%d]", i)
		}
		list = append(list, Limit{Path: path, Name: l.Type.Name, Soft: l.Soft, Hard: l.Hard, Held: heldKernel})
	}
	return list
}

const rlimitsPath = "process.rlimits"

// limitsInForce are the resource limits of the processes.
func (o *CreateOptions) limitsInForce() []rlimit.Limit {
	if o.rlimits != nil {
		return o.rlimits
	}
	return o.Bundle.Rlimits
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

// WritePIDFile writes a process id to a file, atomically: in decimal, without a newline.
func WritePIDFile(path string, pid int) error {
	if err := store.WriteFile(path, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("pid file: %w", err)
	}
	return nil
}
