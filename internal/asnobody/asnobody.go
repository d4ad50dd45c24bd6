// Package asnobody runs the tests of a package once more as an ordinary user, when they run as root: what works for root alone
// is not worth much here.
//
// It copies the test binary, and the files that the tests read, to a directory of that user, so that it does not matter who
// may enter the source tree.
package asnobody

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mlrun/internal/emulated"
)

// ID is the user and the group that the tests run as: nobody.
const ID = 65534

// guard marks a test binary that Run has started.
const guard = "MLRUN_TEST_AS_NOBODY"

// racedToo has the tests run as an ordinary user with the race detector, too. It finds the same as with root's, and everything takes five times as long.
const racedToo = "MLRUN_RACE_AS_NOBODY"

// Run runs those tests of the calling test binary whose names match pattern, as in -test.run, as user and group ID without
// supplementary groups. It fails t when one of them fails or none ran. Called by anybody but root, or from a test that Run
// itself started, it skips t.
//
// Of the module the tests find, at the same places relative to their working directory, the testdata of their package,
// examples, and what else is named in files, relative to the root of the module.
func Run(t *testing.T, pattern string, files ...string) {
	t.Helper()
	run(t, nil, pattern, files)
}

// RunWithFUSE is Run for tests that mount with FUSE: where only root may open /dev/fuse the tests find one, in a mount namespace of their own, that
// everybody may.
func RunWithFUSE(t *testing.T, pattern string, files ...string) {
	t.Helper()
	st, err := os.Stat(fuseDevice)
	if err != nil || st.Mode().Perm()&0o006 == 0o006 || os.Getuid() != 0 {
		run(t, nil, pattern, files)
		return
	}
	run(t, []string{"unshare", "--mount", "--propagation", "private", "sh", "-c", openFUSE, "sh", t.TempDir()}, pattern, files)
}

const fuseDevice = "/dev/fuse"

// openFUSE is a script that gets a directory and a command.
var openFUSE = fmt.Sprintf(`set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
mknod -m 666 "$1/fuse" c 10 229
mount --bind "$1/fuse" %s
shift
exec setpriv --reuid=%d --regid=%d --clear-groups -- "$@"`, fuseDevice, ID, ID)

// run runs tests below a command that makes ordinary users of them, or else makes such users itself.
func run(t *testing.T, by []string, pattern string, files []string) {
	t.Helper()
	switch {
	case os.Getenv(guard) != "":
		t.Skip("runs as an ordinary user already")
	case os.Getuid() != 0:
		t.Skip("takes root to become somebody else")
	case raced && os.Getenv(racedToo) == "":
		t.Skip("with the race detector the tests run as root only, unless " + racedToo + " is set")
	}
	emulated.Skip(t, "way to execute a test binary from within it")
	home, err := prepare(t, files)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(home.binary, "-test.run="+pattern)
	if testing.Verbose() {
		cmd.Args = append(cmd.Args, "-test.v")
	}
	if testing.Short() {
		cmd.Args = append(cmd.Args, "-test.short")
	}
	if end, ok := t.Deadline(); ok {
		cmd.Args = append(cmd.Args, "-test.timeout="+(time.Until(end)*9/10).String())
	}
	if by != nil {
		cmd = exec.Command(by[0], slices.Concat(by[1:], cmd.Args)...)
	} else {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ID, Gid: ID}}
	}
	cmd.Dir, cmd.Env = home.dir, environ(home)
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Fatalf("as user %d: %v\n%s", ID, err, out)
	case strings.Contains(string(out), "no tests to run"):
		t.Fatalf("as user %d: no test matches %s", ID, pattern)
	}
	t.Logf("as user %d:\n%s", ID, out)
}

// place is where the tests run.
type place struct{ root, binary, dir, tmp string }

// prepare makes a place that user ID can use, removed with t.
func prepare(t *testing.T, files []string) (place, error) {
	top, err := os.MkdirTemp("", "asnobody-")
	if err != nil {
		return place{}, err
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	if err := os.Chmod(top, 0o755); err != nil {
		return place{}, err
	}
	if dir := closed(top); dir != "" {
		return place{}, fmt.Errorf("%s: user %d cannot enter it: set TMPDIR to a directory that everybody can", dir, ID)
	}
	module, pkg, err := source()
	if err != nil {
		return place{}, err
	}
	p := place{root: top, binary: filepath.Join(top, "test"), dir: filepath.Join(top, "src", pkg), tmp: filepath.Join(top, "home")}
	self, err := os.Executable()
	if err != nil {
		return place{}, err
	}
	if err := copyFile(self, p.binary, 0o755); err != nil {
		return place{}, err
	}
	for _, name := range append([]string{"go.mod", "examples", filepath.Join(pkg, "testdata")}, files...) {
		err := copyTree(filepath.Join(module, name), filepath.Join(top, "src", name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return place{}, err
		}
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return place{}, err
	}
	if err := os.Mkdir(p.tmp, 0o700); err != nil {
		return place{}, err
	}
	return p, os.Chown(p.tmp, ID, ID)
}

// closed is the first of dir and the directories above it that not everybody can enter, or "".
func closed(dir string) string {
	for ; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o001 == 0 {
			return dir
		}
		if dir == "/" || dir == "." {
			return ""
		}
	}
}

// enterable leaves out what a user's own PATH would not have: directories of root alone.
func enterable(path string) string {
	return strings.Join(slices.DeleteFunc(filepath.SplitList(path), func(dir string) bool { return closed(dir) != "" }), ":")
}

// source is the directory of the module, and below it that of the package: go test runs tests there.
func source() (module, pkg string, err error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			pkg, err = filepath.Rel(dir, wd)
			return dir, pkg, err
		}
		if dir == "/" {
			return "", "", fmt.Errorf("%s: no go.mod there or above", wd)
		}
	}
}

// environ is the environment of the tests: that of the caller without what belongs to its user.
func environ(p place) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if name == "HOME" || name == "TMPDIR" || name == "USER" || name == "LOGNAME" || name == "GOTMPDIR" || strings.HasPrefix(name, "XDG_") {
			continue
		}
		if name == "PATH" {
			v = "PATH=" + enterable(strings.TrimPrefix(v, "PATH="))
		}
		env = append(env, v)
	}
	env = append(env, guard+"=1", "HOME="+p.tmp, "TMPDIR="+p.tmp)
	if testing.CoverMode() != "" {
		env = append(env, "GOCOVERDIR="+p.tmp)
	}
	return env
}

// copyTree copies a file or a directory, readable for everybody; links stay links.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return copyFile(path, target, 0o644|info.Mode().Perm()&0o111)
	})
}

func copyFile(from, to string, perm fs.FileMode) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, b, perm); err != nil {
		return err
	}
	return os.Chmod(to, perm) // whatever the umask
}
