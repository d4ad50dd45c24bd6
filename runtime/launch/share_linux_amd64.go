//go:build !race && !portable

package launch

import "syscall"

// canShare tells that clone3 is there.
const canShare = true

// clone3 makes a child process that runs child(p, payload) on the stack in args, and shares the memory of the caller.
//
//go:noescape
func clone3(args *cloneArgs, p *plan, payload uintptr) (pid uintptr, errno syscall.Errno)

// child is what a process that clone3 has made runs; it does not return.
//
//lint:ignore U1000 clone3 calls it
//go:nosplit
//go:norace
//go:nocheckptr
func child(p *plan, payload uintptr) {
	if payload != 0 {
		become(p)
	}
	reap(p)
}
