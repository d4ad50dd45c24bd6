// Package store keeps the state of containers in a directory: one subdirectory for each container, whose creation claims the
// id.
//
// # What it does
//
//	ROOT/ID/state.json   replaced atomically (rename), with a version
//	ROOT/ID/...          whatever the caller keeps beside it
//
// ROOT is private to its owner (0700) and is refused when somebody else owns it. Two creators of one id: mkdir(2) lets
// exactly one of them through. Whoever removes a container holds its lock, flock(2) on its directory, which the kernel gives back
// when the holder dies; and so does who creates one until it has its first state: nobody meets one that is only half there.
//
// # What it does not
//
// It does not sync to disk: the state describes processes, and after a power failure there are none. It does not interpret the
// state, and derives nothing from it.
package store

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Version is the version of state.json. A state of a newer version is not touched.
const Version = 1

// Errors, with the texts that clients of OCI runtimes match.
var (
	ErrNotExist = errors.New("container does not exist")
	ErrExist    = errors.New("container with given ID already exists")
)

// CorruptError is a state that cannot be used.
type CorruptError struct {
	Path   string
	Reason string
}

func (e *CorruptError) Error() string {
	return e.Path + ": " + e.Reason + "; mlrun delete --force removes the container"
}

// Store is a state directory.
type Store struct{ root string }

// DefaultRoot is the state directory of the calling user: $XDG_RUNTIME_DIR/mlrun, else for root /run/mlrun, on macOS /var/run/mlrun, else on macOS
// $TMPDIR/mlrun-UID, else /tmp/mlrun-UID.
func DefaultRoot() string { return defaultRoot(runtime.GOOS, os.Geteuid(), os.Getenv) }

// defaultRoot passes over what is no absolute path.
func defaultRoot(goos string, uid int, getenv func(string) string) string {
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "mlrun")
	}
	darwin, own := goos == "darwin", "mlrun-"+strconv.Itoa(uid)
	switch dir := getenv("TMPDIR"); {
	case uid == 0 && darwin:
		return "/var/run/mlrun" // there is no /run
	case uid == 0:
		return "/run/mlrun"
	case darwin && filepath.IsAbs(dir): // the user's own there (confstr(3), _CS_DARWIN_USER_TEMP_DIR)
		return filepath.Join(dir, own)
	}
	return filepath.Join("/tmp", own)
}

// Open opens the state directory root. It need not exist: it is created with the first container.
func Open(root string) (*Store, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	return &Store{root: abs}, nil
}

// Root is the absolute path of the state directory.
func (s *Store) Root() string { return s.root }

// Check tells whether the state directory, if it is there, may be used.
func (s *Store) Check() error {
	if err := s.check(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// check refuses a root that is not a directory of the calling user: in /tmp anybody could have put it there.
func (s *Store) check() error {
	info, err := os.Lstat(s.root)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		// A link is as good as what it points to, if the user made it.
		if ok && int(st.Uid) == os.Geteuid() {
			return nil
		}
		return fmt.Errorf("state directory %s: a symbolic link of user %d; choose another one with --root", s.root, st.Uid)
	case !info.IsDir():
		return fmt.Errorf("state directory %s: not a directory; choose another one with --root", s.root)
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("state directory %s: owned by user %d, not by %d; choose another one with --root", s.root, st.Uid, os.Geteuid())
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("state directory %s: writable by others (%v); chmod 700 it, or choose another one with --root", s.root, info.Mode().Perm())
	}
	return nil
}

// CheckID tells what is wrong with a container id: it must match [A-Za-z0-9_+.-]{1,1024} and be neither . nor ..
func CheckID(id string) error {
	bad := ""
	switch {
	case id == "":
		bad = "empty"
	case len(id) > 1024:
		bad = strconv.Itoa(len(id)) + " characters long"
	case id == "." || id == "..":
		bad = "a directory's name"
	}
	for _, c := range id {
		if bad != "" {
			break
		}
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '+' || c == '.' || c == '-') {
			bad = fmt.Sprintf("contains %q", c)
		}
	}
	if bad == "" {
		return nil
	}
	if len(id) > 40 {
		id = id[:40] + "..."
	}
	return fmt.Errorf("invalid container id %q: %s; want 1 to 1024 characters of A-Z a-z 0-9 _ + . - that are no directory's name", id, bad)
}

// name is the directory of an id. Ids may be longer than file names: such a one is kept under its hash, with the id in a file.
func name(id string) string {
	if len(id) <= maxName {
		return id
	}
	h := fnv.New128a()
	h.Write([]byte(id))
	return longMark + hex.EncodeToString(h.Sum(nil))
}

const (
	maxName  = 200
	longMark = "~" // in no id
	idFile   = "id"
)

// Dir is the directory of one container.
type Dir struct {
	ID   string
	path string
	held *os.File // the lock, from Create to the first state
}

// Path is the path of a file in the directory.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Ready makes the state directory if there is none, and tells whether Create would be permitted to use it.
func (s *Store) Ready() error {
	if err := s.make(); err != nil {
		return err
	}
	const wx = 3 // W_OK and X_OK of access(2)
	if err := syscall.Access(s.root, wx); err != nil {
		return fmt.Errorf("state directory: %w", &fs.PathError{Op: "access", Path: s.root, Err: err})
	}
	return nil
}

func (s *Store) make() error {
	err := os.MkdirAll(s.root, 0o700)
	if wrong := s.check(); wrong != nil && (err == nil || !errors.As(wrong, new(*fs.PathError))) {
		return wrong // it is there, and no directory of the user's
	}
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}

// Create claims id, and holds its lock until the first state is written. The error is ErrExist when the id is taken.
func (s *Store) Create(id string) (*Dir, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	path := filepath.Join(s.root, name(id))
	if err := s.make(); err != nil {
		return nil, err
	}
	d := &Dir{ID: id, path: path}
	for ours := false; !ours; {
		err := os.Mkdir(path, 0o700)
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("%s: %w", id, ErrExist)
		}
		if err == nil {
			ours, err = d.hold()
		}
		if err != nil {
			return nil, fmt.Errorf("state directory: %w", err)
		}
	}
	if len(id) > maxName {
		if err := os.WriteFile(d.Path(idFile), []byte(id), 0o600); err != nil {
			return nil, errors.Join(fmt.Errorf("state directory: %w", err), d.Remove())
		}
	}
	return d, nil
}

// hold locks a directory that was just made. false: somebody has removed it before, and there may be one of somebody else by now.
func (d *Dir) hold() (bool, error) {
	f, err := os.Open(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_ = flock(f, syscall.LOCK_EX) // a file system without locks has no lock to wait for either
	if _, err := os.Lstat(d.Path(stateFile)); err == nil || !d.is(f) {
		f.Close()
		return false, nil
	}
	d.held = f
	return true, nil
}

// letGo gives the lock of Create back.
func (d *Dir) letGo() {
	if d.held != nil {
		d.held.Close()
		d.held = nil
	}
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}

// Get finds the container id. The error is ErrNotExist when there is none.
func (s *Store) Get(id string) (*Dir, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	path := filepath.Join(s.root, name(id))
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", id, ErrNotExist)
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, &CorruptError{path, "not a directory"}
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s: owned by user %d, not by %d: permission denied", path, st.Uid, os.Geteuid())
	}
	return &Dir{ID: id, path: path}, nil
}

// List returns the ids of all containers, sorted.
func (s *Store) List() ([]string, error) {
	if err := s.check(); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		id := e.Name()
		if strings.HasPrefix(id, longMark) {
			b, err := os.ReadFile(filepath.Join(s.root, id, idFile))
			if err != nil {
				continue // being created or removed
			}
			id = string(b)
		}
		if e.IsDir() && CheckID(id) == nil {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	return ids, nil
}

const stateFile = "state.json"

// envelope lets the version be read before anything else.
type envelope struct {
	Version int             `json:"version"`
	State   json.RawMessage `json:"state"`
}

// A state of this version has this before it and after it. Who reads many is spared reading each twice by that.
var before, after = `{"version":` + strconv.Itoa(Version) + `,"state":`, "}\n"

// Write replaces the state atomically.
func (d *Dir) Write(state any) error {
	b, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return d.WriteState(b)
}

// WriteState is Write for a state that is JSON already.
func (d *Dir) WriteState(b []byte) error {
	err := d.WriteFile(stateFile, slices.Concat([]byte(before), b, []byte(after)))
	if err == nil {
		d.letGo()
	}
	return err
}

// WriteFile replaces a file in the directory atomically: readers see the old content or the new one.
func (d *Dir) WriteFile(name string, data []byte) error {
	return WriteFile(d.Path(name), data, 0o600)
}

// WriteFile replaces the file path atomically.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	tmp := path + ".tmp-" + strconv.Itoa(os.Getpid())
	err := os.WriteFile(tmp, data, perm)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// Read reads the state. The error is a *CorruptError when it is truncated or of a newer version, and fs.ErrNotExist when
// the container has none yet.
func (d *Dir) Read(state any) error {
	b, err := os.ReadFile(d.Path(stateFile))
	if err != nil {
		return err
	}
	if s, ok := bytes.CutPrefix(b, []byte(before)); ok {
		if s, ok = bytes.CutSuffix(s, []byte(after)); ok && json.Unmarshal(s, state) == nil {
			return nil
		}
	}
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return &CorruptError{d.Path(stateFile), "damaged: " + err.Error()}
	}
	if e.Version > Version {
		return &CorruptError{d.Path(stateFile), fmt.Sprintf("written by a newer mlrun (version %d, this one reads %d)", e.Version, Version)}
	}
	if e.Version < 1 || len(e.State) == 0 {
		return &CorruptError{d.Path(stateFile), "damaged: no version or no state in it"}
	}
	if err := json.Unmarshal(e.State, state); err != nil {
		return &CorruptError{d.Path(stateFile), "damaged: " + err.Error()}
	}
	return nil
}

// Lock waits for the container's lock and returns the function that gives it back.
func (d *Dir) Lock() (unlock func(), err error) { return d.lock(syscall.LOCK_EX) }

// TryLock is Lock that does not wait: the error is EWOULDBLOCK while somebody else has the lock.
func (d *Dir) TryLock() (unlock func(), err error) { return d.lock(syscall.LOCK_EX | syscall.LOCK_NB) }

// lock locks the directory that has the name once it is locked: the one before may have been removed while this one waited.
func (d *Dir) lock(how int) (unlock func(), err error) {
	for {
		f, err := os.Open(d.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", d.ID, ErrNotExist)
		}
		if err != nil {
			return nil, err
		}
		if err := flock(f, how); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", d.path, err)
		}
		if d.is(f) {
			return func() { f.Close() }, nil
		}
		f.Close()
	}
}

// is tells whether an open directory is the one of this name.
func (d *Dir) is(f *os.File) bool {
	mine, err := f.Stat()
	now, gone := os.Lstat(d.path)
	return err == nil && gone == nil && os.SameFile(mine, now)
}

// Discard removes the container in one step for everybody else, also for a supervisor that is only about to write to it: it moves away first.
func (d *Dir) Discard() error {
	root := filepath.Dir(d.path)
	moved := filepath.Join(root, fmt.Sprintf("%s%d-%d", discarded, os.Getpid(), time.Now().UnixNano()))
	switch err := os.Rename(d.path, moved); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if err := (&Dir{ID: d.ID, path: moved}).Remove(); err != nil {
		return err
	}
	sweep(root)
	return nil
}

// discarded is what the names of directories begin with that have moved away to be removed; that of no id does.
const discarded = longMark + "gone-"

// Sweep removes what is left of containers whose removal was interrupted. Discard does, too.
func (s *Store) Sweep() {
	if s.check() == nil {
		sweep(s.root)
	}
}

// sweep may meet those who remove the same: they do not mind each other.
func sweep(root string) {
	f, err := os.Open(root)
	if err != nil {
		return
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, n := range names {
		if strings.HasPrefix(n, discarded) {
			_ = (&Dir{path: filepath.Join(root, n)}).Remove()
		}
	}
}

// Remove removes the container. From the first moment on it is not found any more; an interrupted removal leaves nothing
// that is in the way.
func (d *Dir) Remove() error {
	defer d.letGo()
	// state.json goes last: a half-removed container is still one.
	f := d.held // which also whoever is out of descriptors has
	if f == nil {
		var err error
		if f, err = os.Open(d.path); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		defer f.Close()
	}
	entries, err := f.ReadDir(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // somebody else has removed it
		return err
	}
	for _, e := range entries {
		if e.Name() != stateFile && !e.IsDir() {
			if err := os.Remove(d.Path(e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if err := os.Remove(d.Path(stateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(d.path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}
