//go:build linux || darwin

// Command leave exits after a moment, and notes when: the exit is the next thing that it does.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"mlrun/bench/workload/note"
)

func main() {
	file := flag.String("note", "", "`FILE` of the note")
	phase := flag.Duration("phase", 50*time.Millisecond, "wait up to so long before, at random, but at least 20 ms")
	flag.Parse()
	n, err := note.Open(*file)
	if err != nil {
		fmt.Fprintln(os.Stderr, "leave:", err)
		os.Exit(1)
	}
	time.Sleep(20*time.Millisecond + rand.N(*phase))
	n.Last.Store(note.Now())
	os.Exit(0)
}
