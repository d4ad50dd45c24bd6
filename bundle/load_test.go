package bundle

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const minimal = `{"ociVersion": "1.3.0", "process": {"args": ["true"], "cwd": "/"}}`

// write makes a bundle with this config.json in a directory of the test.
func write(t *testing.T, config string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ConfigName), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLoad(t *testing.T) {
	dir := write(t, minimal)
	b, err := Load(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if b.Dir != dir || b.File != filepath.Join(dir, ConfigName) || string(b.Raw) != minimal || b.Spec.Process.Args[0] != "true" {
		t.Errorf("bundle %+v", b)
	}
	parsed, err := Parse(b.Raw, b.Dir, b.File, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, parsed); diff != "" {
		t.Errorf("(-Load +Parse):\n%s", diff)
	}
}

func TestLoadRelative(t *testing.T) {
	dir := write(t, minimal)
	t.Chdir(filepath.Dir(dir))
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Base(dir), "./" + filepath.Base(dir) + "/", dir} {
		b, err := Load(name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(wd, filepath.Base(dir)); b.Dir != want && b.Dir != dir {
			t.Errorf("Load(%q).Dir = %q, want %q", name, b.Dir, want)
		}
	}
	_, err = Load("", Options{})
	if want := "config.json: no such file or directory: " + whatIsBundle; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = Load("none", Options{})
	if want := "none: no such file or directory: " + whatIsBundle; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestLoadErrors has what is wrong with the file, not with its contents. In
// want, DIR is the bundle.
func TestLoadErrors(t *testing.T) {
	config := func(dir string) string { return filepath.Join(dir, ConfigName) }
	sparse := func(size int64) func(string) error {
		return func(dir string) error {
			f, err := os.Create(config(dir))
			if err != nil {
				return err
			}
			return errors.Join(f.Truncate(size), f.Close())
		}
	}
	tests := []struct {
		name string
		make func(dir string) error
		want string
		is   error
	}{
		{"no directory", os.Remove,
			"DIR: no such file or directory: " + whatIsBundle, fs.ErrNotExist},
		{"no config.json", func(string) error { return nil },
			"DIR/config.json: no such file or directory: " + whatIsBundle, fs.ErrNotExist},
		{"not a directory", func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)) },
			"DIR: not a directory: " + whatIsBundle, syscall.ENOTDIR},
		{"symbolic link to nothing", func(dir string) error { return os.Symlink("none", config(dir)) },
			"DIR/config.json: no such file or directory: " + whatIsBundle, fs.ErrNotExist},
		{"symbolic link to itself", func(dir string) error { return os.Symlink(ConfigName, config(dir)) },
			"DIR/config.json: too many levels of symbolic links", syscall.ELOOP},
		{"directory", func(dir string) error { return os.Mkdir(config(dir), 0o700) },
			"DIR/config.json: found a directory, want a regular file", nil},
		{"FIFO", func(dir string) error { return unix.Mkfifo(config(dir), 0o600) },
			"DIR/config.json: found a FIFO, want a regular file", nil},
		{"device", func(dir string) error { return os.Symlink("/dev/zero", config(dir)) },
			"DIR/config.json: found a device, want a regular file", nil},
		{"empty", func(dir string) error { return os.WriteFile(config(dir), nil, 0o600) },
			"DIR/config.json: found no data, want a JSON object", nil},
		{"100 MiB", sparse(100 << 20),
			"DIR/config.json: found 104857600 bytes, want at most 16777216 bytes (16 MiB)", nil},
		{"1 byte too many", sparse(MaxSize + 1),
			"DIR/config.json: found 16777217 bytes, want at most 16777216 bytes (16 MiB)", nil},
		{"largest", sparse(MaxSize),
			`DIR/config.json: line 1, column 1: found '\x00', want a value`, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := test.make(dir); err != nil {
				t.Fatal(err)
			}
			_, err := Load(dir, Options{})
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(test.want, strings.ReplaceAll(err.Error(), dir, "DIR")); diff != "" {
				t.Error(diff)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
			if e := (*Error)(nil); test.is == nil && (!errors.As(err, &e) || e.File != config(dir) || len(e.Problems) != 1) {
				t.Errorf("%#v is not an *Error", err)
			}
		})
	}
}

func TestLoadSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "mlrun") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, ConfigName))
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	_, err = Load(dir, Options{})
	if err == nil || !strings.HasSuffix(err.Error(), "config.json: found a socket, want a regular file") {
		t.Errorf("error %v", err)
	}
}

func TestLoadNoPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := write(t, minimal)
	if err := os.Chmod(filepath.Join(dir, ConfigName), 0); err != nil {
		t.Fatal(err)
	}
	_, err := Load(dir, Options{})
	if want := dir + "/config.json: permission denied"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A name with a line break must not make two lines of the error.
func TestLoadName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a\nb")
	for range 2 {
		_, err := Load(dir, Options{})
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), `a\nb`) {
			t.Errorf("error %v", err)
		}
		if err := os.MkdirAll(filepath.Join(dir, ConfigName), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// A file can be longer than it was when it was opened, or than it says.
func TestReadAll(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	for _, size := range []int{0, 1, 511, 512, 513, 100_000, MaxSize, MaxSize + 1, MaxSize + 100_000} {
		if err := os.WriteFile(name, []byte(strings.Repeat("x", size)), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := readAll(int(f.Fd()), name, 0)
		f.Close()
		if size > MaxSize {
			want := name + ": found more than 16777216 bytes, want at most 16777216 bytes (16 MiB)"
			if err == nil || err.Error() != want {
				t.Errorf("size %d: %v", size, err)
			}
		} else if err != nil || len(data) != size {
			t.Errorf("size %d: read %d bytes, %v", size, len(data), err)
		}
	}
}

func TestRoot(t *testing.T) {
	dir := t.TempDir()
	outside := t.TempDir() // next to dir
	for name, target := range map[string]string{"rootfs": "/", "relative": "../../../../../../../../..", "chain": "rootfs", "broken": "none", "tmp": outside} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(outside, "host")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		root string
		ok   bool
	}{
		{`null`, true}, {`{}`, true}, {`{"path": ""}`, true}, {`{"path": null}`, true},
		{`{"path": "/"}`, true}, {`{"path": "//"}`, true}, {`{"path": "/."}`, true}, {`{"path": "/tmp/.."}`, true},
		{`{"path": "rootfs"}`, true}, {`{"path": "./rootfs/"}`, true}, {`{"path": "relative"}`, true},
		{`{"path": "chain"}`, true}, {`{"path": "` + dir + `/rootfs"}`, true},
		{`{"path": "tmp/host"}`, true}, {`{"path": "tmp/../` + filepath.Base(dir) + `/rootfs"}`, true},
		{`{"path": "directory"}`, false}, {`{"path": "broken"}`, false}, {`{"path": "none"}`, false},
		{`{"path": "."}`, false}, {`{"path": "/usr"}`, false}, {`{"path": "` + outside + `"}`, false},
	}
	for _, test := range tests {
		config := `{"ociVersion": "1.3.0", "root": ` + test.root + `, "process": {"args": ["true"], "cwd": "/"}}`
		if err := os.WriteFile(filepath.Join(dir, ConfigName), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(dir, Options{})
		var e *Error
		switch {
		case test.ok:
			if err != nil {
				t.Error(err)
			}
			continue
		case !errors.As(err, &e):
			t.Errorf("root %s: error %v", test.root, err)
			continue
		}
		if p := e.Problems[0]; len(e.Problems) != 1 || p.Path != "root.path" || !p.Unsupported ||
			!strings.Contains(p.Want, "symbolic link to /") {
			t.Errorf("root %s: %v", test.root, e)
		}
		b, err := Load(dir, Options{IgnoreUnsupported: true})
		if err != nil || len(b.Warnings) != 1 || b.Warnings[0].Path != "root.path" {
			t.Errorf("root %s: ignored, but %+v, %v", test.root, b, err)
		}
		if _, err := Parse([]byte(config), dir, "copy", Options{}); err != nil {
			t.Error("Parse looks at the root:", err)
		}
	}
}
