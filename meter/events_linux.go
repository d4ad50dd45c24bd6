package meter

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"mlrun/proc"
)

// Counters are the events of a process tree, made by Prepare and used by Attach.
type Counters struct {
	clocks []int
	rings  []ring
	others []int  // descriptors that nobody reads
	shared []ring // where all write: rings, or those that the watch had
	used   uint64
	of     map[int][]int // descriptors in clocks and others, by the process that they were opened for
}

// ring is the buffer of one CPU.
type ring struct {
	cpu int
	fd  int
	mem []byte
}

// Prepare opens the counters for processes and everything that they will fork; Attach puts them to use. The first counter on a machine
// takes some milliseconds, in which the kernel waits for all CPUs: call it beside the thread that waits. The error says why there are no
// events here.
func (w *Watch) Prepare(pids []int) (*Counters, error) {
	if err := affordable(); err != nil {
		return nil, err
	}
	c := &Counters{}
	if w.events != nil {
		c.shared = w.events.rings
	} else if err := c.makeRings(w.thread); err != nil {
		c.Close()
		return nil, eventsError(err)
	}
	for _, pid := range pids {
		if err := c.process(pid, w.thread); err != nil {
			c.Close()
			return nil, eventsError(err)
		}
	}
	return c, nil
}

// process opens the counters of all threads of a process. What a thread starts inherits its counters, so when all threads that there are
// have theirs, all that follow have, too.
func (c *Counters) process(pid, thread int) error {
	clocks, others := len(c.clocks), len(c.others)
	defer func() {
		if c.of == nil {
			c.of = map[int][]int{}
		}
		c.of[pid] = append(append(c.of[pid], c.clocks[clocks:]...), c.others[others:]...)
	}()
	opened := map[int]bool{}
	for range threadRounds {
		more := false
		for _, tid := range proc.Root.Threads(pid) {
			if opened[tid] {
				continue
			}
			if len(c.others)+len(c.clocks) > maxCounters-len(c.shared)-2 {
				return fmt.Errorf("process %d and its threads need more than %d counters", pid, maxCounters)
			}
			if err := c.open(tid, thread); err != nil && err != unix.ESRCH {
				return err
			}
			opened[tid], more = true, true
		}
		if !more {
			return nil
		}
	}
	return fmt.Errorf("process %d starts threads without pause", pid)
}

// affordable tells why there are too many CPUs.
func affordable() error {
	if cpus := runtime.NumCPU(); cpus > maxCPUs {
		return fmt.Errorf("perf events: %d CPUs, at most %d can be watched", cpus, maxCPUs)
	}
	return nil
}

func eventsError(err error) error {
	if err == unix.EACCES || err == unix.EPERM {
		if b, e := os.ReadFile("/proc/sys/kernel/perf_event_paranoid"); e == nil && len(b) > 0 && b[0] >= '3' {
			return fmt.Errorf("perf events: kernel.perf_event_paranoid is %c, at most 2 lets users count their own processes: %w", b[0], err)
		}
	}
	return fmt.Errorf("perf events: %w", err)
}

// ProbeEvents tells why there are no events on this machine for the calling user; nil when there are.
func ProbeEvents() error {
	if err := affordable(); err != nil {
		return err
	}
	c := &Counters{}
	defer c.Close()
	err := c.makeRings(0)
	if err == nil {
		err = c.open(0, 0)
	}
	if err != nil {
		return eventsError(err)
	}
	return nil
}

// counter opens one. period is how many events make an overflow, 0: none do; one that writes records wakes up for each.
func counter(config, bits uint64, pid, cpu int, period uint64) (int, error) {
	a := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: config, Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv | bits}
	a.Size = uint32(unsafe.Sizeof(a))
	a.Sample = period
	if bits&unix.PerfBitWatermark != 0 {
		a.Wakeup = 1
	}
	return unix.PerfEventOpen(&a, pid, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
}

// open opens the counters of one thread, 0 for the calling one. thread gets its signals; 0: nobody.
func (c *Counters) open(tid, thread int) error {
	fd, err := counter(unix.PERF_COUNT_SW_PAGE_FAULTS, unix.PerfBitInherit, tid, -1, faultPeriod)
	if err != nil {
		return err
	}
	c.others = append(c.others, fd)
	if thread != 0 {
		if err := signalTo(fd, thread); err != nil {
			return err
		}
	}
	if fd, err = counter(unix.PERF_COUNT_SW_TASK_CLOCK, unix.PerfBitInherit, tid, -1, 0); err != nil {
		return err
	}
	c.clocks = append(c.clocks, fd)
	return c.switches(tid)
}

// switches opens the counters whose records tell of wake-ups.
func (c *Counters) switches(tid int) error {
	for _, r := range c.shared {
		fd, err := counter(unix.PERF_COUNT_SW_DUMMY, unix.PerfBitInherit|unix.PerfBitContextSwitch|unix.PerfBitWatermark, tid, r.cpu, 0)
		if err != nil {
			return err
		}
		c.others = append(c.others, fd)
		if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_OUTPUT, r.fd); err != nil {
			return err
		}
	}
	return nil
}

// makeRings makes the buffers that all switches are recorded in. They belong to counters of a thread of this process, which count nothing:
// poll(2) of one whose thread has ended reports only that (perf_poll in kernel/events/core.c).
func (c *Counters) makeRings(thread int) error {
	for cpu := range runtime.NumCPU() {
		fd, err := counter(unix.PERF_COUNT_SW_DUMMY, unix.PerfBitWatermark, thread, cpu, 0)
		if err == unix.ENODEV { // the CPU is offline: nothing runs there
			continue
		}
		if err != nil {
			return err
		}
		mem, err := unix.Mmap(fd, 0, (1+ringPages)*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			unix.Close(fd)
			return err
		}
		c.rings = append(c.rings, ring{cpu, fd, mem})
	}
	c.shared = c.rings
	return nil
}

// signalTo makes overflows of a counter a SIGIO to one thread. SIGIO does not queue: however many overflows there are, one is pending.
func signalTo(fd, thread int) error {
	owner := struct{ kind, id int32 }{0, int32(thread)} // F_OWNER_TID
	if _, _, errno := unix.Syscall(unix.SYS_FCNTL, uintptr(fd), unix.F_SETOWN_EX, uintptr(unsafe.Pointer(&owner))); errno != 0 {
		return errno
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_ASYNC)
	return err
}
