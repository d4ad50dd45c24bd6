package rlimit

import "golang.org/x/sys/unix"

// types are all resource limits of darwin, sorted by name: nine (RLIM_NLIMITS),
// of which one has two names. Units are those of getrlimit(2) and
// <sys/resource.h>. There is no /proc, and the limits of
// another process cannot be read.
var types = [...]Type{
	// The same number as RLIMIT_RSS: <sys/resource.h> keeps the two names for
	// one limit.
	{"RLIMIT_AS", unix.RLIMIT_AS, "bytes", Process, "unlimited", "address space", ""},

	{"RLIMIT_CORE", unix.RLIMIT_CORE, "bytes", Process, "unlimited", "core file; 0 writes none", ""},

	{"RLIMIT_CPU", unix.RLIMIT_CPU, "seconds", Process, "unlimited", "CPU time; SIGXCPU at the soft limit", ""},

	{"RLIMIT_DATA", unix.RLIMIT_DATA, "bytes", Process, "unlimited", "data segment", ""},

	{"RLIMIT_FSIZE", unix.RLIMIT_FSIZE, "bytes", Process, "unlimited",
		"size of a file that it writes; SIGXFSZ, or EFBIG if that is caught or ignored", ""},

	{"RLIMIT_MEMLOCK", unix.RLIMIT_MEMLOCK, "bytes", Process, "unlimited", "locked memory; mlock beyond it fails", ""},

	// Up to the sysctl kern.maxfilesperproc.
	{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, "files", Process, "256:unlimited",
		"open files; open beyond it fails with EMFILE", ""},

	// Up to the sysctl kern.maxprocperuid.
	{"RLIMIT_NPROC", unix.RLIMIT_NPROC, "processes", User, "kern.maxprocperuid",
		"processes of the user; fork beyond it fails with EAGAIN", ""},

	// See RLIMIT_AS.
	{"RLIMIT_RSS", unix.RLIMIT_RSS, "bytes", Process, "unlimited", "resident set", ""},

	{"RLIMIT_STACK", unix.RLIMIT_STACK, "bytes", Process, "8388608:67104768",
		"stack of the first thread; SIGSEGV beyond it", ""},
}
