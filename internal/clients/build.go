package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// binaryEnv names the mlrun that is to be tested: set by Mlrun for test binaries that the calling one starts.
const binaryEnv = "MLRUN_TEST_BINARY"

var build = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(binaryEnv); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "mlrun-test-") // for every user: t.TempDir is not
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "mlrun")
	cmd := exec.Command("go", "build", "-o", path, "mlrun/cmd/mlrun")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return string(out), err
	}
	return path, os.Setenv(binaryEnv, path)
})

// Mlrun builds mlrun, once for a test binary and for those that it starts, and returns its path. Every user may execute it. Main
// removes it.
func Mlrun(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("go build mlrun/cmd/mlrun: %v\n%s", err, path)
	}
	return path
}

// Main runs the tests of a package that uses Mlrun, and removes what was built for them.
func Main(m *testing.M) {
	inherited := os.Getenv(binaryEnv) != ""
	code := m.Run()
	if path := os.Getenv(binaryEnv); path != "" && !inherited {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}
