package runtime

import "golang.org/x/sys/unix"

// peerOf is the process that has last used the other end of a socket: LOCAL_PEERPID (bsd/sys/un.h).
func peerOf(fd int) int {
	pid, err := unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	if err != nil {
		return 0
	}
	return pid
}
