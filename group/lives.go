package group

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"mlrun/rendezvous"
)

// The locks of seats are on bytes of files seats.N, of so many seats each: whoever asks for one lock has the kernel look at every lock of the file (posix_test_lock, fs/locks.c),
// and all of them are asked for when it is looked for seats whose process has ended.
const (
	shardSeats = 64
	shards     = maxItems / shardSeats
)

// shard is the file that has the lock of a seat, and the byte. It is opened when it is needed first, and stays so: closing it would give up all locks that this process has there.
func (t *tree) shard(i int) (fd int, at int64, err error) {
	n, at := i/shardSeats, int64(i%shardSeats)
	t.shardMu.Lock()
	defer t.shardMu.Unlock()
	if t.closed {
		return -1, 0, ErrClosed
	}
	if t.shards[n] == 0 {
		path := filepath.Join(t.dir, "seats."+strconv.Itoa(n))
		fd, err := rendezvous.Retry(func() (int, error) {
			return unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
		})
		if err != nil {
			return -1, 0, &os.PathError{Op: "open", Path: path, Err: err}
		}
		t.give(fd)
		t.shards[n] = fd + 1
	}
	return t.shards[n] - 1, at, nil
}

// give makes a file that the superuser has made in somebody else's tree that user's.
func (t *tree) give(fd int) {
	if os.Geteuid() != 0 {
		return
	}
	if info, err := os.Stat(t.dir); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			_ = unix.Fchown(fd, int(st.Uid), int(st.Gid))
		}
	}
}

// closeShards gives up the locks of all seats.
func (t *tree) closeShards() {
	t.shardMu.Lock()
	defer t.shardMu.Unlock()
	t.closed = true
	for n, fd := range t.shards {
		if fd > 0 {
			unix.Close(fd - 1)
			t.shards[n] = 0
		}
	}
}

// lockSeat takes the lock of a seat.
func (t *tree) lockSeat(i int) (bool, error) {
	if t.alone {
		return true, nil
	}
	fd, at, err := t.shard(i)
	if err != nil {
		return false, err
	}
	return rendezvous.Lock(fd, at)
}

func (t *tree) unlockSeat(i int) {
	if t.alone {
		return
	}
	if fd, at, err := t.shard(i); err == nil {
		rendezvous.Unlock(fd, at)
	}
}

// lives tells whether a seat has somebody.
func (t *tree) lives(i int) bool {
	if t.own[i] != nil {
		return true
	}
	fd, at, err := t.shard(i)
	if err != nil {
		return true // nobody knows
	}
	held, _, err := rendezvous.Holder(fd, at, 1)
	return held || err != nil
}
