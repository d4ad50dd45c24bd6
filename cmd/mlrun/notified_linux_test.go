package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"syscall"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// notified is a program of the scripts that answers the first notification of a filter with error 42.
//
//	notified SOCKET READY
//
// It writes READY when it listens at SOCKET, and prints what it was told.
func notified() {
	l, err := net.Listen("unix", os.Args[1])
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(os.Args[2], []byte("ready"), 0o644); err != nil {
		panic(err)
	}
	conn, err := l.Accept()
	if err != nil {
		panic(err)
	}
	text, oob := make([]byte, 64<<10), make([]byte, 64)
	n, oobn, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(text, oob)
	if err != nil {
		panic(err)
	}
	var state specs.ContainerProcessState
	if err := json.Unmarshal(text[:n], &state); err != nil {
		panic(err)
	}
	list, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		panic(err)
	}
	fds, err := unix.ParseUnixRights(&list[0])
	if err != nil || len(state.Fds) != len(fds) || state.Fds[0] != specs.SeccompFdName {
		panic(fmt.Sprint(err, state.Fds, fds))
	}
	// struct seccomp_notif and seccomp_notif_resp of linux/seccomp.h
	var request struct {
		id         uint64
		pid, flags uint32
		_          [64]byte
	}
	var response struct {
		id    uint64
		val   int64
		err   int32
		flags uint32
	}
	ioctl := func(request uintptr, p unsafe.Pointer) {
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), request, uintptr(p)); e != 0 {
			panic(e)
		}
	}
	ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&request))
	response.id, response.err = request.id, -int32(syscall.Errno(42))
	ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&response))
	fmt.Println("metadata", state.Metadata, "pid", state.Pid == state.State.Pid && state.Pid == int(request.pid), "state", state.State.ID, state.State.Status)
}
