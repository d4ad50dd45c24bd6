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

	"mlrun/limit"
	"mlrun/proc"
	"mlrun/runtime/launch"
)

// Errors of requests.
var (
	ErrNotRunning  = errors.New("container not running")
	ErrNotCreated  = errors.New("cannot start a container that is not in the created state")
	ErrUnsupported = launch.ErrUnsupported
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
	Grace  time.Duration // between SIGTERM and SIGKILL; 0: SIGKILL at once

	// Foreground makes the signals that this process gets reach the payload, and the payload a job of its terminal. Nil: no.
	Foreground *Signals
	// AutoStart starts the payload as soon as it is created. Otherwise a Request does.
	AutoStart bool

	// Hook runs the hooks of a stage, in a goroutine of its own, until the context ends. An error
	// stops the container. Nil: there are none.
	Hook func(context.Context, Stage, proc.ID) error
	// Created is called when the payload waits at the gate; an error ends the run. It must not block.
	Created func(payload proc.ID) error
	// Ready is called after the create hooks: the payload can be started.
	Ready func()
	// Started is called when the program was executed; an error ends the run. Requests wait for it, the program does not.
	Started func(at time.Time) error

	// Progress is called every ProgressEvery with what is known, in a goroutine of its own.
	Progress      func(Snapshot)
	ProgressEvery time.Duration

	// Requests are carried out in order. The channel may be nil.
	Requests <-chan Request

	Log *slog.Logger
}

// Snapshot is the memory of a run at some moment.
type Snapshot struct {
	Current   int64 `json:"current"`   // bytes
	Exact     bool  `json:"exact"`     // false: Current is an upper bound, since reading it exactly takes long
	Peak      int64 `json:"peak"`      // bytes, the most that was measured
	Processes int   `json:"processes"` // members alive
}

// Op is what a Request asks for.
type Op string

// The requests that a running supervisor understands.
const (
	OpStart   Op = "start"   // open the gate
	OpKill    Op = "kill"    // send Signal to the payload, or to every member
	OpDestroy Op = "destroy" // kill everything
	OpStats   Op = "stats"   // answer with a Snapshot
)

// Request asks a supervisor for something.
type Request struct {
	Op     Op             `json:"op"`
	Signal syscall.Signal `json:"signal,omitempty"`
	All    bool           `json:"all,omitempty"`
	// Reply is called exactly once, from any goroutine.
	Reply func(Snapshot, error) `json:"-"`
}
