//go:build !portable

package launch

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The reaper shares the memory of the supervisor (CLONE_VM), and until execve so does the payload where it can: neither page tables are
// copied nor is every page that the supervisor writes to afterwards, which is a fifth of the time that mlrun run /bin/true takes, and the
// reaper costs no memory but that of the kernel. They are processes all the same: a signal that ends one ends no other.
//
// Both run on stacks of their own, and write to nothing but what is theirs in plan, which the supervisor keeps as long as it knows the
// process, and which stays when it ends: the memory is that of whoever is left. Their signal handlers are reset by the kernel
// (CLONE_CLEAR_SIGHAND, Linux 5.5). Where clone3(2) is not there, or is not permitted, they are forked.
//
// What is shared by all who share memory must not be changed by one: /proc/PID/oom_score_adj is written for all of them (fs/proc/base.c, __set_oom_adj),
// and a change of user or capabilities makes all of them undumpable (kernel/cred.c, commit_creds). So a payload with one of these is forked. The
// kernel's OOM killer kills all who share memory. It chooses the largest process, which mlrun is not, but where the payload is to be
// spared (Config.OOMScoreAdj), and then nothing is shared.

// cloneArgs is struct clone_args of clone3(2), in its first version (Linux 5.3).
type cloneArgs struct {
	flags            uint64
	_, _, _          uint64 // pidfd, child_tid, parent_tid
	exitSignal       uint64
	stack, stackSize uint64
	_                uint64 // tls
}

// shareStack is the size of a stack. What runs on it is nosplit, of which the linker allows less than 800 bytes, and takes no signals.
const shareStack = 4096

// share prepares what is to share the supervisor's memory.
func (p *plan) share(c *Config) {
	if !canShare || c.Sibling || c.child || c.OOMScoreAdj != nil {
		return
	}
	p.shared = true
	p.reaperClone = newCloneArgs(p, unix.CLONE_CLEAR_SIGHAND)
	if !c.SetUser && !c.SetGroups && c.Capabilities == nil && c.Tasks == nil && len(c.Labels) == 0 {
		p.sharing = true
		p.payloadClone = newCloneArgs(p, 0)
	}
}

func newCloneArgs(p *plan, flags uint64) *cloneArgs {
	stack := new([shareStack]byte)
	return &cloneArgs{
		flags: unix.CLONE_VM | flags, exitSignal: uint64(unix.SIGCHLD),
		stack: uint64(addr(p, stack)), stackSize: uint64(unsafe.Sizeof(*stack)),
	}
}

// held are the plans of processes that share memory: what they run on must not be given to anybody else by the garbage collector, which does
// not know of them.
var held struct {
	sync.Mutex
	plans map[*plan]struct{}
}

func (p *plan) hold() {
	if !p.shared {
		return
	}
	held.Lock()
	defer held.Unlock()
	if held.plans == nil {
		held.plans = map[*plan]struct{}{}
	}
	held.plans[p] = struct{}{}
}

func (p *plan) release() {
	held.Lock()
	defer held.Unlock()
	delete(held.plans, p)
}
