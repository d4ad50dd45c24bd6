//go:build !linux && !darwin

package rlimit

import (
	"errors"
	"fmt"
	"runtime"
)

// Infinity means that there is no limit.
const Infinity = ^uint64(0)

// Max is the largest value of a limit.
const Max = Infinity - 1

// types is empty: the platform has no resource limits that mlrun knows.
var types [0]Type

// Get returns an error that wraps [errors.ErrUnsupported].
func Get(t Type) (soft, hard uint64, err error) {
	return 0, 0, fmt.Errorf("%s: resource limits on %s: %w", t.Name, runtime.GOOS, errors.ErrUnsupported)
}
