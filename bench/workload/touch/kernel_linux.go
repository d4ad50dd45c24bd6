package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/bench/workload/fork"
	"mlrun/bench/workload/note"
)

func init() {
	ways["populate"] = populate
	ways["zero"] = func(n *note.Note, o options) error { return read(n, o, zero) }
	ways["file"] = func(n *note.Note, o options) error { return read(n, o, sparse) }
}

// populate gets all of the memory in one system call. Huge pages need advice before the first page is there, so MADV_POPULATE_WRITE
// (Linux 5.14) does what MAP_POPULATE does; small pages need a process without huge pages where the system gives them to all.
func populate(n *note.Note, o options) error {
	if o.huge {
		m, err := note.Map(o.size, true)
		if err != nil {
			return err
		}
		if err := o.beginCall(n); err != nil {
			return err
		}
		return unix.Madvise(m, unix.MADV_POPULATE_WRITE)
	}
	if err := smallPages(); err != nil {
		return err
	}
	if err := o.beginCall(n); err != nil {
		return err
	}
	_, err := unix.Mmap(-1, 0, int(o.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	return err
}

// smallPages forbids huge pages to the process (prctl(2)); a kernel without them says EINVAL.
func smallPages() error {
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err != nil && err != unix.EINVAL {
		return fmt.Errorf("prctl PR_SET_THP_DISABLE: %w", err)
	}
	return nil
}

// read fills fresh memory by read(2), which takes at most 0x7ffff000 bytes at once.
func read(n *note.Note, o options, open func(size int64) (fd int, err error)) error {
	m, err := note.Map(o.size, o.huge)
	if err != nil {
		return err
	}
	fd, err := open(o.size)
	if err != nil {
		return err
	}
	if err := o.beginCall(n); err != nil {
		return err
	}
	for len(m) > 0 {
		got, err := unix.Read(fd, m)
		if err != nil && err != unix.EINTR {
			return err
		}
		if got == 0 {
			return fmt.Errorf("read: the file ends %d bytes early", len(m))
		}
		m = m[max(got, 0):]
	}
	return nil
}

// zero is /dev/zero: a read of it stops at a signal.
func zero(int64) (int, error) { return unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0) }

// sparse is a file in a tmpfs that takes no memory itself: a read of it stops at nothing.
func sparse(size int64) (int, error) {
	fd, err := unix.MemfdCreate("sparse", unix.MFD_CLOEXEC)
	if err != nil {
		return fd, err
	}
	return fd, unix.Ftruncate(fd, size)
}

// beginCall waits for the random moment. From then on another thread notes what the process has: this one is in a system call, which
// SIGTERM ends only where it has its default action.
func (o options) beginCall(n *note.Note) error {
	if err := fork.Prepare(); err != nil {
		return err
	}
	before := resident()
	o.begin(n)
	go func() {
		for tick := time.Tick(time.Millisecond); ; <-tick {
			n.Bytes.Store(resident() - before)
			n.Last.Store(note.Now())
		}
	}()
	return nil
}

// resident is the largest resident set of this process so far, in bytes.
func resident() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Maxrss << 10
}
