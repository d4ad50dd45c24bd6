// Package userns finds the user namespaces in which the kernel counts the processes of limit groups, and keeps them.
//
// # What it does
//
// RLIMIT_NPROC is counted by user and user namespace, and each namespace is charged to the one around it, with the RLIMIT_NPROC of who
// made it as the limit there (Linux 5.14, kernel/ucount.c). So namespaces that are nested as groups are hold a limit of processes for all runs
// of a group and of the groups below it together: fork fails at once, and nothing has to be killed later. All of that is unprivileged.
//
// There is no daemon that would keep a namespace. The supervisor of each run in it holds a descriptor (Open), and says so where the others
// see it (Holder): who starts the next run takes the namespace from any of them (Find). With the last process and the last supervisor it
// is gone, and the next run makes it anew. Between Find and the publication of its own Holder a starter has to have a lock: two that make
// the namespace of one group would have a limit each.
//
// # What it does not
//
// It makes no namespace: a process does that on its way to its program (launch.Tasks). It cannot change a limit: what a namespace was made
// with holds as long as it exists. It holds nothing for the superuser of the initial namespace, whom the kernel exempts. Entering a namespace
// is not refused by the kernel when it is full, only the fork after that: who may enter is the starter's to decide.
package userns

import (
	"errors"
	"os"
)

// ErrUnsupported is returned on platforms that have no user namespaces.
var ErrUnsupported = errors.New("there are no user namespaces on this platform")

// Level is the namespace of one group.
type Level struct {
	Group int64  // its id
	Limit uint64 // processes and threads, that the kernel lets it have
	FD    int    // the descriptor by which the holder keeps it
	Inode uint64 // which namespace it is, among all that exist
}

// Holder is a supervisor that keeps the namespaces which its run is in, outermost first.
type Holder struct {
	PID    int
	Levels []Level
}

// Joint is what a run that starts has to join, and to make.
type Joint struct {
	// Levels are those that the run will be in, outermost first, without descriptors. They are those of want, but for the ones of the holder
	// who lends the namespace: a group that got its limit when the namespaces below existed has none.
	Levels []Level
	// Joined is how many of them exist, Namespace the innermost of those, to be closed; nil with none.
	Joined    int
	Namespace *os.File
}

// Find looks among the holders for the innermost namespace of want, the groups of a run that have a limit, outermost first. A holder that is
// gone, or whose descriptor is something else by now, is passed over.
func Find(want []Level, holders []Holder) Joint {
	for i := len(want) - 1; i >= 0; i-- {
		for _, h := range holders {
			for k, l := range h.Levels {
				if l.Group != want[i].Group {
					continue
				}
				f, err := borrow(h.PID, l)
				if err != nil {
					continue
				}
				return Joint{Levels: append(bare(h.Levels[:k+1]), bare(want[i+1:])...), Joined: k + 1, Namespace: f}
			}
		}
	}
	return Joint{Levels: bare(want)}
}

func bare(levels []Level) []Level {
	list := make([]Level, len(levels))
	for i, l := range levels {
		list[i] = Level{Group: l.Group, Limit: l.Limit}
	}
	return list
}
