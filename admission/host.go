package admission

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Host is a machine with memory.
type Host struct {
	Root string // directory with meminfo and pressure/memory, as in a proc file system; "": those of this machine
}

// TestRoot is the environment variable for the Root of ThisHost. It is there for tests of what happens when memory is short. Who sets it decides when
// his own programs start, and nothing else.
const TestRoot = "MLRUN_TEST_MEMINFO"

// ThisHost is the machine that the process runs on.
func ThisHost() Host { return Host{Root: os.Getenv(TestRoot)} }

// Memory is the memory of a machine, in bytes.
type Memory struct {
	Total     int64 // that the kernel has
	Available int64 // that can be had without swapping, about
}

// Errors of Host.Pressure, beside those of the file system.
var (
	errNoPSI  = errors.New("there is no pressure stall information: it takes Linux 4.20 with CONFIG_PSI, and where that is disabled psi=1 on the kernel's command line")
	errPSIOff = errors.New("pressure stall information is disabled: psi=1 on the kernel's command line enables it")
)

// Memory reads how much memory there is, and how much of it is available: MemTotal and MemAvailable of proc_meminfo(5), Linux 3.14. On macOS it is hw.memsize,
// and kern.memorystatus_level percent of it.
func (h Host) Memory() (Memory, error) {
	if h.Root == "" {
		return thisMemory()
	}
	return readMeminfo(filepath.Join(h.Root, "meminfo"))
}

func readMeminfo(path string) (Memory, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Memory{}, err
	}
	return parseMeminfo(b, path)
}

// parseMeminfo does not allocate: it is called for each start.
func parseMeminfo(b []byte, path string) (Memory, error) {
	m := Memory{Total: -1, Available: -1}
	for len(b) > 0 && (m.Total < 0 || m.Available < 0) {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		b = rest
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch string(name) {
		case "MemTotal":
			m.Total = kilobytes(value)
		case "MemAvailable":
			m.Available = kilobytes(value)
		}
	}
	switch {
	case m.Total <= 0:
		return Memory{}, fmt.Errorf("%s: no MemTotal in it", path)
	case m.Available < 0:
		return Memory{}, fmt.Errorf("%s: no MemAvailable in it; that takes Linux 3.14", path)
	}
	return m, nil
}

// kilobytes reads "   1234 kB" as bytes; -1 when it is something else.
func kilobytes(b []byte) int64 {
	b = bytes.TrimSpace(b)
	digits, ok := bytes.CutSuffix(b, []byte(" kB"))
	if !ok || len(digits) == 0 || len(digits) > 15 {
		return -1
	}
	n := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n << 10
}

// Pressure is for how many percent of the time, averaged over about ten seconds, some process has waited for memory: some avg10 of the kernel's pressure stall
// information (Documentation/accounting/psi.rst, Linux 4.20). The kernel works it out every two seconds. The error says why there is none.
func (h Host) Pressure() (float64, error) {
	root := h.Root
	if root == "" {
		root = "/proc"
	}
	path := filepath.Join(root, "pressure", "memory")
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, syscall.EOPNOTSUPP): // psi_show in kernel/sched/psi.c
		return 0, fmt.Errorf("%s: %w", path, errPSIOff)
	case errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("%s: %w", path, errNoPSI)
	case err != nil:
		return 0, err
	}
	_, rest, found := bytes.Cut(b, []byte("some avg10="))
	value, _, _ := bytes.Cut(rest, []byte(" "))
	p, err := strconv.ParseFloat(string(value), 64)
	if !found || err != nil || !(p >= 0 && p <= 100) {
		return 0, fmt.Errorf("%s: no \"some avg10\" from 0 to 100 in it", path)
	}
	return p, nil
}
