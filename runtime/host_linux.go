//go:build !portable

package runtime

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"mlrun/bundle"
	"mlrun/proc"
	"mlrun/runtime/launch"
)

// has tells whether this process has a capability in effect.
func has(capability uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) != nil {
		return os.Geteuid() == 0
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}

func mayChangeUser() bool { return has(unix.CAP_SETUID) }

func mayChangeGroups() bool { return has(unix.CAP_SETGID) }

// seal marks who has no reaper of the run above, unless the configuration has a use of its own for the limit.
func seal(list []launch.Rlimit, supervisor proc.ID) []launch.Rlimit {
	mark := proc.Seal(supervisor)
	var now unix.Rlimit
	own := slices.ContainsFunc(list, func(l launch.Rlimit) bool { return l.Resource == unix.RLIMIT_RTTIME })
	if own || unix.Prlimit(0, unix.RLIMIT_RTTIME, nil, &now) != nil || now.Max < mark {
		return list
	}
	return append(list, launch.Rlimit{Name: "RLIMIT_RTTIME", Resource: unix.RLIMIT_RTTIME, Soft: mark, Hard: mark})
}

// checkOOM refuses a process.oomScoreAdj that the caller may not set.
func checkOOM(b *bundle.Bundle) (p []bundle.Problem) {
	if adj := b.Spec.Process.OOMScoreAdj; adj != nil && !has(unix.CAP_SYS_RESOURCE) {
		if now, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
			if n, err := strconv.Atoi(strings.TrimSpace(string(now))); err == nil && *adj < n {
				p = append(p, bundle.Problem{Path: "process.oomScoreAdj", Found: strconv.Itoa(*adj),
					Want: "at least " + strconv.Itoa(n) + ", what this process has: lowering it needs CAP_SYS_RESOURCE"})
			}
		}
	}
	return p
}
