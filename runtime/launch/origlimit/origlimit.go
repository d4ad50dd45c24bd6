//go:build linux

// Package origlimit reads the soft RLIMIT_NOFILE that this process inherited, before the Go runtime raises it.
//
// Go raises the soft limit to the hard one in syscall's init (go.dev/issue/46279) and gives the old value back only
// to children that syscall itself starts. mlrun starts its payload with its own fork, and a payload must see the
// limit that its caller had: programs that use select(2) break on a descriptor above 1023.
//
// The order is guaranteed by the language: packages are initialised sorted by import path as soon as their imports
// are initialised (Go 1.21). This package imports nothing but unsafe, and "mlrun/..." sorts before "syscall".
package origlimit

import _ "unsafe" // for go:linkname

// NoFile is the soft and the hard RLIMIT_NOFILE at the start of the process. Known is false where it was not readable.
var (
	NoFile struct{ Soft, Hard uint64 }
	Known  bool
)

// syscall exports RawSyscall6 for linking by name; importing it would order this package after syscall's init.
//
//go:linkname rawSyscall6 syscall.RawSyscall6
func rawSyscall6(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2, errno uintptr)
