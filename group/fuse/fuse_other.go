//go:build !linux

package fuse

// Check returns ErrUnsupported.
func Check(string, Options) error { return ErrUnsupported }
