//go:build linux

package fork

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"mlrun/bench/workload/note"
)

func shared(t *testing.T, pages int) []byte {
	t.Helper()
	m, err := unix.Mmap(-1, 0, pages*note.Small, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(m) })
	return m
}

// exitCode forks a process that does the job and waits for it.
func exitCode(t *testing.T, j *Job) int {
	t.Helper()
	pid, err := j.Start()
	if err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	for err = unix.EINTR; err == unix.EINTR; {
		_, err = unix.Wait4(pid, &status, 0, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return status.ExitStatus()
}

// A job with a chain of two more makes three processes, and each of them writes its own part of the memory.
func TestChain(t *testing.T) {
	n, err := note.Create(filepath.Join(t.TempDir(), "note"))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	m := shared(t, 3)
	var pipe [2]int // inherited: its end of file is the end of all of them
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	code := exitCode(t, &Job{Touch: m[:note.Small], Note: n, Chain: 2})
	unix.Close(pipe[1])
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if got, err := unix.Read(pipe[0], make([]byte, 1)); got != 0 || err != nil {
		t.Fatalf("read: %d, %v", got, err)
	}
	if n.Count.Load() != 3 || n.Bytes.Load() != 3*note.Small {
		t.Errorf("%d processes and %d bytes, want 3 and %d", n.Count.Load(), n.Bytes.Load(), 3*note.Small)
	}
	for i := 0; i < len(m); i += note.Small {
		if m[i] != 1 {
			t.Errorf("page %d is not touched", i/note.Small)
		}
	}
}
