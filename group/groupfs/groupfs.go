// Package groupfs shows a tree of limit groups as files, in the manner of limit(3): a shell can make groups, join them and limit them without
// any other program.
//
// # The files
//
//	ctl       read: the id of the group. write: "label TEXT", "mlim N", "mproc N", "mpage N"; N may be "none"
//	clone     open: a new group below, into which the opener moves; read: its id. The open file refers to it
//	switch    open: the opener moves into the group; read: its id
//	status    label, parent, and for each limit a line: its name, the limit or "none", and the count; then how mproc is held
//	error     why the last write or open that failed here did so
//	groups/   a directory for each group, named by its id, with the same files
//
// The files of the root directory are those of the caller's own group, whoever that is: the group that it has moved to, or that of the run that it
// is in, or else the system's (1). One write has one command, or several, a line each; either all are done or none.
//
// # Who may
//
// The owner of a group, and root, may change it, join it and make groups below it; everybody may do the last two with the system's group,
// and may make groups below the own one. Others get EPERM. EINVAL is a command that is none, or a bad value; EDQUOT a limit that does not permit it;
// ENOSPC a tree that is full; ENOENT a group that is gone.
//
// # Who has moved
//
// What a process forks after it has moved is in the group, too, whatever session or parent it has: moving puts a seal on the process, which the
// kernel hands down (see seal). The processes of one move have a seat in the group, which this package keeps: it counts them, measures their
// memory, and ends them when the group decides so, with SIGKILL. What was forked before stays where it is.
//
// A process of a run stays the run's as well, wherever it moves: groups above both count it twice.
//
// # What it does not
//
// It cannot stop who has moved from forking or allocating: it looks 10 times a second, more often when there is little room, and
// acts when a limit is exceeded. With the end of the server nobody is counted any more; what has moved lives on in the system's group.
package groupfs

// maxCommand is how much may be written at once, in bytes.
const maxCommand = 4096
