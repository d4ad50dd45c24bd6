package rlimit

import "golang.org/x/sys/unix"

// types are all resource limits of Linux, sorted by name. Units, ranges and
// versions are those of getrlimit(2), proc_pid_limits(5) and, where those are
// silent, kernel/sys.c. Every value from 0 to Max and Infinity can be set unless
// a range is given; the kernel does not check ranges but caps their effect.
//
// Defaults are INIT_RLIMITS of include/asm-generic/resource.h, with _STK_LIM and
// MLOCK_LIMIT of include/uapi/linux/resource.h, INR_OPEN_CUR and INR_OPEN_MAX of
// include/uapi/linux/fs.h, MQ_BYTES_MAX of include/uapi/linux/mqueue.h, and for
// RLIMIT_NPROC and RLIMIT_SIGPENDING fork_init of kernel/fork.c.
var types = [...]Type{
	// Rounded down to pages. brk, mmap and mremap beyond it fail with ENOMEM,
	// growing the stack with SIGSEGV.
	{"RLIMIT_AS", unix.RLIMIT_AS, "bytes", Process, "unlimited",
		"address space; mmap and brk beyond it fail with ENOMEM", "Max address space"},

	// 0 writes none, a larger dump is cut off. Not enforced when core_pattern
	// pipes the dump into a program.
	{"RLIMIT_CORE", unix.RLIMIT_CORE, "bytes", Process, "0:unlimited",
		"core file; a larger one is cut off, 0 writes none", "Max core file size"},

	// SIGXCPU at the soft limit and each second from then on, SIGKILL at the
	// hard limit. 0 acts as 1 (since 2.6.17).
	{"RLIMIT_CPU", unix.RLIMIT_CPU, "seconds", Process, "unlimited",
		"CPU time; SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one", "Max cpu time"},

	// Rounded down to pages: initialized data, uninitialized data and heap;
	// since 4.7 private writable mappings as well.
	{"RLIMIT_DATA", unix.RLIMIT_DATA, "bytes", Process, "unlimited",
		"data segment, heap and private writable mappings; brk and mmap beyond it fail with ENOMEM", "Max data size"},

	// SIGXFSZ, or EFBIG if that is caught or ignored.
	{"RLIMIT_FSIZE", unix.RLIMIT_FSIZE, "bytes", Process, "unlimited",
		"size of a file that it writes; SIGXFSZ, or EFBIG if that is caught or ignored", "Max file size"},

	// Enforced by 2.4.0 to 2.4.24 only; later kernels take it and ignore it.
	{"RLIMIT_LOCKS", unix.RLIMIT_LOCKS, "locks", Process, "unlimited",
		"flock locks and fcntl leases; no effect since Linux 2.4.25", "Max file locks"},

	// Rounded down to pages, for processes without CAP_IPC_LOCK (since 2.6.9).
	// mlock, mlockall and MAP_LOCKED count for the process; SHM_LOCK and locked
	// huge pages for the user, as UserNamespace has it.
	{"RLIMIT_MEMLOCK", unix.RLIMIT_MEMLOCK, "bytes", Process, "8388608",
		"locked memory; mlock beyond it fails with ENOMEM (SHM_LOCK: of the user, as with processes)", "Max locked memory"},

	// With their overhead. Since 2.6.8.
	{"RLIMIT_MSGQUEUE", unix.RLIMIT_MSGQUEUE, "bytes", UserNamespace, "819200",
		"POSIX message queues; mq_open beyond it fails with EMFILE", "Max msgqueue size"},

	// As 20-nice, from 1 (nice 19) to 40 (nice -20), because limits are not
	// negative; 0 forbids raising the priority just as 1 does. Since 2.6.12.
	{"RLIMIT_NICE", unix.RLIMIT_NICE, "priority", Process, "0",
		"ceiling of the nice value, as 20 - nice; nice beyond it fails with EPERM or EACCES", "Max nice priority"},

	// One more than the largest file descriptor, from 0 to the sysctl
	// fs.nr_open; Infinity is refused by the kernel. Since 4.5 it also bounds
	// the descriptors a user has in flight over UNIX sockets.
	{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, "files", Process, "1024:4096",
		"largest file descriptor and one more; open beyond it fails with EMFILE", "Max open files"},

	// Threads, not processes. Not enforced for the superuser of the initial
	// user namespace, CAP_SYS_ADMIN and CAP_SYS_RESOURCE.
	{"RLIMIT_NPROC", unix.RLIMIT_NPROC, "processes", UserNamespace, "half of kernel.threads-max at boot",
		"threads of the user; fork beyond it fails with EAGAIN; not enforced for root", "Max processes"},

	// Had an effect on madvise before 2.4.30 and has none since.
	{"RLIMIT_RSS", unix.RLIMIT_RSS, "bytes", Process, "unlimited",
		"resident set; no effect since Linux 2.4.30", "Max resident set"},

	// From 0 (none) to 99. Since 2.6.12.
	{"RLIMIT_RTPRIO", unix.RLIMIT_RTPRIO, "priority", Process, "0",
		"ceiling of the real-time priority; sched_setscheduler beyond it fails with EPERM", "Max realtime priority"},

	// SIGXCPU at the soft limit, SIGKILL at the hard limit. Since 2.6.25.
	{"RLIMIT_RTTIME", unix.RLIMIT_RTTIME, "microseconds", Process, "unlimited",
		"real-time CPU time without a blocking system call; SIGXCPU at the soft limit, SIGKILL at the hard one", "Max realtime timeout"},

	// Enforced for sigqueue. Since 2.6.8.
	{"RLIMIT_SIGPENDING", unix.RLIMIT_SIGPENDING, "signals", UserNamespace, "half of kernel.threads-max at boot",
		"queued signals; sigqueue beyond it fails with EAGAIN", "Max pending signals"},

	// A quarter of it bounds arguments and environment of execve (since
	// 2.6.23), and most C libraries take it as the default stack size of
	// threads.
	{"RLIMIT_STACK", unix.RLIMIT_STACK, "bytes", Process, "8388608:unlimited",
		"stack of the first thread; SIGSEGV beyond it", "Max stack size"},
}
