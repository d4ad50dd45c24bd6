//go:build !linux

// Package origlimit knows nothing outside Linux.
package origlimit

// NoFile is the soft and the hard RLIMIT_NOFILE at the start of the process, if Known.
var (
	NoFile struct{ Soft, Hard uint64 }
	Known  bool
)
