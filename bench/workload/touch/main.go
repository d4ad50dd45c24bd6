//go:build linux || darwin

// Command touch gets memory as fast as it can, or at a rate, until it is stopped.
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

// options say how memory is got.
type options struct {
	size  int64 // bytes
	rate  int64 // bytes a second; 0 is as fast as possible
	huge  bool
	phase time.Duration
}

// ways are what -how can be.
var ways = map[string]func(*note.Note, options) error{"touch": touch}

func main() {
	var o options
	file := flag.String("note", "", "`FILE` of the note")
	how := flag.String("how", "touch", "touch page by page, populate (in one call), zero (read /dev/zero) or file (read a sparse file)")
	flag.Int64Var(&o.size, "size", 2<<30, "`BYTES` to touch; exit code 3 when nobody stopped it before")
	flag.Int64Var(&o.rate, "rate", 0, "`BYTES` a second, for touch")
	flag.BoolVar(&o.huge, "huge", false, "let the kernel use huge pages")
	flag.DurationVar(&o.phase, "phase", 200*time.Millisecond, "wait up to so long before, at random, but at least 50 ms")
	flag.Parse()
	way := ways[*how]
	if way == nil {
		fmt.Fprintf(os.Stderr, "touch: -how %s is not possible here\n", *how)
		os.Exit(2)
	}
	n, err := note.Open(*file)
	if err == nil {
		err = way(n, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "touch:", err)
		os.Exit(1)
	}
	os.Exit(3)
}

// begin waits for the random moment.
func (o options) begin(n *note.Note) {
	time.Sleep(50*time.Millisecond + rand.N(o.phase))
	n.Start.Store(note.Now())
}

func touch(n *note.Note, o options) error {
	m, err := note.Map(o.size, o.huge)
	if err != nil {
		return err
	}
	o.begin(n)
	for at := 0; at < len(m); at += note.Small {
		m[at] = 1
		if at%progress == 0 {
			o.pause(n, int64(at))
			n.Bytes.Store(int64(at))
			n.Last.Store(note.Now())
		}
	}
	return nil
}

// pause keeps to the rate, in steps of at least 1 ms: a shorter sleep takes longer than it should.
func (o options) pause(n *note.Note, touched int64) {
	if o.rate == 0 {
		return
	}
	due := n.Start.Load() + int64(float64(touched)/float64(o.rate)*1e9)
	if early := time.Duration(due - note.Now()); early > time.Millisecond {
		time.Sleep(early)
	}
}
