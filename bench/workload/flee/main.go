//go:build linux

// Command flee gets away from the process group that it was started in, in one of several ways, and touches memory there. Nothing of
// it lives longer than patience, whatever becomes of who should have ended it.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/bench/workload/fork"
	"mlrun/bench/workload/note"
)

// patience is how long every process waits to be ended.
const patience = 20 * time.Second

type fleer struct {
	note *note.Note
	file string
	size int64 // bytes to touch at the end of the flight
	left int   // executions still to come
}

// ways are what -how can be: those that a user of this command asks for, and those that it starts itself with.
var ways = map[string]func(*fleer) error{
	"setsid":  func(f *fleer) error { return f.start(&unix.SysProcAttr{Setsid: true}, "grow") },
	"setpgid": func(f *fleer) error { return f.start(&unix.SysProcAttr{Setpgid: true}, "grow") },
	"daemon":  func(f *fleer) error { return f.start(&unix.SysProcAttr{Setsid: true}, "leave") },
	"orphan":  func(f *fleer) error { return f.start(nil, "leave") },
	"storm":   (*fleer).storm,
	"reexec":  (*fleer).reexec,
	"join":    (*fleer).join,
	"family":  (*fleer).family,

	"grow":  (*fleer).grow,
	"leave": (*fleer).leave,
	"idle":  func(*fleer) error { return nil },
}

func main() {
	var f fleer
	flag.StringVar(&f.file, "note", "", "`FILE` of the note")
	flag.Int64Var(&f.size, "size", 0, "`BYTES` to touch")
	flag.IntVar(&f.left, "left", 20, "`N`umber of times that reexec executes itself")
	how := flag.String("how", "", "the `WAY`")
	flag.Parse()
	err := f.run(*how)
	if err != nil {
		fmt.Fprintln(os.Stderr, "flee:", err)
		os.Exit(1)
	}
	time.Sleep(patience)
	os.Exit(3)
}

func (f *fleer) run(how string) (err error) {
	way := ways[how]
	if way == nil {
		return fmt.Errorf("-how %q: no such way", how)
	}
	if f.note, err = note.Open(f.file); err != nil {
		return err
	}
	f.note.Count.Add(1)
	return way(f)
}

// start starts this program again, and reaps it when it ends first.
func (f *fleer) start(attr *unix.SysProcAttr, how string) error {
	_, err := f.startPID(attr, how)
	return err
}

func (f *fleer) startPID(attr *unix.SysProcAttr, how string) (pid int, err error) {
	p, err := os.StartProcess("/proc/self/exe", f.args(how), &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: (*syscall.SysProcAttr)(attr)})
	if err != nil {
		return 0, err
	}
	go func() { _, _ = p.Wait() }()
	return p.Pid, nil
}

func (f *fleer) args(how string) []string {
	return []string{os.Args[0], "-note", f.file, "-size", strconv.FormatInt(f.size, 10), "-left", strconv.Itoa(f.left), "-how", how}
}

// grow is the end of each flight.
func (f *fleer) grow() error {
	m, err := note.Map(f.size, false)
	for at := 0; at < len(m); at += note.Small {
		m[at] = 1
	}
	f.note.Bytes.Add(int64(len(m)))
	return err
}

// leave makes an orphan of the process that it starts.
func (f *fleer) leave() error {
	if err := f.start(nil, "grow"); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}

// storm is a chain of processes: each leads a session of its own, touches its part and forks the next one.
func (f *fleer) storm() error {
	const part = 1 << 20
	m, err := note.Map(f.size, false)
	if err == nil {
		err = fork.Prepare()
	}
	if err != nil {
		return err
	}
	_, err = (&fork.Job{Session: true, Touch: m[:part], Note: f.note, Chain: int(f.size)/part - 1, Hold: int64(patience)}).Start()
	return err
}

// reexec is the same process, but again and again another program.
func (f *fleer) reexec() error {
	if f.left == 0 {
		return f.grow()
	}
	f.left--
	return unix.Exec("/proc/self/exe", f.args("reexec"), os.Environ())
}

// join starts a process in the group that another one leads.
func (f *fleer) join() error {
	leader, err := f.startPID(&unix.SysProcAttr{Setpgid: true}, "idle")
	if err != nil {
		return err
	}
	return f.start(&unix.SysProcAttr{Setpgid: true, Pgid: leader}, "grow")
}

// family is a child, a session, a daemon and a chain of sessions, all idle.
func (f *fleer) family() error {
	f.size = note.Small
	for _, attr := range []*unix.SysProcAttr{nil, {Setsid: true}} {
		for _, how := range []string{"idle", "leave"} {
			if err := f.start(attr, how); err != nil {
				return err
			}
		}
	}
	f.size = 8 << 20
	if err := f.storm(); err != nil {
		return err
	}
	f.note.Ready.Store(note.Now())
	return nil
}
