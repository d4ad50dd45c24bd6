// Package group keeps a tree of limit groups over runs that know nothing of each other.
//
// # What it does
//
// A group has an id, a parent, a label, an owner, limits and counts: of the groups below it (mlim), of processes (mproc), and of memory (mpage, in
// pages; Memory here, in bytes). Counts are of the group and of everything below it. A group obeys its own limits and those of every group
// above it. The group with id 1 is the system's: it limits and counts nothing, and every process without a group is in it. Ids are never used twice in the life of a
// tree. The model is that of limit(3) of 9front's relative, where it is a device of the kernel.
//
// A group lives as long as something refers to it: a seat (a run, a process, an open handle) or a group below it. One that Create was told to keep has a
// reference of its own, which Remove takes back. Everything of a process that ends, however it does, is gone with it.
//
// # Limits
//
//   - Create is refused (ErrGroups) when the parent, or a group above it, has as many groups below it as mlim says.
//   - Join and Move are refused (ErrProcesses) when there would be more processes than mproc in the group or one above it, and (ErrMemory) when one of them
//     uses as much memory as it may, or more: what starts there would be the next to be ended.
//   - A limit may be set below the count. Groups beyond mlim stay, and no more are made until enough of them are gone. Processes and memory beyond a limit are a
//     breach like any other, with all that follows; with Change.Check the change is refused instead (ErrBelow), and nothing is changed.
//   - Over mproc or memory, runs are ended as the group's Victim says. Who ends them decides Settle: under the lock of the tree, once.
//
// # How
//
// All who use a tree have one file mapped, DIR/tree. Each seat has words of its own there that only its holder writes: what the run uses. A count is
// the sum of these, at the moment it is asked for, so there is nothing that could be wrong after a crash; it takes a nanosecond for each seat of the tree, and
// no system call. Who changes the shape of the tree has a lock (fcntl(2)) for some microseconds. Each change becomes valid with the store of one word, so who is
// killed in the middle of one has either made it or not.
//
// Each seat has a lock of its own (one byte of fcntl(2)) that its process holds, and that the kernel gives back when the process ends. Seats without are void. That is looked
// for before every decision, and four times a second by those who watch a limit.
//
// # What it does not
//
// It measures nothing, signals nobody and ends nothing: it tells a seat that its run is to end (Doom). It holds nothing against the user whose groups these are: the
// file is the user's. It has no memory beyond the state directory: where that is lost with a reboot, so are the groups, as are their processes. A tree whose file was removed
// lives on among those who have it mapped; those who come later make a new one.
package group
