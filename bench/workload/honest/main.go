//go:build linux

// Command honest stays a little under its limit, in ways that are easily mistaken for more. It exits with 0 after some time.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/bench/workload/fork"
	"mlrun/bench/workload/note"
)

// worker is what a forked process touches.
const worker = 8 << 20

// ways are what -how can be. Each gets the memory that is held all the time.
var ways = map[string]func(held []byte, end time.Time) error{
	"zombies": func(_ []byte, end time.Time) error { return dead(end, 0) },
	"late":    func(_ []byte, end time.Time) error { return dead(end, 50*time.Millisecond) },
	"forks":   forks,
	"cow":     cow,
	"mapped":  mapped,
}

var path = flag.String("file", "", "`FILE` of mapped")

func main() {
	how := flag.String("how", "", "zombies, late (reapers), forks, cow (server) or mapped (file)")
	size := flag.Int64("size", 0, "`BYTES` that are held all the time")
	last := flag.Duration("for", 300*time.Millisecond, "`TIME` that it takes")
	flag.Parse()
	if err := run(*how, *size, *last); err != nil {
		fmt.Fprintln(os.Stderr, "honest:", err)
		os.Exit(1)
	}
}

func run(how string, size int64, last time.Duration) error {
	way := ways[how]
	if way == nil {
		return fmt.Errorf("-how %q: no such way", how)
	}
	if err := fork.Prepare(); err != nil {
		return err
	}
	held, err := memory(size)
	if err != nil {
		return err
	}
	for at := 0; at < len(held); at += note.Small {
		held[at] = 1
	}
	return way(held, time.Now().Add(last))
}

// memory is the file, or memory of this process's own.
func memory(size int64) ([]byte, error) {
	if *path == "" {
		return note.Map(size, false)
	}
	return window(0, size)
}

// dead forks processes one by one that touch memory and exit, and reaps each of them so much later; never when later is 0.
func dead(end time.Time, later time.Duration) error {
	m, err := note.Map(worker, false)
	if err != nil {
		return err
	}
	type corpse struct {
		pid int
		due time.Time
	}
	var corpses []corpse
	for time.Now().Before(end) && len(corpses) < 500 {
		pid, err := (&fork.Job{Touch: m}).Start()
		if err != nil {
			return err
		}
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			return os.NewSyscallError("waitid", err)
		}
		corpses = append(corpses, corpse{pid, time.Now().Add(later)})
		for later > 0 && len(corpses) > 0 && time.Now().After(corpses[0].due) {
			if _, err := unix.Wait4(corpses[0].pid, nil, 0, nil); err != nil {
				return os.NewSyscallError("wait4", err)
			}
			corpses = corpses[1:]
		}
	}
	return nil
}

// forks starts programs as fast as it can, two at a time.
func forks(_ []byte, end time.Time) error {
	nop, err := exec.LookPath("true")
	if err != nil {
		return err
	}
	done := make(chan error)
	for range 2 {
		go func() {
			var err error
			for err == nil && time.Now().Before(end) {
				var p *os.Process
				if p, err = os.StartProcess(nop, []string{nop}, &os.ProcAttr{}); err == nil {
					_, err = p.Wait()
				}
			}
			done <- err
		}()
	}
	err = <-done
	if other := <-done; err == nil {
		err = other
	}
	return err
}

// cow has eight forked workers that each write another part of what they inherited, and a new one for each that ends.
func cow(held []byte, end time.Time) error {
	const workers = 8
	parts := map[int]int{} // pid: part
	for part := range workers {
		if err := work(held, part, parts); err != nil {
			return err
		}
	}
	for time.Now().Before(end) {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("wait4", err)
		}
		part := parts[pid]
		delete(parts, pid)
		if err := work(held, part, parts); err != nil {
			return err
		}
	}
	return nil
}

func work(held []byte, part int, parts map[int]int) error {
	pid, err := (&fork.Job{Touch: held[part*worker : (part+1)*worker], Hold: int64(20 * time.Millisecond)}).Start()
	parts[pid] = part
	return err
}

// mapped maps, uses and unmaps windows of a file that is mapped as a whole already: resident twice, in memory once.
func mapped(held []byte, end time.Time) error {
	const size = 16 << 20
	for time.Now().Before(end) {
		at := rand.Int64N(int64(len(held))-size) &^ (note.Small - 1)
		m, err := window(at, size)
		if err != nil {
			return err
		}
		for i := 0; i < len(m); i += note.Small {
			m[i] += held[i]
		}
		if err := unix.Munmap(m); err != nil {
			return err
		}
	}
	return nil
}

func window(at, size int64) ([]byte, error) {
	f, err := os.OpenFile(*path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), at, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return m, os.NewSyscallError("mmap", err)
}
