package groupfs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"mlrun/group"
	"mlrun/group/fuse"
	"mlrun/proc"

	"golang.org/x/sys/unix"
)

// What a node is, in its lowest three bits; the others are the id of the group, or 0 for the caller's own. So the root directory is fuse.Root.
const (
	dir = iota + 1
	ctl
	clone
	swtch
	status
	failure
	groups
	kinds = 8
)

// names are the files of a group.
var names = [kinds]string{ctl: "ctl", clone: "clone", swtch: "switch", status: "status", failure: "error", groups: "groups"}

func node(id group.ID, kind int) uint64 { return uint64(id)*kinds + uint64(kind) }

func parts(n uint64) (id group.ID, kind int) { return group.ID(n / kinds), int(n % kinds) }

// FS serves a tree. New makes it.
type FS struct {
	tree  *group.Tree
	proc  proc.FS
	start int64
	log   func(string)
	who   *movers

	mu   sync.Mutex
	fail map[group.ID]string // the last failure, by the group that it was about
}

// New makes a file system of a tree. log gets a line for each failure, and for each process that is ended. Close it.
func New(tree *group.Tree, log func(string)) *FS {
	f := &FS{tree: tree, proc: proc.Root, start: time.Now().Unix(), log: log, fail: map[group.ID]string{}}
	f.who = newMovers(f)
	return f
}

// Close ends the counting of those who have moved. Call it after the server has ended.
func (f *FS) Close() { f.who.close() }

// file is an open file.
type file struct {
	kind int
	id   group.ID
	ref  *group.Seat // of clone: the reference to the new group
}

// own replaces 0 by the caller's group.
func (f *FS) own(c fuse.Caller, id group.ID) group.ID {
	if id != 0 {
		return id
	}
	return f.who.groupOf(c.PID)
}

// Attr tells about a node.
func (f *FS) Attr(c fuse.Caller, n uint64) (fuse.Attr, error) {
	id, kind := parts(n)
	a := fuse.Attr{Node: n, Changed: f.start}
	if kind == dir || kind == groups && id == 0 {
		a.Dir, a.Perm = true, 0o555
		if kind == groups || id == 0 {
			a.UID, a.GID = uint32(os.Getuid()), uint32(os.Getgid())
			return a, nil
		}
	}
	info, err := f.tree.Status(f.own(c, id))
	if err != nil {
		return a, errno(err)
	}
	a.UID, a.Changed = uint32(info.Owner), max(info.Created.Unix(), 0)
	open := info.ID == group.System
	switch kind {
	case dir:
	case ctl:
		a.Perm = 0o644
		if open {
			a.Perm = 0o444
		}
	case clone, swtch:
		a.Perm = 0o600
		if open || id == 0 {
			a.Perm = 0o666
		}
	case status, failure:
		a.Perm = 0o444
	default:
		return a, unix.ENOENT
	}
	return a, nil
}

// Lookup finds a name in a directory.
func (f *FS) Lookup(c fuse.Caller, parent uint64, name string) (fuse.Attr, error) {
	id, kind := parts(parent)
	if kind == groups && id == 0 {
		n, err := strconv.ParseInt(name, 10, 64)
		if err != nil || n <= 0 || strconv.FormatInt(n, 10) != name || n > 1<<60 {
			return fuse.Attr{}, unix.ENOENT
		}
		return f.Attr(c, node(group.ID(n), dir))
	}
	if kind != dir {
		return fuse.Attr{}, unix.ENOTDIR
	}
	for k, own := range names {
		if own == name && own != "" && (k != groups || id == 0) {
			return f.Attr(c, node(id, k))
		}
	}
	return fuse.Attr{}, unix.ENOENT
}

// List lists a directory.
func (f *FS) List(_ fuse.Caller, n uint64) (list []fuse.Entry, err error) {
	id, kind := parts(n)
	switch {
	case kind == groups && id == 0:
		infos, err := f.tree.List()
		if err != nil {
			return nil, errno(err)
		}
		for _, i := range infos {
			list = append(list, fuse.Entry{Name: strconv.FormatInt(int64(i.ID), 10), Node: node(i.ID, dir), Dir: true})
		}
	case kind == dir:
		for k, name := range names {
			if name != "" && (k != groups || id == 0) {
				list = append(list, fuse.Entry{Name: name, Node: node(id, k), Dir: k == groups})
			}
		}
	default:
		return nil, unix.ENOTDIR
	}
	return list, nil
}

// Open opens a file, which is what makes, or joins, a group.
func (f *FS) Open(c fuse.Caller, n uint64, flags int) (any, error) {
	id, kind := parts(n)
	o := &file{kind: kind, id: f.own(c, id)}
	info, err := f.tree.Status(o.id)
	if err != nil {
		return nil, errno(err)
	}
	writes := flags&unix.O_ACCMODE != unix.O_RDONLY
	switch kind {
	case ctl:
		if writes {
			err = change(c, &info)
		}
	case clone:
		if err = f.enter(c, &info); err == nil {
			o.id, o.ref, err = f.who.clone(c, o.id)
		}
	case swtch:
		if err = enter(c, &info, false); err == nil {
			err = f.who.move(c, o.id)
		}
	case status, failure:
		if writes {
			return nil, unix.EACCES
		}
	default:
		return nil, unix.EISDIR
	}
	if err != nil {
		return nil, f.failed(c, info.ID, names[kind], err)
	}
	return o, nil
}

// errOwner is an operation on the group of somebody else.
var errOwner = fmt.Errorf("the group is not the caller's: %w", unix.EPERM)

// change tells whether a caller may change a group.
func change(c fuse.Caller, i *group.Info) error {
	if i.ID == group.System {
		return group.ErrSystem
	}
	return enter(c, i, false)
}

// enter tells whether a caller may join a group, or with inside, make one below it.
func enter(c fuse.Caller, i *group.Info, inside bool) error {
	if c.UID == 0 || i.ID == group.System || inside || int64(c.UID) == int64(i.Owner) {
		return nil
	}
	return errOwner
}

func (f *FS) enter(c fuse.Caller, i *group.Info) error {
	err := enter(c, i, false)
	if err != nil && f.who.groupOf(c.PID) == i.ID {
		return nil
	}
	return err
}

// Content is what a file has.
func (f *FS) Content(_ fuse.Caller, open any) ([]byte, error) {
	o := open.(*file)
	if o.kind == failure {
		f.mu.Lock()
		defer f.mu.Unlock()
		return []byte(f.fail[o.id]), nil
	}
	info, err := f.tree.Status(o.id)
	if err != nil {
		return nil, errno(err)
	}
	if o.kind == status {
		return []byte(Status(&info, int64(os.Getpagesize()))), nil
	}
	return fmt.Appendf(nil, "%d\n", o.id), nil
}

// Write does what commands say.
func (f *FS) Write(c fuse.Caller, open any, data []byte) error {
	o := open.(*file)
	if o.kind != ctl {
		return f.failed(c, o.id, names[o.kind], fmt.Errorf("%w: commands are written to ctl", group.ErrInvalid))
	}
	info, err := f.tree.Status(o.id)
	if err == nil {
		err = change(c, &info) // again: the descriptor may be somebody else's by now
	}
	var ch group.Change
	if err == nil {
		ch, err = Parse(data)
	}
	if err == nil {
		err = f.tree.Set(o.id, ch)
	}
	if err != nil {
		return f.failed(c, o.id, names[ctl], err)
	}
	return nil
}

// Release gives up what an open file refers to.
func (f *FS) Release(open any) {
	if o := open.(*file); o.ref != nil {
		o.ref.Leave()
	}
}

// maxFailures is of how many groups the last failure is known.
const maxFailures = 1024

// failed notes a failure, and makes an errno of it.
func (f *FS) failed(c fuse.Caller, id group.ID, name string, err error) error {
	text := fmt.Sprintf("%s: process %d: %s\n", name, c.PID, strings.ReplaceAll(err.Error(), "\n", " "))
	f.mu.Lock()
	if _, known := f.fail[id]; !known && len(f.fail) >= maxFailures {
		for other := range f.fail { // any
			delete(f.fail, other)
			break
		}
	}
	f.fail[id] = text
	f.mu.Unlock()
	f.log(fmt.Sprintf("group %d: %s", id, strings.TrimSuffix(text, "\n")))
	return errno(err)
}

// errno is what the caller gets.
func errno(err error) error {
	var e unix.Errno
	for _, m := range []struct {
		is  error
		get unix.Errno
	}{
		{group.ErrNotExist, unix.ENOENT}, {group.ErrSystem, unix.EPERM}, {group.ErrGroups, unix.EDQUOT}, {group.ErrProcesses, unix.EDQUOT},
		{group.ErrMemory, unix.EDQUOT}, {group.ErrFull, unix.ENOSPC}, {group.ErrInvalid, unix.EINVAL}, {group.ErrBusy, unix.EBUSY},
	} {
		if errors.Is(err, m.is) {
			return m.get
		}
	}
	if errors.As(err, &e) {
		return e
	}
	return unix.EIO
}
