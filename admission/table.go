package admission

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/rendezvous"
)

const (
	tableFile = "line"
	lockTime  = time.Second // how long the lock of the table is waited for: it is held for microseconds, unless its holder was stopped just then
)

var (
	errBusy = errors.New("locked for a second")
	errFull = errors.New("full")
)

// table is the file of a line. It is not safe for concurrent use. Where nothing else is said, methods need the lock.
type table struct {
	dir   string
	fd    int // -1: not open
	proc  int // number of this process in it; -1: none yet
	head  header
	list  []record // head.size of them
	raw   []byte
	epoch uint64
	fresh bool // it was opened or made anew, by anybody, since the last call of renewed
}

func openTable(dir string) (*table, error) {
	t := &table{dir: dir, fd: -1, raw: make([]byte, 32*recordSize)}
	return t, t.open()
}

func (t *table) path() string { return filepath.Join(t.dir, tableFile) }

// wrap says of an error which file it is about.
func (t *table) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("admission: %w", &fs.PathError{Op: op, Path: t.path(), Err: err})
}

func (t *table) open() error {
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return fmt.Errorf("admission: %w", err)
	}
	fd, err := rendezvous.Retry(func() (int, error) {
		return unix.Open(t.path(), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	})
	if err != nil {
		return t.wrap("open", err)
	}
	t.fd, t.proc, t.fresh = fd, -1, true
	return nil
}

// close gives the file back, and with it every lock of this process on it: there must be no other descriptor for it (fcntl(2)).
func (t *table) close() {
	if t.fd >= 0 {
		unix.Close(t.fd)
	}
	t.fd, t.proc = -1, -1
}

// What is locked: a byte by who changes the table, and one by each process that is in it, from firstProc on.
const (
	lockByte  = 0
	firstProc = 1
)

// lock locks the table and reads it. One that was removed is made anew. The error is errBusy when somebody else has the lock for longer than patience.
func (t *table) lock(patience time.Duration) error {
	if t.fd < 0 {
		if err := t.open(); err != nil {
			return err
		}
	}
	ok, err := rendezvous.LockWithin(t.fd, lockByte, patience)
	switch {
	case err != nil:
		return t.wrap("lock", err)
	case !ok:
		return t.busy()
	}
	var st unix.Stat_t
	if err := unix.Fstat(t.fd, &st); err == nil && st.Nlink == 0 {
		t.close()
		return t.lock(patience)
	}
	if err = t.read(st.Size); err != nil {
		t.unlock()
	}
	return err
}

func (t *table) unlock() { rendezvous.Unlock(t.fd, lockByte) }

// busy says who has the lock, as far as that can be known.
func (t *table) busy() error {
	if held, pid, _ := rendezvous.Holder(t.fd, lockByte, 1); held && pid > 0 {
		return fmt.Errorf("admission: %s: %w by process %d; is it stopped?", t.path(), errBusy, pid)
	}
	return fmt.Errorf("admission: %s: %w", t.path(), errBusy)
}

// read reads what the table has, and makes it anew if that is nothing that can be used.
func (t *table) read(size int64) error {
	found := uint32(0)
	if size >= recordSize {
		n, err := t.pread(t.raw, 0)
		if err != nil {
			return err
		}
		if found = t.head.decode(t.raw[:n]); found == version {
			want := (1 + t.head.size) * recordSize
			if want > len(t.raw) {
				t.raw = append(t.raw, make([]byte, 2*want-len(t.raw))...)
				if n, err = t.pread(t.raw[:want], 0); err != nil {
					return err
				}
			}
			clear(t.raw[n:]) // a file that was cut off
		}
	}
	if found != version {
		return t.renew(found)
	}
	if t.head.epoch != t.epoch {
		t.epoch, t.fresh = t.head.epoch, true
	}
	t.list = t.list[:0]
	for i := range t.head.size {
		var r record
		r.decode(t.raw[(1+i)*recordSize:])
		t.list = append(t.list, r)
	}
	return nil
}

// renew makes an empty table, unless there are processes that use one of another version.
func (t *table) renew(found uint32) error {
	if found != 0 {
		if held, pid, _ := rendezvous.Holder(t.fd, firstProc, maxRecords); held {
			return fmt.Errorf("admission: %s: of version %d, this mlrun has %d, and process %d uses it; wait for its end, or choose another --root", t.path(), found, version, pid)
		}
	}
	if err := unix.Ftruncate(t.fd, 0); err != nil {
		return t.wrap("truncate", err)
	}
	now := time.Now().UnixNano()
	t.head, t.list = header{epoch: uint64(now) ^ uint64(os.Getpid())<<40}, t.list[:0]
	t.epoch, t.fresh = t.head.epoch, true
	return t.writeHead()
}

// renewed tells, once, that the tickets of this process have to be put back.
func (t *table) renewed() bool {
	f := t.fresh
	t.fresh = false
	return f
}

func (t *table) pread(b []byte, at int64) (int, error) {
	n, err := rendezvous.Retry(func() (int, error) { return unix.Pread(t.fd, b, at) })
	return max(n, 0), t.wrap("read", err)
}

func (t *table) pwrite(b []byte, at int64) error {
	n, err := rendezvous.Retry(func() (int, error) { return unix.Pwrite(t.fd, b, at) })
	if err == nil && n < len(b) {
		err = unix.ENOSPC
	}
	return t.wrap("write", err)
}

func (t *table) writeHead() error {
	var b [recordSize]byte
	t.head.encode(b[:])
	return t.pwrite(b[:], 0)
}

// write writes record i.
func (t *table) write(i int) error {
	var b [recordSize]byte
	t.list[i].encode(b[:])
	return t.pwrite(b[:], int64(1+i)*recordSize)
}

// put stores a record in a free place, and returns that. The ticket's number is changed if there is one like it.
func (t *table) put(r *record) (int, error) {
	i := -1
	for n := range t.list {
		if t.list[n].state == free && i < 0 {
			i = n
		}
		if t.list[n].state != free && t.list[n].ticket == r.ticket {
			r.ticket++
			return t.put(r)
		}
	}
	if i < 0 {
		if i = len(t.list); i == maxRecords {
			return -1, fmt.Errorf("admission: %s: %w: %d starts wait or have a reservation", t.path(), errFull, maxRecords)
		}
		// The record first: the header makes it one of the table.
		t.list = append(t.list, *r)
		if err := t.write(i); err != nil {
			t.list = t.list[:i]
			return -1, err
		}
		t.head.size = len(t.list)
		return i, t.writeHead()
	}
	t.list[i] = *r
	if err := t.write(i); err != nil {
		t.list[i] = record{}
		return -1, err
	}
	return i, nil
}

// drop frees record i, and gives back what is free at the end.
func (t *table) drop(i int) error {
	t.list[i] = record{}
	if i < len(t.list)-1 {
		return t.write(i)
	}
	for i >= 0 && t.list[i].state == free {
		i--
	}
	t.list = t.list[:i+1]
	t.head.size = len(t.list)
	return t.writeHead()
}

// enter gives this process a number, if it has none: the first that nobody has locked. What is left of who had it before is dropped.
func (t *table) enter() error {
	if t.proc >= 0 {
		return nil
	}
	for n := range maxRecords {
		ok, err := rendezvous.Lock(t.fd, int64(firstProc+n))
		if err != nil {
			return t.wrap("lock", err)
		}
		if ok {
			t.proc = n
			return t.dropAll(func(r *record) bool { return int(r.proc) == n })
		}
	}
	return fmt.Errorf("admission: %s: %w: %d processes use it", t.path(), errFull, maxRecords)
}

// dropAll drops the records that are dead.
func (t *table) dropAll(dead func(*record) bool) error {
	for i := len(t.list) - 1; i >= 0; i-- {
		if i >= len(t.list) {
			continue // given back with one behind it
		}
		if t.list[i].state != free && dead(&t.list[i]) {
			if err := t.drop(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// alive tells whether the process of that number lives: its lock is there.
func (t *table) alive(proc uint32) bool {
	lives, _ := t.holder(proc)
	return lives
}

// holder tells, too, which process it is; 0: this one, or one of another pid namespace (fcntl(2): F_GETLK).
func (t *table) holder(proc uint32) (lives bool, pid int) {
	if int(proc) == t.proc {
		return true, 0
	}
	held, pid, err := rendezvous.Holder(t.fd, int64(firstProc)+int64(proc), 1)
	return held || err != nil, pid
}

// sweep drops the records of all processes that have died.
func (t *table) sweep() error {
	known := make(map[uint32]bool)
	return t.dropAll(func(r *record) bool {
		lives, ok := known[r.proc]
		if !ok {
			lives = t.alive(r.proc)
			known[r.proc] = lives
		}
		return !lives
	})
}
