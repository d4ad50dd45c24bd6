//go:build linux || darwin

// Command hold touches some memory and is idle from then on, together with further processes that do the same.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"mlrun/bench/workload/note"
)

func main() {
	file := flag.String("note", "", "`FILE` of the note")
	size := flag.Int64("size", 0, "`BYTES` that each process touches, in small pages")
	procs := flag.Int("procs", 1, "`N`umber of processes, this one included")
	flag.Parse()
	if err := hold(*file, *size, *procs); err != nil {
		fmt.Fprintln(os.Stderr, "hold:", err)
		os.Exit(1)
	}
	for {
		time.Sleep(time.Hour)
	}
}

func hold(file string, size int64, procs int) error {
	for range procs - 1 {
		if err := another(size); err != nil {
			return err
		}
	}
	if size > 0 {
		m, err := note.Map(size, false)
		if err != nil {
			return err
		}
		for at := 0; at < len(m); at += note.Small {
			m[at] = 1
		}
	}
	if file == "" {
		return ready(os.NewFile(3, "ready"))
	}
	n, err := note.Open(file)
	if err != nil {
		return err
	}
	n.Ready.Store(note.Now())
	return nil
}

// another starts a process that holds memory of its own, and waits until it does.
func another(size int64) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = os.StartProcess(self, []string{self, "-size", strconv.FormatInt(size, 10)}, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, w},
	})
	w.Close()
	if err != nil {
		return err
	}
	if _, err := r.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("a process ended before it was ready: %w", err)
	}
	return nil
}

// ready tells the process that started this one.
func ready(pipe *os.File) error {
	_, err := pipe.Write([]byte{1})
	pipe.Close()
	return err
}
