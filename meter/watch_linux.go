package meter

import (
	"encoding/binary"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// faultPeriod is how many page faults of one thread make a signal: 512 KiB of 4 KiB pages, which take it 0.1 to 0.4 ms. The
	// signal costs it about 2 us.
	faultPeriod = 128
	// briefMost is the longest wait that keeps a processor of the Go runtime from everybody else, where there are others.
	briefMost = 5 * time.Millisecond
	// ringPages is the size of the buffers that tell of wake-ups. Nobody reads what is in them.
	ringPages = 1
	// maxCPUs is for how many CPUs such buffers are affordable: perf_event_mlock_kb allows a user 516 KiB for each by default.
	maxCPUs = 64
	// maxCounters is how many descriptors the threads may take that are there already when events begin: each takes two, and one for
	// each CPU. Those that are started later cost nothing.
	maxCounters  = 2048
	threadRounds = 5
)

// Watch makes a thread wait for a time, for a word of another thread, and for events of a process tree that change its memory.
//
// # Events
//
// They are software counters of perf_event_open(2), which every user may open for processes of his own with exclude_kernel while
// /proc/sys/kernel/perf_event_paranoid is at most 2. They are inherited by everything that is forked later.
//
//   - Page faults: every 128 faults of a thread make a signal. Pages that the kernel touches on behalf of a process (MAP_POPULATE,
//     mlock, read(2) into fresh memory) do not count, and a huge page counts once: so events only make a sample sooner, they do
//     not replace it.
//   - Context switches (PERF_RECORD_SWITCH, Linux 4.3): the first record after Sleep tells that a process was given a CPU. Processes that
//     sleep cannot grow, so there is nothing to look at until then.
//
// Not seen are processes that execute a set-user-ID program: the kernel takes their counters away (begin_new_exec in fs/exec.c).
//
// A Watch belongs to the goroutine that called NewWatch, which must be locked to its thread (signals go to that thread); only
// Poke and Prepare may be called from others.
type Watch struct {
	thread int
	poke   int // eventfd
	signal int // signalfd of SIGIO
	old    unix.Sigset_t
	polls  []unix.PollFd
	brief  time.Duration // waits up to this keep a processor of the Go runtime

	events *Counters
}

// NewWatch prepares the calling thread, to which the goroutine must be locked: it keeps SIGIO from it, by which it is told of events.
func NewWatch() (*Watch, error) {
	w := &Watch{thread: unix.Gettid()}
	if runtime.GOMAXPROCS(0) > 1 {
		w.brief = briefMost
	}
	var err error
	if w.poke, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	var set unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGIO - 1)
	if err = unix.PthreadSigmask(unix.SIG_BLOCK, &set, &w.old); err == nil {
		if w.signal, err = unix.Signalfd(-1, &set, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK); err == nil {
			return w, nil
		}
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &w.old, nil)
	}
	unix.Close(w.poke)
	return nil, fmt.Errorf("signalfd: %w", err)
}

// Close gives everything back.
func (w *Watch) Close() {
	if w.events != nil {
		w.events.Close()
		w.events = nil
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &w.old, nil)
	unix.Close(w.signal)
	unix.Close(w.poke)
}

// Poke ends a Wait, or the next one. It may be called from every goroutine, until Close.
func (w *Watch) Poke() {
	one := [8]byte{}
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(w.poke, one[:])
}

// Close gives the counters back.
func (e *Counters) Close() {
	for _, r := range e.rings {
		_ = unix.Munmap(r.mem)
		unix.Close(r.fd)
	}
	for _, list := range [][]int{e.clocks, e.others} {
		for _, fd := range list {
			unix.Close(fd)
		}
	}
	*e = Counters{}
}

// Attach makes the watch wake up for events from now on; those that it had are added to.
func (w *Watch) Attach(e *Counters) {
	if w.events == nil {
		w.events = e
		return
	}
	w.events.clocks = append(w.events.clocks, e.clocks...)
	w.events.rings = append(w.events.rings, e.rings...)
	w.events.others = append(w.events.others, e.others...)
	maps.Copy(w.events.of, e.of)
}

// Release gives the counters back that were opened for a process, and those that its descendants have inherited: call it when all of these
// have ended.
func (w *Watch) Release(pid int) {
	if w.events == nil {
		return
	}
	list := w.events.of[pid]
	delete(w.events.of, pid)
	mine := func(fd int) bool { return slices.Contains(list, fd) }
	w.events.clocks = slices.DeleteFunc(w.events.clocks, mine)
	w.events.others = slices.DeleteFunc(w.events.others, mine)
	for _, fd := range list {
		unix.Close(fd)
	}
}

// Used is the CPU time of all watched processes, also of those that ended, in nanoseconds.
func (w *Watch) Used() uint64 {
	var sum uint64
	var b [8]byte
	for _, fd := range w.events.clocks {
		if n, err := unix.Read(fd, b[:]); err == nil && n == len(b) {
			sum += binary.NativeEndian.Uint64(b[:])
		}
	}
	return sum
}

// Sleep tells whether no watched process has had a CPU since the call before, and has none now: then Wait for Woke misses
// nothing. It costs 0.3 us for each process.
func (w *Watch) Sleep() bool {
	if w.events == nil {
		return false
	}
	before := w.events.used
	if w.events.used = w.Used(); w.events.used != before {
		return false
	}
	w.Wait(0, Woke) // the kernel keeps the readiness of a ring until it was polled (perf_poll in kernel/events/core.c)
	for _, r := range w.events.rings {
		page := (*unix.PerfEventMmapPage)(unsafe.Pointer(&r.mem[0]))
		atomic.StoreUint64(&page.Data_tail, atomic.LoadUint64(&page.Data_head))
	}
	w.events.used = w.Used() // who runs now has no record, but its time
	return w.events.used == before
}

// ppoll is ppoll(2) on w.polls. In a brief one the thread keeps its processor of the Go runtime: to give it up and to get it back is
// several times as much work as a sample, since it also wakes up the runtime's monitor thread, which then looks every 20 us what there is.
// Who wants to stop all goroutines waits for it, for 10 ms at most: by then the runtime sends a signal, which ends it.
func (w *Watch) ppoll(ts *unix.Timespec, brief bool) (int, syscall.Errno) {
	call := syscall.Syscall6
	if brief {
		call = syscall.RawSyscall6
	}
	n, _, errno := call(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.polls[0])), uintptr(len(w.polls)), uintptr(unsafe.Pointer(ts)), 0, 0, 0)
	return int(n), errno
}

// Brief is up to when a wait keeps a processor of the Go runtime.
func (w *Watch) Brief() time.Duration { return w.brief }

// Wait blocks for at most d, until it is poked or what on asks for happens, and says what did. It may also end early without a cause.
func (w *Watch) Wait(d time.Duration, on Cause) Cause {
	w.polls = append(w.polls[:0], unix.PollFd{Fd: int32(w.poke), Events: unix.POLLIN})
	if w.events != nil && on&Faulted != 0 {
		w.polls = append(w.polls, unix.PollFd{Fd: int32(w.signal), Events: unix.POLLIN})
	}
	base := len(w.polls)
	if w.events != nil && on&Woke != 0 {
		for _, r := range w.events.rings {
			w.polls = append(w.polls, unix.PollFd{Fd: int32(r.fd), Events: unix.POLLIN})
		}
	}
	ts := unix.NsecToTimespec(int64(max(d, 0)))
	n, errno := w.ppoll(&ts, d > 0 && d <= w.brief)
	if errno != 0 || n <= 0 { // EINTR, too: the caller looks what is due
		return 0
	}
	var cause Cause
	var b [128]byte
	if w.polls[0].Revents != 0 {
		cause |= Poked
		if d > 0 {
			_, _ = unix.Read(w.poke, b[:8])
		}
	}
	if base > 1 && w.polls[1].Revents != 0 {
		cause |= Faulted
		_, _ = unix.Read(w.signal, b[:])
	}
	for _, p := range w.polls[base:] {
		if p.Revents&unix.POLLIN != 0 {
			cause |= Woke
		}
	}
	return cause
}
