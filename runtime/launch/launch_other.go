//go:build !linux

package launch

import "syscall"

// Process is a payload and its reaper.
type Process struct{ PID, Reaper int }

// BecomeSubreaper is not supported here.
func BecomeSubreaper() error { return ErrUnsupported }

// CloseOnExec is not supported here.
func CloseOnExec() error { return ErrUnsupported }

// Start is not supported here.
func Start(*Config) (*Process, error) { return nil, ErrUnsupported }

// Fork is not supported here.
func Fork(*Config) (*Process, error) { return nil, ErrUnsupported }

// Observe is not supported here.
func Observe(int) (*Process, error) { return nil, ErrUnsupported }

// Release does nothing here.
func (p *Process) Release() {}

// Observed is false here.
func (p *Process) Observed() bool { return false }

// End is not supported here.
func (p *Process) End() Event { return Event{} }

// Close does nothing here.
func (p *Process) Close() {}

// Wait does nothing here.
func (p *Process) Wait() {}

// Exec is not supported here.
func (p *Process) Exec() error { return ErrUnsupported }

// Next is not supported here.
func (p *Process) Next() (Event, error) { return Event{}, ErrUnsupported }

// Reap does nothing here.
func (p *Process) Reap() {}

// KillAll does nothing here.
func (p *Process) KillAll() {}

// Hold does nothing here.
func (p *Process) Hold() {}

// Orphans are not there without a subreaper.
type Orphans struct{}

// Orphans is not supported here.
func (p *Process) Orphans() *Orphans { return &Orphans{} }

// Kill finds nobody: what a reaper leaves goes to init.
func (o *Orphans) Kill() (left, busy bool) { return false, false }

// Payload is not known here.
func (o *Orphans) Payload() (status syscall.WaitStatus, known bool) { return 0, false }
