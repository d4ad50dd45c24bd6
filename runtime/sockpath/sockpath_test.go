package sockpath

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mlrun/internal/asnobody"
)

// TestReach binds and connects sockets with paths of all lengths around the limit, both in the way of this platform and in that of macOS, whose room the
// names must fit in.
func TestReach(t *testing.T) {
	const darwin = 104
	ways := map[string]func(string) (string, func(), error){
		"platform": For,
		"link": func(path string) (string, func(), error) {
			if len(path) < darwin {
				return path, func() {}, nil
			}
			return link(path, temporary, darwin)
		},
	}
	for way, name := range ways {
		t.Run(way, func(t *testing.T) {
			base, err := os.MkdirTemp("", "s")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(base) })
			for _, length := range []int{60, 102, 103, 104, 105, 107, 108, 109, 300} {
				dir := base + "/" + strings.Repeat("x", max(1, min(length-len(base)-len("//sock"), 200)))
				if n := length - len(dir) - len("/sock"); n > 1 {
					dir += "/" + strings.Repeat("y", n-1)
				}
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				path := dir + "/sock"
				if len(path) != length {
					t.Fatalf("%d bytes, want %d", len(path), length)
				}
				if err := reach(t, path, name); err != nil {
					t.Errorf("%d bytes: %v", length, err)
				}
				os.Remove(path)
			}
		})
	}
}

func reach(t *testing.T, path string, name func(string) (string, func(), error)) error {
	t.Helper()
	short, release, err := name(path)
	if err != nil {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	release()
	if err != nil {
		return err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	if info, err := os.Lstat(path); err != nil || info.Mode()&fs.ModeSocket == 0 {
		t.Errorf("%s: %v, %v: want a socket", path, info, err)
	}
	short, release, err = name(path)
	if err != nil {
		return err
	}
	defer release()
	c, err := net.Dial("unix", short)
	if err != nil {
		return err
	}
	return c.Close()
}

// TestLink checks that a link leaves nothing behind, that nobody else may write beside it, and what is refused.
func TestLink(t *testing.T) {
	tmp, dir := t.TempDir(), t.TempDir()
	name, release, err := link(dir+"/sock", tmp, 200+len(tmp))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Dir(filepath.Dir(name))); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v: want a directory for nobody else", info, err)
	}
	release()
	if _, _, err := link(dir+"/"+strings.Repeat("s", 104), tmp, 104); !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("a file name that is too long itself: %v", err)
	}
	if _, _, err := link(dir+"/missing/sock", tmp, 200+len(tmp)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestRefused: an ordinary user, below a directory that may not be written to.
func TestRefused(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere: TestAsNobody runs this as another user")
	}
	tmp := t.TempDir()
	if err := os.Chmod(tmp, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, _, err := link(tmp+"/sock", tmp, 1000); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v, want a permission error", err)
	}
}

func TestAsNobody(t *testing.T) { asnobody.Run(t, "^Test(Reach|Link|Refused)$") }
