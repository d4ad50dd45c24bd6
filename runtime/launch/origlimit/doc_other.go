//go:build !linux

// Package origlimit has nothing to do outside Linux.
package origlimit
