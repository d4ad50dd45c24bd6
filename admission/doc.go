// Package admission decides when something may start: it waits until there is memory for it.
//
// # What it does
//
// Everybody who starts something that may need much memory takes a ticket of the same line, which is a directory. A ticket is admitted when
//
//	available - outstanding - own reservation >= required
//
// available is what the kernel says can be had without swapping (MemAvailable). outstanding is the sum of the reservations of all who were admitted
// before, as far as these have not used them yet: for each of them max(0, reserved - the most that it was seen to use), until it ends, or until its
// reservation has had the time to become memory in use (Criteria.Settle). So what was admitted once is there, and starts that come together do not all take
// the same free memory for theirs: no herd.
//
// First come, first served. Of those who come later one may pass the first only if it does not delay it (choose, which is a pure function):
//
//   - it fits itself, with a reservation of its own: what an unknown start will use, nobody can say;
//   - the first would still not fit if all who passed it before gave back what they have;
//   - with it admitted, the first fits as soon as any one of the others who have a reservation has ended, whichever that is. (When the first waits for
//     pressure only: it still fits.)
//
// So the first starts with the same end of a holder as without those who passed it. Memory that comes back from elsewhere may have let it start earlier; then
// nobody passes it any more, and it starts when those who did have ended. Nobody starves.
//
// # How
//
// The directory has a table of all tickets that wait or hold a reservation (file line). Who changes it locks it, for some microseconds. Each process that has a
// ticket in it holds a lock of its own besides, on one byte. These are locks of fcntl(2): the kernel gives them back when the process dies, however it does,
// and a fork does not have them. Tickets of who has no lock are void; the first in the line looks for such ones at most four times a second, and at once when
// a process that holds a reservation has ended: it watches up to 64 of them (pidfd_open(2)).
//
// Only the first in the line looks at the memory, from twice to ten times a second, the oftener the less is missing. It admits itself, then wakes the one behind it: one by
// one. All others sleep until they are woken (each process by a pipe with a name in the directory), but for a look whether
// the first still does its duty: the second each second, the third every two seconds, and so on up to once a minute. One that does not, stopped by Ctrl-Z for example, loses its turn until it goes on.
//
// What a process knows of its own tickets does not depend on the table: when that was damaged or removed, everybody puts its own back.
//
// The directory has the memory that starts of one kind have peaked at, too: see Queue.Expect.
//
// # What it does not
//
// It enforces nothing: who takes no ticket starts at once, and who uses more than it has reserved is not stopped. It starts nothing. It sees
// the tickets of one user on one machine. It does not use triggers of PSI: these tell that pressure rises, and a line waits for it to fall; the kernel
// works averages out every two seconds, and the first in the line looks at least as often.
package admission
