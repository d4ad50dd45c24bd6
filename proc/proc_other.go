//go:build !linux && !darwin

package proc

import "os"

// FS is the root of a proc file system, which this platform does not have.
type FS string

// Root is where Linux systems have it.
const Root FS = "/proc"

// Alive is not known here.
func (FS) Alive(ID) bool { return false }

// Self is the calling process, without its start time.
func Self() ID { return ID{PID: os.Getpid()} }
