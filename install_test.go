package mlrun_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestInstall installs into an empty directory: the binary works, every manual page is there, and each shell finds its script.
func TestInstall(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("no make")
	}
	top := t.TempDir()
	dest := filepath.Join(top, "a directory")
	c := command("make", "install", "BINARY="+filepath.Join(top, "mlrun"), "DESTDIR="+dest, "PREFIX=/usr")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	mlrun := filepath.Join(dest, "usr/bin/mlrun")
	for file, args := range map[string][]string{
		"bash-completion/completions/mlrun":    {"completion", "bash"},
		"zsh/site-functions/_mlrun":            {"completion", "zsh"},
		"fish/vendor_completions.d/mlrun.fish": {"completion", "fish"},
	} {
		want, err := exec.Command(mlrun, args...).Output()
		if err != nil {
			t.Fatalf("mlrun %v: %v", args, err)
		}
		if got, err := os.ReadFile(filepath.Join(dest, "usr/share", file)); err != nil || string(got) != string(want) {
			t.Errorf("%s is not what mlrun %v prints (%v)", file, args, err)
		}
	}
	pages, err := filepath.Glob("man/*.1")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no manual pages: %v", err)
	}
	for _, page := range pages {
		if _, err := os.Stat(filepath.Join(dest, "usr/share/man/man1", filepath.Base(page))); err != nil {
			t.Error(err)
		}
	}
}
