package mlrun_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"mlrun/internal/clients"
)

// TestArm64 runs tests that were built for linux/arm64, by an emulator on other processors.
func TestArm64(t *testing.T) {
	clients.Need(t, "make", "it builds and runs the tests")
	clients.Need(t, "qemu-aarch64-static", "Debian's qemu-user-static runs what was built for linux/arm64")
	out, err := command("make", "test-arm64", "TESTFLAGS=-v").CombinedOutput()
	if err != nil {
		t.Fatalf("make test-arm64: %v\n%s", err, out)
	}
	for _, must := range []string{"--- PASS: TestExitStatus", "--- PASS: TestFailures", "--- PASS: TestJobControl"} {
		if !strings.Contains(string(out), must) {
			t.Errorf("no %q in what the tests of linux/arm64 print:\n%s", must, out)
		}
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "emulated: ") { // which they have skipped
			t.Log(strings.TrimSpace(line))
		}
	}
}

// TestCrossRefuses checks that a call that is not understood removes nothing and builds nothing.
func TestCrossRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{}, {dir, dir}, {"check"}} {
		out, err := command("scripts/cross", args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "usage: ") {
			t.Errorf("scripts/cross %q: %v, %q", args, err, out)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v (%v)", left, err)
	}
}

// command is a command without what make leaves in the environment.
func command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=") })
	return c
}
