package admission

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// vigilMost is how many holders are watched at once. The others are looked for in sweeps.
const vigilMost = 64

// vigil sees the end of processes that hold reservations, so that who waits for theirs need not look: a pidfd can be read when the process has ended
// (pidfd_open(2), Linux 5.3), and its locks are given back before that. Its methods need the lock of the line.
type vigil struct {
	watched map[int]*os.File // by pid; nil: there is none to be had
	died    bool             // a holder has ended since this was cleared
}

// attend has exactly these processes watched. A holder that has ended already is seen at once.
func (l *line) attend(pids []int) {
	v := &l.vigil
	for pid := range v.watched {
		if !slices.Contains(pids, pid) {
			v.drop(pid)
		}
	}
	for _, pid := range pids {
		if _, ok := v.watched[pid]; ok || len(v.watched) == vigilMost {
			continue
		}
		if v.watched == nil {
			v.watched = map[int]*os.File{}
		}
		fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK) // the flag: Linux 5.10
		switch {
		case err != nil:
			v.watched[pid] = nil
			v.died = v.died || err == unix.ESRCH
			continue
		}
		f := os.NewFile(uintptr(fd), "pidfd")
		v.watched[pid] = f
		go l.await(pid, f)
	}
}

// await waits for the end of a process, or until it is not watched any more. It has no thread meanwhile: the Go runtime polls.
func (l *line) await(pid int, f *os.File) {
	ended := false
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			ended = err == nil && n > 0
			return ended
		})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ended || l.vigil.watched[pid] != f {
		return
	}
	l.vigil.drop(pid)
	l.vigil.died = true
	l.bell.ringSelf()
}

func (v *vigil) drop(pid int) {
	if f := v.watched[pid]; f != nil {
		f.Close()
	}
	delete(v.watched, pid)
}
