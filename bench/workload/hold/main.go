//go:build linux || darwin

// Command hold touches some memory and keeps it: idle, or busy without ever having more.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/bench/workload/note"
)

func main() {
	file := flag.String("note", "", "`FILE` of the note; none without")
	size := flag.Int64("size", 0, "`BYTES` to touch, in small pages")
	then := flag.String("then", "idle", "idle, burn (use the CPU) or churn (map, touch and unmap 1 MiB again and again)")
	lasts := flag.Duration("for", 0, "end after this `TIME`; 0: never")
	flag.Parse()
	if err := hold(*file, *size); err != nil {
		fmt.Fprintln(os.Stderr, "hold:", err)
		os.Exit(1)
	}
	if *lasts > 0 {
		time.AfterFunc(*lasts, func() { os.Exit(0) })
	}
	for {
		switch *then {
		case "burn":
		case "churn":
			if err := churn(); err != nil {
				fmt.Fprintln(os.Stderr, "hold:", err)
				os.Exit(1)
			}
		default:
			time.Sleep(time.Hour)
		}
	}
}

func hold(file string, size int64) error {
	if size > 0 {
		if _, err := touched(size); err != nil {
			return err
		}
	}
	if file == "" {
		return nil
	}
	n, err := note.Open(file)
	if err != nil {
		return err
	}
	n.Ready.Store(note.Now())
	return nil
}

func churn() error {
	m, err := touched(1 << 20)
	if err != nil {
		return err
	}
	return unix.Munmap(m)
}

func touched(size int64) ([]byte, error) {
	m, err := note.Map(size, false)
	for at := 0; at < len(m); at += note.Small {
		m[at] = 1
	}
	return m, err
}
