package rlimit

import "golang.org/x/sys/unix"

// types are all resource limits of darwin, sorted by name. Units are those of
// getrlimit(2) and <sys/resource.h>.
var types = [...]Type{
	// Size of the virtual memory, in bytes. The same number as RLIMIT_RSS:
	// <sys/resource.h> keeps the two names for one limit.
	{"RLIMIT_AS", unix.RLIMIT_AS, "bytes", Process},

	// Size of a core file, in bytes; 0 writes none.
	{"RLIMIT_CORE", unix.RLIMIT_CORE, "bytes", Process},

	// Processor time, in seconds. SIGXCPU at the soft limit.
	{"RLIMIT_CPU", unix.RLIMIT_CPU, "seconds", Process},

	// Size of the data segment, in bytes.
	{"RLIMIT_DATA", unix.RLIMIT_DATA, "bytes", Process},

	// Size of the files it writes, in bytes. SIGXFSZ.
	{"RLIMIT_FSIZE", unix.RLIMIT_FSIZE, "bytes", Process},

	// Memory locked into RAM by mlock, in bytes.
	{"RLIMIT_MEMLOCK", unix.RLIMIT_MEMLOCK, "bytes", Process},

	// Number of open files, up to the sysctl kern.maxfilesperproc.
	{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, "files", Process},

	// Number of processes of the real user, up to kern.maxprocperuid.
	{"RLIMIT_NPROC", unix.RLIMIT_NPROC, "processes", User},

	// Size of the resident set, in bytes; see RLIMIT_AS.
	{"RLIMIT_RSS", unix.RLIMIT_RSS, "bytes", Process},

	// Size of the stack of the first thread, in bytes.
	{"RLIMIT_STACK", unix.RLIMIT_STACK, "bytes", Process},
}
