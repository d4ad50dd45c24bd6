//go:build !portable

package runtime

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	goruntime "runtime"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"mlrun/runtime/launch"
)

// architecture is the one whose system calls filters are made of.
const architecture = goruntime.GOARCH

// listens tells whether a filter has a listener, which linux.seccomp.listenerPath gets.
func listens(s *specs.LinuxSeccomp) bool {
	if s == nil {
		return false
	}
	notify := s.DefaultAction == specs.ActNotify
	for _, call := range s.Syscalls {
		notify = notify || call.Action == specs.ActNotify
	}
	return notify
}

// listener makes the filter in c tell of itself at the socket that the configuration names (runtime-spec, config-linux.md, "The Container Process State").
func (s *session) listener(c *launch.Config, linux *specs.Linux) {
	if c.Seccomp == nil || linux == nil || !listens(linux.Seccomp) {
		return
	}
	path, metadata := linux.Seccomp.ListenerPath, linux.Seccomp.ListenerMetadata
	c.Seccomp.Listener = func(pid, fd int) error {
		defer unix.Close(fd)
		s.mu.Lock()
		st := s.rec.state(specs.StateCreated).State
		s.mu.Unlock()
		return announce(path, fd, &specs.ContainerProcessState{
			Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: metadata, State: st,
		})
	}
}

// announceWait is how long who listens at a socket may take.
const announceWait = 10 * time.Second

// announce sends a state and the descriptor of a listener to a unix socket.
func announce(path string, fd int, state *specs.ContainerProcessState) error {
	b, err := json.Marshal(state)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("unix", path, announceWait)
	if err != nil {
		if e, ok := err.(*net.OpError); ok {
			err = e.Err
		}
		return fmt.Errorf("linux.seccomp.listenerPath %q: %w", path, err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(announceWait))
	n, _, err := conn.(*net.UnixConn).WriteMsgUnix(b, unix.UnixRights(fd), nil)
	if err == nil && n < len(b) {
		_, err = conn.Write(b[n:])
	}
	if err != nil {
		return fmt.Errorf("linux.seccomp.listenerPath %q: %w", path, os.NewSyscallError("sendmsg", err))
	}
	return nil
}
