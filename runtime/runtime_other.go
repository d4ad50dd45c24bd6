//go:build !linux

package runtime

import (
	"context"
	"fmt"
	"syscall"

	"mlrun/bundle"
	"mlrun/proc"
	"mlrun/runtime/execgate"
)

// SuperviseArg is the first argument of the program that Create starts.
const SuperviseArg = "supervise"

// LaunchError is a container that could not be created or started by its supervisor.
type LaunchError struct {
	Message  string
	ExitCode int
}

func (e *LaunchError) Error() string { return e.Message }

// Check is not supported here.
func Check(*bundle.Bundle) error { return ErrUnsupported }

// Run is not supported here.
func (r *Runtime) Run(RunOptions) (*Verdict, error) { return nil, ErrUnsupported }

// Create is not supported here.
func (r *Runtime) Create(CreateOptions) error { return ErrUnsupported }

// Supervise is not supported here.
func Supervise([]string) error { return ErrUnsupported }

// Start is not supported here.
func (r *Runtime) Start(string) error { return ErrUnsupported }

// Kill is not supported here.
func (r *Runtime) Kill(string, syscall.Signal, bool) error { return ErrUnsupported }

// State is not supported here.
func (r *Runtime) State(string) (*State, error) { return nil, ErrUnsupported }

// IDs is not supported here.
func (r *Runtime) IDs() ([]string, error) { return nil, ErrUnsupported }

// List is not supported here.
func (r *Runtime) List() ([]*State, error) { return nil, ErrUnsupported }

// Delete is not supported here.
func (r *Runtime) Delete(string, bool) error { return ErrUnsupported }

// WriteReport is not supported here.
func WriteReport(string, *Verdict) error { return ErrUnsupported }

func random() (uint32, error) { return 0, ErrUnsupported }

// Process is not supported here.
func (r *Runtime) Process(string) (map[string]any, error) { return nil, ErrUnsupported }

// Exec is not supported here.
func (r *Runtime) Exec(context.Context, string, ExecOptions) (*Exec, error) {
	return nil, ErrUnsupported
}

// Wait is not supported here.
func (e *Exec) Wait(context.Context) (syscall.WaitStatus, bool, error) {
	return 0, false, ErrUnsupported
}

// Signal is not supported here.
func (e *Exec) Signal(syscall.Signal) error { return ErrUnsupported }

// Close is not supported here.
func (e *Exec) Close() error { return ErrUnsupported }

// Pause is not supported here.
func (r *Runtime) Pause(string) error { return ErrUnsupported }

// Resume is not supported here.
func (r *Runtime) Resume(string) error { return ErrUnsupported }

// Processes is not supported here.
func (r *Runtime) Processes(string) ([]proc.ID, error) { return nil, ErrUnsupported }

// Update is not supported here.
func (r *Runtime) Update(string, UpdateOptions) error { return ErrUnsupported }

// ReadLimits is not supported here.
func ReadLimits(int) (*ProcessLimits, error) { return nil, ErrUnsupported }

// Limits is not supported here.
func (r *Runtime) Limits(string, bool) (*ContainerLimits, error) { return nil, ErrUnsupported }

// Usage is not supported here.
func (r *Runtime) Usage(string) (*Usage, error) { return nil, ErrUnsupported }

// Watch is not supported here.
func (r *Runtime) Watch(context.Context, string, func(Occurrence) error) error { return ErrUnsupported }

// noTasks is why the kernel cannot hold a limit of tasks.
func noTasks(*bundle.Bundle) string { return "there are no user namespaces on this platform" }

// checkExecGate is not supported here.
func checkExecGate(o *CreateOptions) error {
	return fmt.Errorf("%s: %w", o.scopeSource(), execgate.ErrUnsupported)
}
