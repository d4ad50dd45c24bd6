//go:build !portable

package proc

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"
)

// haltRounds is how often Halt looks for those that were forked while it sent signals.
const haltRounds = 4

// stops are the signals that stop a process unless it says otherwise.
var stops = [...]unix.Signal{unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU}

// Halted is a set of processes that Halt told to stop.
type Halted struct {
	g       *Group
	told    map[ID]bool // each was sent one SIGSTOP
	freezes int         // of the group at that moment: Freeze sends more of them
	settled bool        // everybody was seen stopped, when
	version uint64      // the group had this version
}

// Halt sends SIGSTOP to all members that were not stopped when they were looked at last, by Tally, without waiting for anybody to stop: it is Freeze for who does that
// often. Who was being forked at that moment can get away until Settled is called.
//
// Everybody is sent one signal and no more, and not as a process group. So a stop that is pending when they are continued was sent by others.
func (g *Group) Halt() *Halted {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := &Halted{g: g, told: make(map[ID]bool, len(g.members)), freezes: g.freezes}
	for range haltRounds {
		h.tell()
		if !g.lookAgain() {
			break
		}
	}
	return h
}

// tell tells those that were not told yet. It needs mu.
func (h *Halted) tell() {
	for _, m := range h.g.members {
		if !m.stopped && !h.told[m.ID] && m.handle.Signal(unix.SIGSTOP) == nil {
			h.told[m.ID] = true
		}
	}
}

// Settled tells whether nobody of the group runs any more, and tells those that have got away to stop. A fork that was under way is over when its
// parent has stopped, so nobody of the group can be forked from then on but by who is continued by others.
func (h *Halted) Settled() bool {
	g := h.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if h.settled && h.version == g.Version() {
		return true
	}
	h.settled = false
	for pid, m := range g.members {
		if g.runs(pid, m) {
			return false
		}
	}
	for pid := range g.pending {
		delete(g.pending, pid)
		g.probe(pid)
	}
	if version := g.Version(); g.lookAgain() || version != g.Version() {
		h.tell()
		return false
	}
	h.settled, h.version = true, g.Version()
	return true
}

// Continue sends SIGCONT to those that Halt has stopped, after which it calls running, and then the stops that others have sent them meanwhile:
// SIGCONT takes these back (signal(7)).
func (h *Halted) Continue(running func()) {
	g := h.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if h.settled && h.version == g.Version() {
		g.skip()
	}
	var again []func()
	for _, m := range g.members {
		if !h.told[m.ID] {
			continue
		}
		if h.freezes == g.freezes {
			for _, sig := range g.fs.pendingStops(m.PID) {
				again = append(again, func() { _ = m.handle.Signal(sig) })
			}
		}
		_ = m.handle.Signal(unix.SIGCONT)
	}
	running()
	for _, stop := range again {
		stop()
	}
}

// skip passes over pids that were allocated while nobody of the group ran. The next complete scan finds whom others have continued. It needs mu.
func (g *Group) skip() {
	if last, ok := g.newest.Read(); ok && last != g.last {
		g.last, g.changed = last, true
	}
}

// pendingStops are the signals that stop a process and that one which is stopped has not got yet: SigPnd and ShdPnd of proc_pid_status(5). One that
// has not come to stop has none: what is pending may be what is to stop it.
func (fs FS) pendingStops(pid int) (list []unix.Signal) {
	var buf [4096]byte
	b, err := fs.ReadFile(pid, "status", buf[:])
	if err != nil || !bytes.Contains(b, []byte("\nState:\tT")) {
		return nil
	}
	pending := uint64(0)
	for _, name := range []string{"\nSigPnd:\t", "\nShdPnd:\t"} {
		if _, rest, ok := bytes.Cut(b, []byte(name)); ok {
			digits, _, _ := bytes.Cut(rest, []byte("\n"))
			n, _ := strconv.ParseUint(string(digits), 16, 64)
			pending |= n
		}
	}
	for _, sig := range stops {
		if pending&(1<<(sig-1)) != 0 {
			list = append(list, sig)
		}
	}
	return list
}
