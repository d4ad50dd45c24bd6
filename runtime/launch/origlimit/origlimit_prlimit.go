//go:build linux

package origlimit

import "unsafe"

func init() {
	const rlimitNofile = 7 // asm-generic/resource.h
	if sysPrlimit64 == 0 {
		return
	}
	_, _, e := rawSyscall6(sysPrlimit64, 0, rlimitNofile, 0, uintptr(unsafe.Pointer(&NoFile)), 0, 0)
	Known = e == 0
}
