//go:build linux || darwin

package rlimit

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Infinity is RLIM_INFINITY of the platform, the largest value of a limit,
// which means that there is none: 1<<64-1 on Linux, 1<<63-1 on darwin. A
// config.json made on Linux writes 18446744073709551615; cut such a value down
// to Infinity before it is used: min(v, Infinity).
const Infinity uint64 = unix.RLIM_INFINITY

// Max is the largest value that is a limit: one less than RLIM_INFINITY of what
// the kernel keeps it in, a long. For a larger one Linux sets RLIM_INFINITY
// (kernel/sys.c, rlim64_to_rlim).
const Max = min(Infinity, uint64(^uint(0))) - 1

// Get returns the limit of type t of the calling process.
//
// The Go runtime raises the soft limit of RLIMIT_NOFILE to the hard one when a
// program that imports os starts, and lowers it again in the children it
// starts; the soft limit that Get returns is the raised one.
func Get(t Type) (soft, hard uint64, err error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(t.Resource, &r); err != nil {
		return 0, 0, fmt.Errorf("%s: getrlimit %d: %w", t.Name, t.Resource, err)
	}
	return min(r.Cur, Infinity), min(r.Max, Infinity), nil
}
