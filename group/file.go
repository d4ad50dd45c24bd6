package group

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mlrun/proc"
	"mlrun/rendezvous"
)

// The file: a head, the groups, and of the seats one column for each word and a record with what is seldom read. It has its full size from the beginning, and takes
// room as it is used.
const (
	magic    = 0x6d6c72756e670002 // "mlrung" and the version
	maxItems = 16384              // groups, and seats
	maxDepth = 64

	headSize  = 4096
	groupSize = 512 // bytes
	seatSize  = 256

	groupsAt  = headSize
	columnsAt = groupsAt + maxItems*groupSize
	seatsAt   = columnsAt + columns*maxItems*8
	fileSize  = seatsAt + maxItems*seatSize

	treeFile  = "tree"
	lockCrowd = time.Minute           // how long the lock is waited for, which is held for a millisecond at most, where there are so many processes that its holder gets no turn,
	lockSoon  = 20 * time.Millisecond // and by who has a run to look after: the next look tries again
)

// lockTime is how long the lock is waited for when its holder is stopped.
var lockTime = 2 * time.Second

// Words of the head.
const (
	hMagic   = iota
	hLastID  // the newest id
	hGroups  // how many records of groups were ever used
	hSeats   // and of seats
	hShape   // counts changes of which seats are below which groups
	hSwept   // when dead seats were looked for, by the monotonic clock
	hJoined  // counts seats
	hSweepAt // where the next look for dead seats begins
)

// Words of a group.
const (
	gID     = iota // 0: free
	gParent        // place of the parent; -1: the system's
	gOwner
	gKept
	gGroups // limits
	gProcesses
	gMemory
	gVictim
	gLabel // length of the label, and which of the two buffers has it
	gCreated
	gLabels = 16 // the buffers
)

// Columns of the seats.
const (
	cGroup    = iota // place of the group + 1; 0: free
	cBound           // bytes, at most
	cSure            // bytes, of which is known that they are used
	cProcs           // processes
	cAt              // when that was, by the monotonic clock
	cUntil           // when it is looked at next; asleep: not before it runs
	cRead            // when it was read exactly
	cDoom            // id of the group that ends it
	cDoomWhat        // Resource
	cDoomSeen
	cDoomLimit
	cHeld // 1: the limit of processes is held by the kernel
	cWant // when somebody wanted it to be read exactly, by the monotonic clock
	columns
)

// Words of a seat's record.
const (
	sNumber = iota // of the order in which they have joined
	sKind
	sPID
	sStart
	sName // its length
	sText = 8
)

const maxName = seatSize - sText*8

// asleep is cUntil of a run that no processor serves: it looks when one does.
const asleep = math.MaxInt64

// Tree is a tree of groups. All who have one directory open in a process share it. It is safe for concurrent use.
type Tree struct {
	*tree
	once sync.Once
}

type tree struct {
	dir  string
	mu   sync.Mutex // with the lock of the file, and for what follows
	fd   int
	b    []byte
	own  map[int]*Seat // seats of this process, by place
	refs int           // below trees.Mutex
	head []int64

	shardMu sync.Mutex  // of what follows
	shards  [shards]int // descriptors + 1 of the files that have the locks of seats
	closed  bool

	alone  bool // there is no file, and nobody else
	seated bool // a seat was taken by this process
}

var trees = struct {
	sync.Mutex
	byDir map[string]*tree
}{byDir: map[string]*tree{}}

// Open opens the tree in the directory dir, which is made if it is not there, for its owner only. That dir's parent is nobody else's is the caller's
// business. The superuser may open that of somebody else.
func Open(dir string) (*Tree, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	trees.Lock()
	defer trees.Unlock()
	if t := trees.byDir[dir]; t != nil && t.linked() {
		t.refs++
		return &Tree{tree: t}, nil
	}
	t, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	t.refs = 1
	trees.byDir[dir] = t
	return &Tree{tree: t}, nil
}

// Look is Open that makes nothing: where there is no tree, the one that it returns is empty, and nobody else sees what is made in it.
func Look(dir string) (*Tree, error) {
	if _, err := os.Lstat(filepath.Join(dir, treeFile)); !errors.Is(err, fs.ErrNotExist) {
		return Open(dir)
	}
	b, err := unix.Mmap(-1, 0, fileSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("groups: mmap: %w", err)
	}
	t := &tree{dir: dir, fd: -1, alone: true, b: b, head: words(b, 0, headSize/8), own: map[int]*Seat{}, refs: 1}
	t.head[hLastID] = int64(System)
	return &Tree{tree: t}, nil
}

// Close gives the tree back. With the last Close of a process for a directory, all seats of the process are void.
func (t *Tree) Close() error {
	t.once.Do(func() {
		trees.Lock()
		defer trees.Unlock()
		if t.refs--; t.refs > 0 {
			return
		}
		if trees.byDir[t.dir] == t.tree {
			delete(trees.byDir, t.dir)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, s := range t.own {
			s.end()
		}
		if !t.seated { // else it stays mapped: a seat may be in use yet
			_ = unix.Munmap(t.b)
			t.b, t.head = nil, nil
		}
		if t.fd >= 0 {
			unix.Close(t.fd)
		}
		t.closeShards()
		t.fd, t.alone = -1, false
	})
	return nil
}

// Dir is the directory of the tree.
func (t *tree) Dir() string { return t.dir }

func (t *tree) path() string { return filepath.Join(t.dir, treeFile) }

func (t *tree) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("groups: %w", &fs.PathError{Op: op, Path: t.path(), Err: err})
}

// linked tells whether the file still has its name.
func (t *tree) linked() bool {
	var mine, now unix.Stat_t
	return unix.Fstat(t.fd, &mine) == nil && unix.Stat(t.path(), &now) == nil && mine.Ino == now.Ino && mine.Dev == now.Dev
}

func openTree(dir string) (*tree, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("groups: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("groups: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	foreign := ok && int(st.Uid) != os.Geteuid()
	if !info.IsDir() || foreign && os.Geteuid() != 0 {
		return nil, fmt.Errorf("groups: %s: not a directory of user %d; choose another one with --root", dir, os.Geteuid())
	}
	flags := unix.O_RDWR | unix.O_CREAT | unix.O_CLOEXEC | unix.O_NOFOLLOW
	if foreign {
		flags &^= unix.O_CREAT // it would be a file of the superuser
	}
	t := &tree{dir: dir, own: map[int]*Seat{}}
	fd, err := rendezvous.Retry(func() (int, error) {
		return unix.Open(t.path(), flags, 0o600)
	})
	if err != nil {
		return nil, t.wrap("open", err)
	}
	t.fd = fd
	if err := t.mapFile(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return t, nil
}

// mapFile maps the file, and makes it what it is to be if it is new.
func (t *tree) mapFile() error {
	if err := t.flock(lockTime); err != nil {
		return err
	}
	defer t.funlock()
	var st unix.Stat_t
	if err := unix.Fstat(t.fd, &st); err != nil {
		return t.wrap("stat", err)
	}
	var first [8]byte
	if st.Size >= headSize {
		if _, err := rendezvous.Retry(func() (int, error) { return unix.Pread(t.fd, first[:], 0) }); err != nil {
			return t.wrap("read", err)
		}
	}
	found := *(*int64)(unsafe.Pointer(&first))
	switch {
	case found == magic && st.Size == fileSize:
	case found == 0: // new, or its maker was killed
		if err := unix.Ftruncate(t.fd, 0); err != nil {
			return t.wrap("truncate", err)
		}
		if err := unix.Ftruncate(t.fd, fileSize); err != nil {
			return t.wrap("truncate", err)
		}
		var head [headSize]byte
		w := unsafe.Slice((*int64)(unsafe.Pointer(&head)), headSize/8)
		w[hLastID], w[hMagic] = int64(System), magic
		if err := t.pwrite(head[:], 0); err != nil {
			return err
		}
	default:
		return fmt.Errorf("groups: %s: damaged, or of another version of mlrun; remove it when no run of a group is left, or choose another --root", t.path())
	}
	b, err := unix.Mmap(t.fd, 0, fileSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return t.wrap("mmap", err)
	}
	t.b, t.head = b, words(b, 0, headSize/8)
	if _, err := t.used(hGroups); err != nil {
		return err
	}
	_, err = t.used(hSeats)
	return err
}

// used is a number of records, if it can be one.
func (t *tree) used(w int) (int, error) {
	n := atomic.LoadInt64(&t.head[w])
	if n < 0 || n > maxItems {
		return 0, fmt.Errorf("groups: %s: damaged; remove it when no run of a group is left", t.path())
	}
	return int(n), nil
}

// count is used for what was looked at when the file was opened: what has become worse since is as good as nothing.
func (t *tree) count(w int) int { return int(min(max(atomic.LoadInt64(&t.head[w]), 0), maxItems)) }

func words(b []byte, at, n int) []int64 { return unsafe.Slice((*int64)(unsafe.Pointer(&b[at])), n) }

func (t *tree) group(i int) []int64 { return words(t.b, groupsAt+i*groupSize, groupSize/8) }
func (t *tree) column(c int) []int64 {
	return words(t.b, columnsAt+c*maxItems*8, maxItems)
}
func (t *tree) seat(i int) []int64 { return words(t.b, seatsAt+i*seatSize, seatSize/8) }

func (t *tree) load(c, i int) int64     { return atomic.LoadInt64(&t.column(c)[i]) }
func (t *tree) store(c, i int, n int64) { atomic.StoreInt64(&t.column(c)[i], n) }

func (t *tree) pwrite(b []byte, at int64) error {
	if t.alone {
		return nil
	}
	n, err := rendezvous.Retry(func() (int, error) { return unix.Pwrite(t.fd, b, at) })
	if err == nil && n < len(b) {
		err = unix.ENOSPC
	}
	return t.wrap("write", err)
}

// provide has room for bytes of the file made, so that a full disk is an error here and no SIGBUS later. They are zero.
func (t *tree) provide(at, n int) error { return t.pwrite(make([]byte, n), int64(at)) }

// lockByte is locked by who changes the tree.
const lockByte = 0

// flock takes the lock of the file. It waits no longer than patience, and not at all for 0; with lockTime it waits on for those that are not stopped.
func (t *tree) flock(patience time.Duration) error {
	switch {
	case t.alone:
		return nil
	case t.fd < 0:
		return ErrClosed
	}
	end := time.Now().Add(lockCrowd)
	for {
		ok, err := rendezvous.LockWithin(t.fd, lockByte, patience)
		if ok || err != nil {
			return t.wrap("lock", err)
		}
		held, pid, _ := rendezvous.Holder(t.fd, lockByte, 1)
		switch running := runs(pid); {
		case patience < lockTime || held && !running || time.Now().After(end):
			who := ""
			if held && pid > 0 {
				who = " by process " + strconv.Itoa(pid)
			}
			if held && pid > 0 && !running {
				who += ", which is stopped"
			}
			return fmt.Errorf("groups: %s: locked for %v%s", t.path(), patience, who)
		}
	}
}

// runs tells whether a process, of this pid namespace, is there and not stopped: it gets on, be it slowly, where many wait for a processor.
func runs(pid int) bool {
	st, err := proc.Root.Stat(pid)
	return err == nil && !st.Stopped()
}

func (t *tree) funlock() {
	if !t.alone {
		rendezvous.Unlock(t.fd, lockByte)
	}
}

// change calls f with the lock.
func (t *tree) change(f func() error) error { return t.changeWithin(lockTime, f) }

func (t *tree) changeWithin(patience time.Duration, f func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.flock(patience); err != nil {
		return err
	}
	defer t.funlock()
	return f()
}
