package runtime

import "net"

// peer is the process at the other end of a connection, 0 if that cannot be known.
func peer(conn *net.UnixConn) (pid int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { pid = peerOf(int(fd)) })
	return pid
}
