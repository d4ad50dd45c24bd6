//go:build linux || darwin

// Command spawn executes a program a number of times, one after the other, and prints how long one took on average, in nanoseconds: from before the fork to
// its end.
package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if err := spawn(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "spawn:", err)
		os.Exit(1)
	}
}

func spawn(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("want N PROGRAM [ARGS]")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return fmt.Errorf("%q: want how often", args[0])
	}
	attr := &syscall.ProcAttr{Files: []uintptr{0, 1, 2}}
	start := time.Now()
	for range n {
		pid, err := syscall.ForkExec(args[1], args[1:], attr)
		if err != nil {
			return err
		}
		for {
			if _, err = syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	fmt.Println(time.Since(start).Nanoseconds() / int64(n))
	return nil
}
