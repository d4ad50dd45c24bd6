// Package clients finds the programs that tests need beyond Go.
package clients

import (
	"os"
	"os/exec"
	"testing"
)

// Need returns the path of a program. Without it the test is skipped, or with MLRUN_REQUIRE_CLIENTS=1 failed.
func Need(t *testing.T, program, why string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		Missing(t, program+": "+why)
	}
	return path
}

// Missing skips the test for something that it needs, or with MLRUN_REQUIRE_CLIENTS=1 fails it.
func Missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("MLRUN_REQUIRE_CLIENTS") == "1" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}
