package admission

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Host is a machine with memory, as its proc file system shows it.
type Host struct {
	Root string // of the proc file system; "": /proc
}

// TestRoot is the environment variable that names a directory with the files meminfo and pressure/memory, which ThisHost reads in place of those in /proc.
// It is for tests: whoever sets it deceives nobody but himself.
const TestRoot = "MLRUN_TEST_MEMINFO"

// ThisHost is the machine that the process runs on.
func ThisHost() Host { return Host{Root: os.Getenv(TestRoot)} }

// Memory is the memory of a machine, in bytes.
type Memory struct {
	Total     int64 // MemTotal
	Available int64 // MemAvailable: what can be had without swapping (proc_meminfo(5), Linux 3.14)
}

func (h Host) path(name string) string {
	if h.Root == "" {
		return "/proc/" + name
	}
	return filepath.Join(h.Root, name)
}

// Memory reads how much memory there is, and how much of it is available.
func (h Host) Memory() (Memory, error) {
	b, err := os.ReadFile(h.path("meminfo"))
	if err != nil {
		return Memory{}, err
	}
	m := Memory{Total: -1, Available: -1}
	for line := range bytes.Lines(b) {
		name, rest, _ := bytes.Cut(line, []byte(":"))
		n, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))), 10, 54)
		if err != nil {
			continue
		}
		switch string(name) {
		case "MemTotal":
			m.Total = n << 10
		case "MemAvailable":
			m.Available = n << 10
		}
	}
	if m.Total <= 0 || m.Available < 0 {
		return Memory{}, fmt.Errorf("%s: no MemTotal or no MemAvailable in it", h.path("meminfo"))
	}
	return m, nil
}

// Pressure reads for how many percent of the time of about the last ten seconds some process has waited for memory: the kernel's pressure stall
// information, some avg10 (Documentation/accounting/psi.rst, Linux 4.20). The error says why there is none.
func (h Host) Pressure() (float64, error) {
	b, err := os.ReadFile(h.path("pressure/memory"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(b, []byte("some avg10="))
	value, _, _ := bytes.Cut(rest, []byte(" "))
	p, err := strconv.ParseFloat(string(value), 64)
	if err != nil {
		return 0, errors.New(h.path("pressure/memory") + ": no \"some avg10\" in it")
	}
	return p, nil
}
