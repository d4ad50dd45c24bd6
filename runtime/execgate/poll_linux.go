package execgate

import (
	"encoding/binary"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// brief is how long a wait keeps a processor of the Go runtime, where there are others, after there was something to do: an exec seldom
// comes alone, and to give a processor up and to get it back takes as long as to answer one.
const brief = 5 * time.Millisecond

// poller waits for listeners, and for a word of other goroutines.
type poller struct {
	eventfd int
	polls   []unix.PollFd // the first one is the eventfd's
	busy    bool          // the newest wait found something

	timeout unix.Timespec // of ppoll(2); here, since the heap does not move
}

func newPoller() (*poller, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return &poller{eventfd: fd, polls: []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}}, nil
}

// poke ends a wait, or the next one. It may be called from every goroutine, until close.
func (p *poller) poke() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(p.eventfd, one[:])
}

func (p *poller) add(fd int) {
	p.polls = append(p.polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
}

// drop closes a listener.
func (p *poller) drop(i int) {
	unix.Close(int(p.polls[i].Fd))
	p.polls = append(p.polls[:i], p.polls[i+1:]...)
}

func (p *poller) close() {
	for len(p.polls) > 0 {
		p.drop(len(p.polls) - 1)
	}
}

// wait blocks for at most d, or without end if that is negative, until a listener has something or poke was called.
func (p *poller) wait(d time.Duration) {
	for i := range p.polls {
		p.polls[i].Revents = 0
	}
	found := false
	if p.busy && d != 0 && runtime.GOMAXPROCS(0) > 1 {
		first := brief
		if d > 0 {
			first = min(first, d)
			d -= first
		}
		found = p.ppoll(syscall.RawSyscall6, first)
	}
	if !found {
		found = p.ppoll(syscall.Syscall6, d)
	}
	p.busy = found
	if p.polls[0].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(p.eventfd, b[:])
	}
}

// ppoll makes the call by one of the two ways there are; d < 0 is without end.
func (p *poller) ppoll(call func(trap, a1, a2, a3, a4, a5, a6 uintptr) (uintptr, uintptr, syscall.Errno), d time.Duration) bool {
	var timeout uintptr
	if d >= 0 {
		p.timeout = unix.NsecToTimespec(int64(d))
		timeout = uintptr(unsafe.Pointer(&p.timeout))
	}
	n, _, e := call(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.polls[0])), uintptr(len(p.polls)), timeout, 0, 0, 0)
	return e == 0 && n > 0
}
