package clients

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Deadline is how long a test waits for one condition. Machines are busy.
const Deadline = 30 * time.Second

// Eventually waits until ok, which is asked again and again.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(Deadline); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen in %v: %s", Deadline, what)
		}
	}
}

// Dir makes a temporary directory with a path that is short enough for sockets in it, and makes it XDG_RUNTIME_DIR, which what is
// started inherits. At its end, after the cleanups that t has got meanwhile, t fails if a process is alive that has the
// directory in its environment. So each bundle that a test makes should have it there.
func Dir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Cleanup(func() {
		for end := time.Now().Add(Deadline); len(having(dir)) > 0; time.Sleep(2 * time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("processes that were left: %s", strings.Join(having(dir), "; "))
				break
			}
		}
	})
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return dir
}

// having finds the processes that have dir in their environment. Zombies have none.
func having(dir string) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range files {
		proc := filepath.Dir(name)
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte("="+dir)) {
			command, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
			found = append(found, filepath.Base(proc)+" "+strings.TrimSpace(string(bytes.ReplaceAll(command, []byte{0}, []byte{' '}))))
		}
	}
	return found
}

// Ended tells whether a process is gone, but for its zombie.
func Ended(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return len(fields) == 0 || fields[0] == "Z" || fields[0] == "X"
}

// Spec is a config.json for the calling user that runs args, with dir in the environment.
func Spec(dir string, args ...string) *specs.Spec {
	return &specs.Spec{Version: "1.3.0", Process: Process(dir, args...)}
}

// Process is the process of Spec.
func Process(dir string, args ...string) *specs.Process {
	return &specs.Process{
		User: specs.User{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())},
		Args: args,
		Env:  []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TEST_DIR=" + dir},
		Cwd:  "/",
	}
}

// Bundle writes a bundle with the configuration s, and returns its directory, which is below dir.
func Bundle(t *testing.T, dir string, s *specs.Spec) string {
	t.Helper()
	path, err := os.MkdirTemp(dir, "b")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "config.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
