package runtime

import (
	"net"

	"golang.org/x/sys/unix"
)

// peer is the process at the other end of a connection, 0 if that cannot be known. LOCAL_PEERPID (bsd/sys/un.h) is that of the last who used it.
func peer(conn *net.UnixConn) (pid int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID); err == nil {
			pid = n
		}
	})
	return pid
}
