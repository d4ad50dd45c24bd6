// Package execgate makes the programs that a process tree executes wait, one by one, until there is room for them.
//
// # What it does
//
// A seccomp filter (package seccomp, Notify) tells a listener of each execve(2) and execveat(2) of a process and of all that it starts, whatever
// the program is: static, set-user-ID, a script. The caller sleeps in the system call until it is answered, with no other process involved, and
// then executes its program as if nothing had been (SECCOMP_USER_NOTIF_FLAG_CONTINUE, Linux 5.5). A Gate owns the listeners and answers: at once
// while there is room, and else in the order in which the calls came.
//
//	process           kernel              Gate                      Room
//	   | execve ------> | notification --> |                          |
//	   |                |                  | Fits? -----------------> |  a few comparisons
//	   | <------------- | <----- continue -| <------------------- yes |
//	   |                |                  |                          |
//	   | execve ------> | notification --> | Enter? -------------- no |
//	   |   (sleeps)     |                  | Wait, for the oldest --> |  in a goroutine
//	   | <------------- | <----- continue -| <--------------- there is|
//
// One thread does all of it: it sleeps in ppoll(2) on the listeners, so an exec that finds room costs two switches between processes and three
// system calls. That both happen on the processor of the caller (SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, Linux 6.6) is not asked for: the thread then
// is on the run queue of who executes, whom the kernel moves to an idle processor for that (sched_exec), so each exec costs three migrations.
//
// What a program is expected to use is pledged to it until it has used it, has ended, or some time has passed: so of many that wait only as many
// start as there is room for. What that is, is configured, or else what earlier ones of the same name had resident.
//
// # A wait that ends otherwise
//
// A process that is killed, or that executes a handler, leaves the system call; the kernel forgets the notification, and the place in the line is
// given up within PatrolEvery. Who is restarted by the kernel in the same call (after SIGCONT, or a handler with SA_RESTART) gets its place back.
// A handler without SA_RESTART makes execve fail with EINTR, as it does with other calls that sleep. With
// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19) that would not be so; but then nothing but SIGKILL and its like would reach who waits: no Ctrl-Z,
// no pause, no freeze for a measurement, no core dump, and each of them would count as load (TASK_UNINTERRUPTIBLE).
//
// When the process with the listener ends, every call that waits fails with ENOSYS (seccomp_unotify(2)).
//
// # What it does not
//
// It is no security boundary. A notification names arguments in memory that another thread may change before the call goes on, and nothing is decided
// by them: the name of the program is an index into what was learnt of it, and that is all. Processes that run are not slowed: only execve
// itself stops at the gate.
package execgate

import (
	"context"
	"errors"
	"time"
)

// ErrUnsupported is returned where the kernel has no notifications.
var ErrUnsupported = errors.New("waiting at each exec is not supported on this platform: it needs seccomp notifications (Linux 5.5)")

// Calls are the system calls that are to be told of.
var Calls = []string{"execve", "execveat"}

// Room knows whether there is room. Amounts are in bytes. It is the consumer's view of package admission. A Ticket may be nil: nothing is
// pledged then.
type Room interface {
	// Enter tells whether a program that is expected to use need may start at once. It is called in the gate's thread for every exec while none
	// waits, and must not block.
	Enter(now time.Time, need int64) (Ticket, bool)
	// Wait returns when the oldest of those that wait may start, which is expected to use need; an error only when ctx ends. It is
	// called in a goroutine of its own, for one at a time; if need is 0, for each one that waits: that these do not all start at once is up to it.
	Wait(ctx context.Context, need int64) (Ticket, error)
}

// Ticket is what is pledged to a program that was let in, until it has used it, has ended, or some time has passed.
type Ticket interface {
	Used(bytes int64)   // as of now
	Outstanding() int64 // what is pledged yet; 0 stays 0
	Release()           // once
}

// Peaks is what programs have used, by their name, in bytes. It is called in the gate's thread, and must not block. The queue of package
// admission is one.
type Peaks interface {
	Expect(program string) (peak int64, known bool)
	Record(program string, peak int64)
}

// Config is a gate.
type Config struct {
	Room Room
	// Reserve is what each program is expected to use, in bytes; 0: what earlier ones of its name used, if they are known.
	Reserve int64
	// Peaks remembers that beyond the gate's life. Nil: nobody does.
	Peaks Peaks

	// Held is called when somebody begins to wait, and when it goes on or is gone. Broken is called once, when the kernel does not do what
	// it has to: every exec fails from then on. Both are called in the gate's thread, and must not block. Nil: nobody.
	Held   func(Notice)
	Broken func(error)
	// Thread is called first in the gate's thread, which is its own. Nil: nothing.
	Thread func()
}

// Outcome is what became of an exec.
type Outcome uint8

// The outcomes of an exec that had to wait.
const (
	Holds  Outcome = iota // it begins to wait
	Let                   // there was room
	Forced                // it was let through without
	Gone                  // it was killed or interrupted
)

// Notice tells of an exec that has to wait.
type Notice struct {
	Outcome Outcome
	PID     int    // the thread that executes
	Program string // as it was named; "" when that cannot be read
	Need    int64  // bytes that are pledged to it
	Waited  time.Duration
	Waiting int // how many wait by now
}

// Stats are what a gate has seen.
type Stats struct {
	Execs   int64         // calls that went on, those of a search for the program as one
	Held    int64         // those that had to wait, also those that were killed meanwhile
	Forced  int64         // those that were let through without room
	Waiting int           // those that wait now
	Waited  time.Duration // by all that do not any more
	Longest time.Duration // by one of them
}

// PatrolEvery is how soon it is seen that somebody does not wait any more.
const PatrolEvery = 50 * time.Millisecond
