// Package supervise runs one payload from its creation to the point where nothing of it is left, and accounts for it.
//
// # What it does
//
// One goroutine, the loop, owns all state. Others only turn blocking calls into events: one waits for the reaper, one
// samples memory, one executes the gate, one runs hooks. What an event means is decided by step, a pure function of the
// state and the event; the loop carries out the actions that step returns.
//
//	creating -> created -> running -> stopping -> killing -> stopped
//
// A run ends when the payload ends: what it leaves behind is killed, as with the first process of a pid namespace. When the
// group was asked to end before (SIGTERM, SIGHUP), what is left has the grace period for it.
//
// # What it does not
//
// It stores nothing, prints nothing and exits nothing: callbacks in Config do. It knows no bundle and no container.
package supervise

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"time"

	"mlrun/group"
	"mlrun/limit"
	"mlrun/meter"
	"mlrun/proc"
	"mlrun/rlimit"
	"mlrun/runtime/launch"
)

// Errors of requests.
var (
	ErrNotRunning  = errors.New("container not running")
	ErrNotCreated  = errors.New("cannot start a container that is not in the created state")
	ErrPaused      = errors.New("container is paused already")
	ErrNotPaused   = errors.New("container not paused")
	ErrUnsupported = launch.ErrUnsupported
	ErrNotAdmitted = errors.New("not enough memory became available in time")
)

// Stage says which hooks are to be run (runtime-spec, runtime.md, "Lifecycle").
type Stage int

// The stages at which Config.Hook is called.
const (
	StageCreate Stage = iota // prestart, createRuntime and createContainer
	StageStart               // startContainer
	StagePost                // poststart
)

// Config is a run.
type Config struct {
	ID     string
	Launch launch.Config
	Memory limit.Policy
	Budget limit.Budget // the other limits
	Meter  meter.Mode
	// Nest, unless nil, is called before the payload is forked, and may put it into namespaces of its groups. What it returns, unless nil, is called when
	// the payload waits at the gate, with its pid, or with 0 when there is none or without these namespaces. HeldTasks tells later whether the kernel holds
	// the limits of processes of the groups.
	Nest      func(*launch.Config) (after func(pid int))
	HeldTasks func() bool
	Seat      *group.Seat    // in the groups whose limits the run obeys, too; the caller gives it back after the run; nil: none
	Signal    syscall.Signal // for the payload at a breach, when Memory.OnBreach is limit.Signal
	Grace     time.Duration  // between SIGTERM and SIGKILL; 0: SIGKILL at once
	Strict    bool           // who is over Memory has no grace period: it could be used to grow beyond the limit

	// Foreground makes the signals that this process gets reach the payload, and the payload a job of its terminal. Nil: no.
	Foreground *Signals
	// AutoStart starts the payload as soon as it is created. Otherwise a Request does, and Launch.Eager is ignored, as it is with hooks or
	// a terminal.
	AutoStart bool

	// TasksSampled is called when no user namespace can be made for Launch.Tasks, which is then done without: it returns the budget that limits
	// tasks instead. Nil: that ends the run.
	TasksSampled func(why error) limit.Budget

	// Admit is called when the program is to be executed, in a goroutine of its own, and returns when it may be. An error ends the run, with
	// ReasonAdmission if it is ErrNotAdmitted. The context ends with the run, and when who asked for the start is gone, after which the container is
	// as it was before. Nil: it may be at once.
	Admit func(context.Context) (*Admission, error)
	// Used is called now and then with the most memory that was measured, in bytes, until it returns false. Nil: nobody.
	Used func(peak int64) bool

	// Hook runs the hooks of a stage, in a goroutine of its own, until the context ends. An error
	// stops the container. Nil: there are none.
	Hook func(context.Context, Stage, proc.ID) error
	// Created is called when the payload waits at the gate, or with Launch.Eager does no longer; an error ends the run. It must not
	// block.
	Created func(payload proc.ID) error
	// Ready is called after the create hooks: the payload can be started.
	Ready func()
	// Started is called when the program was executed; an error ends the run. Requests wait for it, the program does not.
	Started func(at time.Time) error

	// Warned is called when a part of the limit is in use, Breached when the limit is exceeded and the run goes on all the same. Neither may
	// block. Nil: nobody.
	Warned   func(Warning)
	Breached func(Notice)

	// Ended is called when nothing is left of the run but the reaper, which the kernel may still be taking apart. Nil: nothing is done
	// in that time.
	Ended func(*Verdict)

	// Paused is called when everything was stopped by request, and before it goes on; Updated before limits are changed. With an error, which is
	// told to who asked for it, nothing changes. Nil: nobody.
	Paused  func(bool) error
	Updated func(Update) error

	// Progress is called every ProgressEvery with what is known, in a goroutine of its own.
	Progress      func(Snapshot)
	ProgressEvery time.Duration

	// Gate makes the programs wait that the run executes. Nil: nothing does.
	Gate Gate

	// Requests are carried out in order. The channel may be nil.
	Requests <-chan Request

	Log *slog.Logger
}

// Gate is what makes the programs wait that a run executes (package execgate), as a supervisor sees it.
type Gate interface {
	// Waits tells whether a program waits.
	Waits() bool
	// Look is called about once a second while one does, with the memory that the run has (bytes) and the CPU time that it has used, in a goroutine
	// of its own.
	Look(memory int64, cpu time.Duration)
	// Account is what the gate has seen up to now.
	Account() *Gated
}

// Snapshot is the memory of a run at some moment.
type Snapshot struct {
	Current   int64 `json:"current"`   // bytes
	Exact     bool  `json:"exact"`     // false: Current is an upper bound, since reading it exactly takes long
	Peak      int64 `json:"peak"`      // bytes, the most that was measured
	Processes int   `json:"processes"` // members alive

	Swap       int64         `json:"swap"`              // bytes swapped out, when Exact
	Unreadable int           `json:"unreadable"`        // members whose PSS cannot be read
	Uncertain  int64         `json:"uncertain"`         // bytes: by how much Current may be too low for them
	Meter      string        `json:"meter"`             // "events" or "poll"
	Throttled  bool          `json:"throttled"`         // stopped at this moment, for being over the soft limit
	Members    []proc.ID     `json:"members,omitempty"` // of OpList
	User       time.Duration `json:"user,omitempty"`    // CPU time of all processes that are and were, of OpUsage
	System     time.Duration `json:"system,omitempty"`
	Rusage     *Rusage       `json:"rusage,omitempty"` // of OpUsage: of all processes that are and were
	Peaks      []Peak        `json:"peaks,omitempty"`  // and the processes that had most memory, of those that are
	Frozen     bool          `json:"frozen"`           // stopped for being over the limit
}

// Peak is the most memory that a process had.
type Peak struct {
	proc.ID
	Name   string `json:"name"`   // of its program, at most 15 bytes
	MaxRSS int64  `json:"maxrss"` // bytes of resident set, ever (VmHWM of proc_pid_status(5))
}

// Notice is a breach that does not end the run.
type Notice struct {
	ID     string   `json:"id"`
	Action string   `json:"action"`           // of limit.Action: "kill-largest", "kill-newest", "freeze", "signal"
	Signal string   `json:"signal,omitempty"` // "SIGUSR1", with "signal"
	Memory int64    `json:"memory"`           // bytes
	Victim Victim   `json:"victim,omitzero"`  // the process that was killed, with KillLargest and KillNewest
	Top    []Victim `json:"top,omitempty"`    // the largest processes
}

// Op is what a Request asks for.
type Op string

// The requests that a running supervisor understands.
const (
	OpStart   Op = "start"   // open the gate
	OpKill    Op = "kill"    // send Signal to the payload, or to every member
	OpDestroy Op = "destroy" // kill everything
	OpStats   Op = "stats"   // answer with a Snapshot
	OpExec    Op = "exec"    // run one more process in the container
	OpPause   Op = "pause"   // stop everything, until
	OpResume  Op = "resume"  // it is continued
	OpList    Op = "list"    // answer with the members
	OpUsage   Op = "usage"   // answer with a Snapshot that has the CPU time, too
	OpWatch   Op = "watch"   // tell what happens
	OpUpdate  Op = "update"  // change limits
)

// Update is a change of the limits of a run. What is nil stays.
type Update struct {
	Limit *int64 `json:"limit,omitempty"` // of memory, in bytes; <= 0 is none
	Swap  *int64 `json:"swap,omitempty"`  // of memory and swap together
	High  *int64 `json:"high,omitempty"`  // soft
	// Tasks is another limit of tasks, -1 for none. With Sampled it is held by looks at them.
	Tasks   *int64 `json:"tasks,omitempty"`
	Sampled bool   `json:"sampled,omitempty"`
	// Quota is the CPU time that may be used in each Period; <= 0: as much as there is.
	Quota  *time.Duration `json:"quotaNs,omitempty"`
	Period *time.Duration `json:"periodNs,omitempty"`
	// Place is where and how eagerly every process of the run is to run.
	Place *Place `json:"place,omitempty"`
	// Rlimits are changed of every process of the run.
	Rlimits []rlimit.Change `json:"rlimits,omitempty"`
	// Held is what these came to for the payload, for Config.Updated.
	Held []rlimit.Limit `json:"-"`

	done bool // Place and Rlimits are in force
}

// Place is what the kernel keeps of each thread of where and how eagerly it runs. What is nil stays.
type Place struct {
	Nice       *int  `json:"nice,omitempty"`       // nice value
	Idle       *bool `json:"idle,omitempty"`       // SCHED_IDLE, or not
	CPUs       []int `json:"cpus,omitempty"`       // processors
	IOPriority *int  `json:"ioPriority,omitempty"` // as in ioprio_set(2)

	// What was asked for, for Config.Updated.
	Weight   *float64 `json:"weight,omitempty"`
	IOWeight *int     `json:"ioWeight,omitempty"`
}

func (p *Place) empty() bool {
	return p.Nice == nil && p.Idle == nil && len(p.CPUs) == 0 && p.IOPriority == nil
}

// Add puts what more has in the place of what was asked for before.
func (p *Place) Add(more *Place) {
	if more.Nice != nil {
		p.Nice, p.Weight = more.Nice, more.Weight
	}
	if more.Idle != nil {
		p.Idle = more.Idle
	}
	if len(more.CPUs) > 0 {
		p.CPUs = more.CPUs
	}
	if more.IOPriority != nil {
		p.IOPriority, p.IOWeight = more.IOPriority, more.IOWeight
	}
}

// Occurrence is something that happens in a run.
type Occurrence struct {
	Breach  *Notice  `json:"breach,omitempty"`  // the memory limit was exceeded
	Warning *Warning `json:"warning,omitempty"` // a part of it is in use
	Ended   *Verdict `json:"ended,omitempty"`   // nothing is left
}

// Exec is one more process that is to run in a container, under its limits. The run ends without it, and it with the run.
type Exec struct {
	Launch launch.Config
	// PID is the process itself, in place of Launch, when the client with the pid Parent has made it (launch.Fork). Started means then that it may
	// go on: the client opens its gate.
	PID, Parent int
	// Started is called once, when the program was executed, or with the reason why it was not: a *launch.ExecError or another error. Then Ended
	// is not called. It may close Launch.Files.
	Started func(id proc.ID, err error)
	// Ended is called once, when the process has ended. known is false when nobody can tell how. Neither may block.
	Ended func(status syscall.WaitStatus, known bool)
}

// Request asks a supervisor for something.
type Request struct {
	Op     Op             `json:"op"`
	Signal syscall.Signal `json:"signal,omitempty"`
	All    bool           `json:"all,omitempty"`
	Exec   *Exec          `json:"-"` // OpExec
	Update *Update        `json:"update,omitempty"`
	// Gone is closed when whoever asked is gone: an OpStart that still waits for its admission is taken back. Nil: it stays.
	Gone <-chan struct{} `json:"-"`
	// Watch is called with everything that happens after an OpWatch. It must not block.
	Watch func(Occurrence) `json:"-"`
	// Reply is called exactly once, from any goroutine.
	Reply func(Snapshot, error) `json:"-"`
}
