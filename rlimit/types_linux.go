package rlimit

import "golang.org/x/sys/unix"

// types are all resource limits of Linux, sorted by name. Units, ranges and
// versions are those of getrlimit(2), proc_pid_limits(5) and, where those are
// silent, kernel/sys.c. Every value from 0 to Infinity can be set unless a
// range is given; the kernel does not check ranges but caps their effect.
var types = [...]Type{
	// Size of the virtual memory, in bytes, rounded down to pages. brk, mmap
	// and mremap beyond it fail with ENOMEM, growing the stack with SIGSEGV.
	{"RLIMIT_AS", unix.RLIMIT_AS, "bytes", Process},

	// Size of a core file, in bytes; 0 writes none, a larger dump is cut off.
	// Not enforced when core_pattern pipes the dump into a program.
	{"RLIMIT_CORE", unix.RLIMIT_CORE, "bytes", Process},

	// Processor time, in seconds. SIGXCPU at the soft limit and each second
	// from then on, SIGKILL at the hard limit. 0 acts as 1 (since 2.6.17).
	{"RLIMIT_CPU", unix.RLIMIT_CPU, "seconds", Process},

	// Size of the data segment, in bytes, rounded down to pages: initialized
	// data, uninitialized data and heap; since 4.7 private writable mappings
	// as well.
	{"RLIMIT_DATA", unix.RLIMIT_DATA, "bytes", Process},

	// Size of the files it writes, in bytes. SIGXFSZ, or EFBIG if that is
	// caught or ignored.
	{"RLIMIT_FSIZE", unix.RLIMIT_FSIZE, "bytes", Process},

	// Number of flock locks and fcntl leases. Enforced by 2.4.0 to 2.4.24
	// only; later kernels take it and ignore it.
	{"RLIMIT_LOCKS", unix.RLIMIT_LOCKS, "locks", Process},

	// Memory locked into RAM, in bytes, rounded down to pages, for processes
	// without CAP_IPC_LOCK (since 2.6.9). mlock, mlockall and MAP_LOCKED count
	// for the process; SHM_LOCK and locked huge pages for the real user.
	{"RLIMIT_MEMLOCK", unix.RLIMIT_MEMLOCK, "bytes", Process},

	// Memory of POSIX message queues, in bytes with their overhead. Since
	// 2.6.8.
	{"RLIMIT_MSGQUEUE", unix.RLIMIT_MSGQUEUE, "bytes", User},

	// Ceiling of the nice value, as 20-nice, from 1 (nice 19) to 40 (nice
	// -20), because limits are not negative; 0 forbids raising the priority
	// just as 1 does. Since 2.6.12.
	{"RLIMIT_NICE", unix.RLIMIT_NICE, "priority", Process},

	// One more than the largest file descriptor, from 0 to the sysctl
	// fs.nr_open; Infinity is refused by the kernel. Since 4.5 it also bounds
	// the descriptors a user has in flight over UNIX sockets.
	{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, "files", Process},

	// Number of threads (not processes) of the real user. fork fails with
	// EAGAIN. Not enforced for the superuser of the initial user namespace,
	// CAP_SYS_ADMIN and CAP_SYS_RESOURCE.
	{"RLIMIT_NPROC", unix.RLIMIT_NPROC, "processes", User},

	// Size of the resident set, in bytes. Had an effect on madvise before
	// 2.4.30 and has none since: it does not limit memory.
	{"RLIMIT_RSS", unix.RLIMIT_RSS, "bytes", Process},

	// Ceiling of the real-time priority, from 0 (none) to 99. Since 2.6.12.
	{"RLIMIT_RTPRIO", unix.RLIMIT_RTPRIO, "priority", Process},

	// Processor time under a real-time policy without a blocking system call,
	// in microseconds. SIGXCPU at the soft limit, SIGKILL at the hard limit.
	// Since 2.6.25.
	{"RLIMIT_RTTIME", unix.RLIMIT_RTTIME, "microseconds", Process},

	// Number of queued signals, of the real user. Enforced for sigqueue.
	// Since 2.6.8.
	{"RLIMIT_SIGPENDING", unix.RLIMIT_SIGPENDING, "signals", User},

	// Size of the stack of the first thread, in bytes. SIGSEGV. A quarter of
	// it bounds arguments and environment of execve (since 2.6.23), and most
	// C libraries take it as the default stack size of threads.
	{"RLIMIT_STACK", unix.RLIMIT_STACK, "bytes", Process},
}
