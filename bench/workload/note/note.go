//go:build linux || darwin

// Package note is a page of memory that a workload shares with the benchmark, by way of a file. A workload can leave something
// there up to the instant it is killed, at the cost of a store: no system call, and no file to close.
package note

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Note is what a workload says about itself. Times are nanoseconds since 1970; 0 is "not yet".
type Note struct {
	PID   atomic.Int64
	Ready atomic.Int64 // it has all of its memory and is idle now
	Start atomic.Int64 // it began to touch memory
	Last  atomic.Int64 // the last thing that it did
	Bytes atomic.Int64 // touched by Last
	Count atomic.Int64 // processes that have done so
}

const size = 4096

// Create makes the file, or empties it, and maps it.
func Create(path string) (*Note, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	return mapped(f)
}

// Open maps the file that Create made. It says who maps it.
func Open(path string) (*Note, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := mapped(f)
	if err == nil {
		n.PID.Store(int64(os.Getpid()))
	}
	return n, err
}

func mapped(f *os.File) (*Note, error) {
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	return (*Note)(unsafe.Pointer(&b[0])), nil
}

// Now is the present in the unit of the times in a Note.
func Now() int64 { return time.Now().UnixNano() }

// Close unmaps the note, which must not be used any more.
func (n *Note) Close() { _ = unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(n)), size)) }
