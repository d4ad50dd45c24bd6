package execgate

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Supported tells why the kernel cannot make programs wait, or nil.
func Supported() error {
	action := uint32(unix.SECCOMP_RET_USER_NOTIF)
	if _, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action))); e != 0 {
		return fmt.Errorf("%w: seccomp(SECCOMP_GET_ACTION_AVAIL, SECCOMP_RET_USER_NOTIF): %w", ErrUnsupported, e)
	}
	// SECCOMP_USER_NOTIF_FLAG_CONTINUE cannot be asked for.
	var u unix.Utsname
	major, minor := 0, 0
	if err := unix.Uname(&u); err != nil {
		return err
	}
	release := unix.ByteSliceToString(u.Release[:])
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n == 2 && (major < 5 || major == 5 && minor < 5) {
		return fmt.Errorf("%w: this is Linux %s", ErrUnsupported, release)
	}
	return nil
}
