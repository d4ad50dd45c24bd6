//go:build linux && (!amd64 || race) && !portable

package launch

import "syscall"

// canShare tells that clone3 is there. The race detector looks at every call from assembly, on a stack of the calling thread.
const canShare = false

func clone3(*cloneArgs, *plan, uintptr) (uintptr, syscall.Errno) { return 0, syscall.ENOSYS }
