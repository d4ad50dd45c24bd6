//go:build !linux

package execgate

import "time"

// Gate answers the execs of a run.
type Gate struct{}

// New is not supported here.
func New(Config) (*Gate, error) { return nil, ErrUnsupported }

// Listen does nothing here.
func (g *Gate) Listen(_, _ int) {}

// Passed does nothing here.
func (g *Gate) Passed(int) {}

// Force does nothing here.
func (g *Gate) Force() {}

// Oldest is nobody here.
func (g *Gate) Oldest() (need int64, since time.Time, ok bool) { return 0, since, false }

// Stats are none here.
func (g *Gate) Stats() Stats { return Stats{} }

// Close does nothing here.
func (g *Gate) Close() {}

// Supported returns ErrUnsupported.
func Supported() error { return ErrUnsupported }
