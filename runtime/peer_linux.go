package runtime

import "golang.org/x/sys/unix"

// peerOf is the process that has connected a socket (unix(7), SO_PEERCRED).
func peerOf(fd int) int {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0
	}
	return int(c.Pid)
}
