//go:build linux || darwin

// Command touch touches memory page by page as fast as it can, until it is stopped.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"mlrun/bench/workload/note"
)

// progress is how often the note is updated: about every 0.1 ms.
const progress = 256 << 10

func main() {
	file := flag.String("note", "", "`FILE` of the note")
	size := flag.Int64("size", 2<<30, "`BYTES` to touch; exit code 3 when nobody stopped it before")
	huge := flag.Bool("huge", false, "let the kernel use huge pages")
	phase := flag.Duration("phase", 200*time.Millisecond, "wait up to so long before, at random, but at least 50 ms")
	flag.Parse()
	if err := touch(*file, *size, *huge, *phase); err != nil {
		fmt.Fprintln(os.Stderr, "touch:", err)
		os.Exit(1)
	}
	os.Exit(3)
}

func touch(file string, size int64, huge bool, phase time.Duration) error {
	n, err := note.Open(file)
	if err != nil {
		return err
	}
	m, err := note.Map(size, huge)
	if err != nil {
		return err
	}
	time.Sleep(50*time.Millisecond + rand.N(phase))
	n.Start.Store(note.Now())
	for at := 0; at < len(m); at += note.Small {
		m[at] = 1
		if at%progress == 0 {
			n.Bytes.Store(int64(at))
			n.Last.Store(note.Now())
		}
	}
	return nil
}
