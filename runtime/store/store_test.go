package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"mlrun/internal/asnobody"
)

type facts struct {
	Name string `json:"name"`
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s *Store, id string) *Dir {
	t.Helper()
	d, err := s.Create(id)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDefaultRoot(t *testing.T) {
	const folder = "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T/"
	for _, test := range []struct {
		goos         string
		uid          int
		xdg, tmp     string
		want, reason string
	}{
		{"linux", 1000, "/run/user/1000", folder, "/run/user/1000/mlrun", "what the user has chosen"},
		{"linux", 1000, "", folder, "/tmp/mlrun-1000", "a temporary directory of the moment is none of Linux"},
		{"linux", 1000, "run", "", "/tmp/mlrun-1000", "a relative path means another directory everywhere"},
		{"linux", 0, "", "", "/run/mlrun", "root"},
		{"darwin", 501, "/x", folder, "/x/mlrun", "what the user has chosen"},
		{"darwin", 501, "", folder, folder + "mlrun-501", "the directory of the user"},
		{"darwin", 501, "", "", "/tmp/mlrun-501", "without one"},
		{"darwin", 501, "", "tmp", "/tmp/mlrun-501", "a relative path means another directory everywhere"},
		{"darwin", 0, "", folder, "/var/run/mlrun", "root"},
	} {
		env := map[string]string{"XDG_RUNTIME_DIR": test.xdg, "TMPDIR": test.tmp}
		if got := defaultRoot(test.goos, test.uid, func(name string) string { return env[name] }); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	s := open(t)
	if ids, err := s.List(); err != nil || len(ids) != 0 {
		t.Fatalf("before the first: %v, %v", ids, err)
	}
	long := strings.Repeat("x", 1024)
	for _, id := range []string{"b", "a", long, "..x", "A_z+9.-"} {
		d := create(t, s, id)
		if err := d.Write(facts{id}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Create(id); !errors.Is(err, ErrExist) {
			t.Errorf("created twice: %v", err)
		}
		d, err := s.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		var f facts
		if err := d.Read(&f); err != nil || f.Name != id {
			t.Errorf("read %q, %v", f.Name, err)
		}
	}
	if ids, err := s.List(); err != nil || !slices.Equal(ids, []string{"..x", "A_z+9.-", "a", "b", long}) {
		t.Errorf("list %.60q, %v", ids, err)
	}
	for _, id := range []string{"a", long} {
		d, _ := s.Get(id)
		if err := d.Remove(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(id); !errors.Is(err, ErrNotExist) {
			t.Errorf("after removal: %v", err)
		}
	}
}

func TestIDs(t *testing.T) {
	s := open(t)
	for _, id := range []string{"", ".", "..", "a/b", "/", "a b", "ü", "a\n", "a\x00", strings.Repeat("y", 1025)} {
		_, err := s.Create(id)
		if err == nil {
			t.Errorf("%.20q was created", id)
			continue
		}
		if strings.Contains(err.Error(), "\n") || len(err.Error()) > 300 {
			t.Errorf("%.20q: %v", id, err)
		}
		if _, err := s.Get(id); err == nil {
			t.Errorf("%.20q was found", id)
		}
	}
	if _, err := os.Stat(s.Root()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a bad id left a state directory")
	}
}

func TestOneCreatorWins(t *testing.T) {
	s := open(t)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := s.Create("same"); err == nil {
				won.Add(1)
			} else if !errors.Is(err, ErrExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d creators won", won.Load())
	}
}

// TestHalfCreated looks at a container that has no state yet: its lock is its creator's until it has one, or until that gives up.
func TestHalfCreated(t *testing.T) {
	s := open(t)
	d := create(t, s, "x")
	if _, err := d.TryLock(); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("before the first state: %v, want it to be locked", err)
	}
	if err := d.Write(1); err != nil {
		t.Fatal(err)
	}
	unlock, err := d.TryLock()
	if err != nil {
		t.Fatalf("with a state: %v", err)
	}
	unlock()
	if err := create(t, s, "y").Remove(); err != nil {
		t.Fatal(err)
	}
	create(t, s, "y")
}

// TestCreateMeetsDelete lets many create and delete the same id. Who has claimed it finds its own state, until it has one nobody removes it, and
// nobody removes that of somebody else.
func TestCreateMeetsDelete(t *testing.T) {
	s := open(t)
	var wg sync.WaitGroup
	var over atomic.Bool
	for range 4 {
		wg.Go(func() {
			for !over.Load() {
				d, err := s.Get("same")
				if errors.Is(err, ErrNotExist) {
					continue
				}
				unlock, err := d.TryLock()
				if err != nil {
					continue
				}
				var n int
				if d.Read(&n) == nil && n < 0 {
					if err := d.Discard(); err != nil {
						t.Error(err)
					}
				} else if _, err := os.Stat(d.Path(stateFile)); n == 0 && errors.Is(err, fs.ErrNotExist) {
					_ = d.Discard() // what nobody has the lock of was left half done, or was removed
				}
				unlock()
			}
		})
	}
	var creators sync.WaitGroup
	for i := range 4 {
		creators.Go(func() {
			for n := 1 + 1000*i; n < 200+1000*i; n++ {
				d, err := s.Create("same")
				if errors.Is(err, ErrExist) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				var got int
				if err := errors.Join(d.Write(n), d.Read(&got)); err != nil || got != n {
					t.Errorf("%d is %d: %v", n, got, err)
				}
				if err := d.Write(-n); err != nil {
					t.Errorf("the state of %d is gone: %v", n, err)
				}
			}
		})
	}
	creators.Wait()
	over.Store(true)
	wg.Wait()
}

// TestInterruptedDiscard leaves what a process leaves that is killed while it removes a container.
func TestInterruptedDiscard(t *testing.T) {
	s := open(t)
	rest := func(name string) {
		for _, file := range []string{"state.json", "config.json"} {
			os.Mkdir(filepath.Join(s.Root(), name), 0o700)
			if err := os.WriteFile(filepath.Join(s.Root(), name, file), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(what string, want ...string) {
		t.Helper()
		entries, err := os.ReadDir(s.Root())
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("%s: %q, %v, want %q", what, names, err, want)
		}
	}
	s.Sweep() // nothing is there
	create(t, s, "stays")
	var dirs []*Dir
	for _, id := range strings.Fields("a b c d e f") {
		dirs = append(dirs, create(t, s, id))
	}
	rest("~gone-1-1")
	rest("~gone-1-2")
	if ids, err := s.List(); err != nil || len(ids) != 7 {
		t.Errorf("listed: %q, %v", ids, err)
	}
	var wg sync.WaitGroup
	for _, d := range dirs {
		wg.Go(func() {
			if err := d.Discard(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	check("after discards", "stays")
	rest("~gone-1-3")
	s.Sweep()
	check("after a sweep", "stays")
}

func TestDamagedState(t *testing.T) {
	s := open(t)
	for content, want := range map[string]string{
		"":                                   "damaged",
		`{"version":1,"state":{"na`:          "damaged",
		`{"version":99,"state":{}}`:          "newer mlrun",
		`{"state":{}}`:                       "damaged",
		`{"version":1,"state":[1]}`:          "damaged",
		`[]`:                                 "damaged",
		`{"version":1,"state":{}}{}` + "}\n": "damaged",
		`{"version":1,"state":{},"version":99` + "}\n": "newer mlrun",
		`{"version":1,"state":{"name":1}` + "}\n":      "damaged",
		"\x00\x00\x00\x00\x00\x00\x00":                 "damaged",
	} {
		d, err := s.Create("x")
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(d.Path("state.json"), []byte(content), 0o600)
		var f facts
		err = d.Read(&f)
		var bad *CorruptError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "delete --force") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", content, err)
		}
		if err := d.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	d := create(t, s, "none")
	if err := d.Read(&facts{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a state: %v", err)
	}
}

func TestRootOfSomebodyElse(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("takes root to make a directory of somebody else")
	}
	s := open(t)
	os.MkdirAll(s.Root(), 0o700)
	os.Chown(s.Root(), asnobody.ID, asnobody.ID)
	if _, err := s.Create("x"); err == nil || !strings.Contains(err.Error(), "owned by user 65534") {
		t.Errorf("create: %v", err)
	}
	if _, err := s.List(); err == nil {
		t.Error("list works")
	}
	os.Chown(s.Root(), 0, 0)
	d := create(t, s, "x")
	os.Chown(d.Path("."), asnobody.ID, asnobody.ID)
	if _, err := s.Get("x"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("get: %v", err)
	}
}

func TestUnusableRoot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	s, _ := Open(file)
	if _, err := s.Create("x"); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a file as root: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "open")
	os.Mkdir(dir, 0o700)
	os.Chmod(dir, 0o777)
	s, _ = Open(dir)
	if _, err := s.Create("x"); err == nil || !strings.Contains(err.Error(), "writable by others") {
		t.Errorf("a root for everybody: %v", err)
	}
	if os.Getuid() == 0 {
		return // nothing is read-only for root
	}
	dir = filepath.Join(t.TempDir(), "ro")
	os.Mkdir(dir, 0o500)
	s, _ = Open(dir)
	if _, err := s.Create("x"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a read-only root: %v", err)
	}
}

func TestLock(t *testing.T) {
	s := open(t)
	d := create(t, s, "x")
	if err := d.Write(1); err != nil {
		t.Fatal(err)
	}
	unlock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	var free atomic.Bool
	done := make(chan error)
	go func() {
		second, err := d.Lock()
		if err == nil && !free.Load() {
			err = errors.New("two hold the lock")
		}
		if err == nil {
			second()
		}
		done <- err
	}()
	free.Store(true)
	unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	d.Remove()
	if _, err := d.Lock(); !errors.Is(err, ErrNotExist) {
		t.Errorf("lock of a container that is gone: %v", err)
	}
}

func TestAsNobody(t *testing.T) {
	asnobody.Run(t, "^Test(RoundTrip|IDs|InterruptedDiscard|DamagedState|UnusableRoot)$")
}

// TestReady checks that what Create would refuse is told before, and that nothing is left of the question but the directory.
func TestReady(t *testing.T) {
	s := open(t)
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	if list, err := os.ReadDir(s.Root()); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	create(t, s, "a")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{file, filepath.Join(file, "root")} {
		s, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		_, want := s.Create("a")
		if err := s.Ready(); err == nil || want == nil || err.Error() != want.Error() {
			t.Errorf("%s: %v, Create: %v", root, err, want)
		}
	}
	if os.Getuid() != 0 {
		if err := os.Chmod(s.Root(), 0o500); err != nil {
			t.Fatal(err)
		}
		if err := s.Ready(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a directory that may not be written: %v", err)
		}
	}
}
