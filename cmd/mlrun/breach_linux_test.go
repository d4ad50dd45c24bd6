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
// what it wants although the limit is exceeded: the grace period is longer than it takes.
func TestOneCallDoesNotOutrun(t *testing.T) {
	for _, how := range []string{"populate", "read"} {
		t.Run(how, func(t *testing.T) {
			s := newSite(t)
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			report := filepath.Join(s.dir, "verdict")
			dir := s.bundle(greedyEnv+"="+how+" exec "+exe, `,"linux":{"resources":{"memory":{"limit":134217728}}}`,
				`,"annotations":{"dev.mlrun.memory.grace":"60"}`)
			_, errs, code := s.try("run", "--report", report, dir)
			if code != 137 {
				t.Fatalf("exit code %d: %s", code, errs)
			}
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
			if v.Reason != "memory-limit" || v.Rusage.MaxRSS > greed/2 {
				t.Errorf("%s, and it got %d MiB of %d", v.Reason, v.Rusage.MaxRSS>>20, greed>>20)
			}
		})
	}
}

func TestBreachesAsNobody(t *testing.T) { asnobody.Run(t, "^TestOneCallDoesNotOutrun$") }
