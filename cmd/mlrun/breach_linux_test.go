package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"mlrun/internal/asnobody"
)

// greedyEnv makes the test binary a payload that takes 2 GiB in one system call: "populate", or "read" from a file that has no blocks.
const greedyEnv = "MLRUN_TEST_GREEDY"

const greed = 2 << 30

func init() {
	flags := unix.MAP_ANON | unix.MAP_PRIVATE
	how := os.Getenv(greedyEnv)
	switch how {
	case "":
		return
	case "populate":
		flags |= unix.MAP_POPULATE
	}
	m, err := unix.Mmap(-1, 0, greed, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		panic(err)
	}
	if how == "read" {
		fd, err := unix.MemfdCreate("empty", unix.MFD_CLOEXEC)
		if err == nil {
			err = unix.Ftruncate(fd, greed)
		}
		if err != nil {
			panic(err)
		}
		_, _ = unix.Read(fd, m)
	}
	os.Exit(0)
}

// TestOneCallDoesNotOutrun shows that a system call which is not interrupted by SIGSTOP or SIGTERM, or not even by SIGKILL, does not get
// what it wants although the limit is exceeded: the grace period is longer than it takes. On a busy machine the call may be through before mlrun has
// a processor; it gets everything each time only if nothing is done about it.
func TestOneCallDoesNotOutrun(t *testing.T) {
	for _, how := range []string{"populate", "read"} {
		t.Run(how, func(t *testing.T) {
			var got int64
			for range 5 {
				if got = outrun(t, how); got <= greed/2 {
					return
				}
			}
			t.Errorf("it got %d MiB of %d", got>>20, greed>>20)
		})
	}
}

// outrun is how many bytes the payload got, which must be over its limit.
func outrun(t *testing.T, how string) int64 {
	t.Helper()
	s := newSite(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(s.dir, "verdict")
	dir := s.bundle(greedyEnv+"="+how+" exec "+exe, `,"linux":{"resources":{"memory":{"limit":134217728}}}`,
		`,"annotations":{"dev.mlrun.memory.grace":"60"}`)
	_, errs, code := s.try("run", "--report", report, dir)
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Reason string
		Rusage struct{ MaxRSS int64 }
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if v.Rusage.MaxRSS <= greed/2 && (v.Reason != "memory-limit" || code != 137) {
		t.Errorf("%s, exit code %d: %s", v.Reason, code, errs)
	}
	return v.Rusage.MaxRSS
}

func TestBreachesAsNobody(t *testing.T) { asnobody.Run(t, "^TestOneCallDoesNotOutrun$") }
