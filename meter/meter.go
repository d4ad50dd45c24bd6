// Package meter measures the memory of a set of processes fairly: shared pages once, in proportion.
//
// # What it counts
//
// On Linux, the proportional set size (PSS) of each process, from /proc/PID/smaps_rollup: private pages fully, a page
// that n processes map at 1/n; plus huge pages of hugetlbfs, which PSS leaves out. Swapped pages (SwapPss) are
// reported beside it. Zombies have no memory and count 0.
//
// On macOS, the physical footprint of each process (ri_phys_footprint of proc_pid_rusage, what Activity Monitor shows): anonymous memory, also what of
// it is compressed or swapped out, what the graphics and other drivers map, and page tables; not files, and not libraries (osfmk/arm/pmap/pmap.c, above
// pmap_destroy_internal). The kernel keeps it, so a reading is one call for each process. An anonymous page that several
// processes have mapped, since they were forked or share it, is in the footprint of each one that has touched it: the sum is an upper
// bound of a fair one. See "macOS" below for what cannot be read. What follows is about Linux.
//
// # Two readings
//
// An exact reading makes the kernel walk all page tables: about 10 ms for each GiB of 4 KiB pages. So there is also an
// upper bound, about a microsecond for each process: the sum of the resident set sizes (RSS), since PSS <= RSS. While
// the bound is under the limit nothing else is needed. When shared memory makes it useless, the bound goes on from
// the last exact reading instead, the base; or it counts each page of a file once, however many have it mapped.
//
// # The bound from an exact reading
//
// A page that m mappings of the set and o of outsiders have counts m/(m+o). So one mapping more adds a page at most, one less
// of the set adds nothing, and what ended keeps its share in the base until the next one. What is new since the base is at most
//
//   - what page faults brought, which the kernel counts for the thread that causes them, also those of MAP_POPULATE, mlock and
//     other get_user_pages (mm/memory.c, mm_account_fault; as min_flt or maj_flt): a page of anonymous memory, or the largest
//     enabled folio size; of files 64 KiB (do_fault_around), from Linux 6.18 on a whole folio (filemap_map_pages, finish_fault).
//     A copy-on-write fault is one of them: RSS alone does not show it. No process has more from faults than is resident in
//     it; and growth of its anonymous memory tells that faults were not of files;
//   - transparent huge pages: what /proc/vmstat counts for the machine (thp_fault_alloc, thp_file_mapped), but one for each
//     fault of a process at most, and thp_collapse_alloc, which takes no fault (khugepaged). Swapped folios come back whole, so
//     what was swapped out counts, too;
//   - of a process that a member forked since: what its own faults brought, and its file pages. fork copies page tables
//     (vma_needs_copy) and makes no memory. But what its ancestors faulted since the base may be only with the child by now:
//     their faults whose memory is gone, and the faults of processes that were waited for (cmin_flt), limit what it inherited;
//   - all of a process whose parent is none of these, or that started before the base was complete;
//   - growth of RSS that faults do not explain.
//
// An exact reading of a set that runs is no instant. By how much it can be short is added to Reading.Upper, which is the base: for
// each process what it unmapped or newly mapped in that time, since it may have shared it with one that was read at another
// moment; and for children that were started (the kernel's last pid moved) and may be gone, the share that they took. A stopped
// set is read as it is.
//
// The bound treats what outsiders have mapped as constant: when they unmap, no counter of the set moves. Only for this the base has
// an age: one second, or 100 times what the reading took. Also not seen until the next base, unless RSS shows it: pages put into
// a process by another one (process_vm_writev, ptrace, userfaultfd) or by a driver's mmap; faults in an address space that a
// process borrowed (vfork, CLONE_VM) and left; pages pinned for DMA, which fork copies; and memory of an ancestor that
// nobody waited for, under a subreaper within the set. Huge page settings are read by the first exact reading. Nobody outside may have been
// forked by the set: package proc finds all descendants.
//
// bound.go is pure, and its fuzz test runs it against a model of pages and mappings.
//
// # The bound by files
//
// The pages of a file, or of a segment of shared memory, count one page at most for all their mappings together. So the sum of
// anonymous memory and of all that is mapped of each file (/proc/PID/maps), each byte once, is an upper bound too, and one that neither
// outsiders nor time can make wrong. Files are told apart by device, inode and path: with subvolumes (btrfs) the first two are not enough.
// What devices, sockets and io_uring map is counted for each process, since there the same place is not the same page.
//
// # What is not readable
//
// A set-user-ID or non-dumpable process hides smaps_rollup (ptrace(2), "Ptrace access mode checking"), but not its RSS.
// Counted for it are its private pages in any case, and the largest shared part among all such processes: how often the
// rest is shared cannot be known. Reading.Upper has all of it, and Reading.Unreadable says how many there were. The
// failure to read a process never makes a reading fail.
//
// # macOS
//
// The footprint of a process with another effective user (set-user-ID) is for root only. If proc_pidinfo tells its resident size, that counts;
// else it counts one page, and Reading.Upper has the memory of the whole machine for it. Each process is told from another one with its number by its
// start time in both clocks that the kernel has. Zombies count 0; the kernel keeps their lifetime maximum, which tells of spikes
// that no reading saw. The decisions are in footprint.go, portable, and tested on Linux.
//
// # Details that matter
//
// Processes that share one address space (between vfork and exec, or CLONE_VM) are counted once; kcmp(2) tells. A process
// whose first thread ended is read through another thread. An open file of /proc/PID is bound to the process, not to the
// number, so a reused pid is never counted.
//
// # What it does not
//
// It finds no processes (package proc does) and decides nothing (package limit does). Memory that no process has mapped is
// not counted: page cache, tmpfs files, kernel memory, pipes and sockets.
package meter

import (
	"errors"
	"time"

	"mlrun/proc"
)

// ErrUnsupported is returned on platforms where meter has no implementation yet.
var ErrUnsupported = errors.New("measuring memory is not supported on this platform yet")

// Usage is the memory of one process.
type Usage struct {
	proc.ID
	Memory int64 `json:"memory"` // bytes: PSS and huge pages, or RSS when not Exact
	Swap   int64 `json:"swap"`   // bytes: proportional share of swapped pages
	Exact  bool  `json:"exact"`
}

// Reading is one exact measurement of the set.
type Reading struct {
	Memory     int64         // bytes that count against the limit
	Upper      int64         // bytes at most: more than Memory when Unreadable > 0, or Partial, or the set was not stopped
	Partial    bool          // it was ended early: Memory is what was read, Upper has the RSS of the rest (see ExactUntil)
	Swap       int64         // bytes swapped out
	Processes  int           // processes alive
	Zombies    int           // processes that ended and were not waited for
	Unreadable int           // processes of which only the RSS could be read
	Each       []Usage       // every live process
	At         time.Time     // when the reading began
	Cost       time.Duration // how long it took
}
