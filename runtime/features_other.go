//go:build !linux

package runtime

// host has nothing to add here.
func (f *Features) host() {}
