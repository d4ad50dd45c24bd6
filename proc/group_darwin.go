package proc

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/libproc"
)

// NewGroup makes the group of the payload leader and of all descendants of reaper; 0 is none. Close it.
func NewGroup(fs FS, reaper int, leader int) (*Group, error) {
	d := &darwin{fs: fs, kq: -1}
	if kq, err := newQueue(); err == nil {
		d.kq, d.sure = kq, true
	}
	g, err := newLineage(d, reaper, leader)
	if err != nil {
		d.close()
	}
	return g, err
}

// darwin is the kernel of macOS.
type darwin struct {
	fs     FS
	kq     int  // tells of members that fork (EVFILT_PROC)
	sure   bool // every member is watched
	events [64]unix.Kevent_t
}

func (d *darwin) stat(pid int) (Stat, error) { return d.fs.Stat(pid) }

func (d *darwin) children(pid int) []int {
	pids, _ := libproc.Children(pid)
	return pids
}

func (d *darwin) group(pgid int) []int {
	pids, _ := libproc.Group(pgid)
	return pids
}

func (d *darwin) all() []int {
	pids, _ := libproc.All()
	return pids
}

func (d *darwin) marked(pid int, marker string) bool { return d.fs.marked(pid, marker) }

func (d *darwin) usage(pid int) (u usage, ok bool) {
	r, err := libproc.RusageOf(pid)
	if err != nil {
		return u, false
	}
	duration := func(t uint64) time.Duration { return time.Duration(libproc.Nanoseconds(t)) }
	u = usage{duration(r.UserTime), duration(r.SystemTime), duration(r.ChildUserTime), duration(r.ChildSystemTime), 1}
	if i, ok := libproc.TaskInfoOf(pid); ok {
		u.threads = int(i.Threads)
	}
	return u, true
}

func (d *darwin) signal(pid int, sig syscall.Signal) error { return unix.Kill(pid, sig) }

// watch asks for the forks, the end and the programs of a process (kqueue(2)). NOTE_TRACK, which would name the children, is not supported since
// Mac OS X 10.5 (bsd/sys/event.h). Who has ended meanwhile needs no watch.
func (d *darwin) watch(id ID) {
	if d.kq < 0 {
		return
	}
	if err := addEvent(d.kq, id.PID, unix.EVFILT_PROC, unix.NOTE_FORK|unix.NOTE_EXEC|unix.NOTE_EXIT); err != nil && err != unix.ESRCH {
		d.sure = false
	}
}

func (d *darwin) forked() (pids []int, sure bool) {
	if !d.sure {
		return nil, false
	}
	for {
		var now unix.Timespec
		n, err := unix.Kevent(d.kq, nil, d.events[:], &now)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, false
		}
		for _, e := range d.events[:n] {
			if e.Fflags&unix.NOTE_FORK != 0 {
				pids = append(pids, int(e.Ident))
			}
		}
		if n < len(d.events) {
			return pids, true
		}
	}
}

func (d *darwin) close() {
	if d.kq >= 0 {
		unix.Close(d.kq)
		d.kq = -1
	}
}
