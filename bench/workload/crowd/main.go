//go:build linux

// Command crowd is many processes, forked as fast as possible: each touches memory of its own, or maps a segment that all of them
// share. Then all are idle, or the parent grows.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/bench/workload/fork"
	"mlrun/bench/workload/note"
)

type crowd struct {
	procs             int
	each, share, grow int64 // bytes
	phase             time.Duration
}

func main() {
	var c crowd
	file := flag.String("note", "", "`FILE` of the note")
	flag.IntVar(&c.procs, "procs", 1, "`N`umber of children")
	flag.Int64Var(&c.each, "each", note.Small, "`BYTES` that each child touches, in small pages")
	flag.Int64Var(&c.share, "share", 0, "`BYTES` of a segment that all map")
	flag.Int64Var(&c.grow, "grow", 0, "`BYTES` that the parent touches then; exit code 3 when nobody stopped it before")
	flag.DurationVar(&c.phase, "phase", 0, "wait up to so long, at random, before the children, or with -grow before the growth")
	flag.Parse()
	n, err := note.Open(*file)
	if err == nil {
		err = c.run(n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "crowd:", err)
		os.Exit(1)
	}
	os.Exit(3)
}

func (c crowd) run(n *note.Note) error {
	if err := fork.Prepare(); err != nil {
		return err
	}
	job := fork.Job{Note: n, Hold: fork.Forever}
	var err error
	if job.Touch, err = note.Map(c.each, false); err != nil {
		return err
	}
	if c.share > 0 {
		if err := share(c.share); err != nil {
			return err
		}
	}
	if c.grow == 0 {
		c.begin(n)
	}
	for i := range c.procs {
		if _, err := job.Start(); err != nil {
			return fmt.Errorf("fork %d: %w", i, err)
		}
	}
	await(n, c.procs)
	n.Ready.Store(note.Now())
	for c.grow == 0 {
		time.Sleep(time.Hour)
	}
	return c.growth(n)
}

// begin waits for the random moment, if there is one.
func (c crowd) begin(n *note.Note) {
	if c.phase > 0 {
		time.Sleep(50*time.Millisecond + rand.N(c.phase))
	}
	n.Start.Store(note.Now())
}

// growth touches memory of the parent's own.
func (c crowd) growth(n *note.Note) error {
	m, err := note.Map(c.grow, false)
	if err != nil {
		return err
	}
	n.Bytes.Store(0)
	c.begin(n)
	for at := 0; at < len(m); at += note.Small {
		m[at] = 1
		if at%(256<<10) == 0 {
			n.Bytes.Store(int64(at))
			n.Last.Store(note.Now())
		}
	}
	return nil
}

// share maps a file in memory that every child maps, too, without a fault: fork(2) copies the page tables of a private mapping with a
// page of its own (vma_needs_copy in mm/memory.c), and leaves those of a shared mapping to be filled page by page, which
// takes minutes for 100 processes. All other pages are the file's, shared by everybody.
func share(size int64) error {
	fd, err := unix.MemfdCreate("share", unix.MFD_CLOEXEC)
	if err == nil {
		err = unix.Ftruncate(fd, size)
	}
	if err != nil {
		return fmt.Errorf("share %d bytes: %w", size, err)
	}
	fill, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %d bytes: %w", size, err)
	}
	for at := 0; at < len(fill); at += note.Small {
		fill[at] = 1
	}
	if err := unix.Munmap(fill); err != nil {
		return err
	}
	m, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("map %d bytes: %w", size, err)
	}
	m[0] = 2
	sum := byte(0)
	for at := 0; at < len(m); at += note.Small {
		sum += m[at]
	}
	if want := byte(len(m)/note.Small) + 1; sum != want {
		return fmt.Errorf("the pages of the segment add up to %d, not %d", sum, want)
	}
	return nil
}

// await waits until so many children are done.
func await(n *note.Note, count int) {
	for n.Count.Load() < int64(count) {
		time.Sleep(time.Millisecond)
	}
}
