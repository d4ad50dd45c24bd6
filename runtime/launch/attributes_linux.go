//go:build !portable

package launch

import (
	"cmp"
	"fmt"
	"math/bits"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attributes adds what the kernel keeps of a process besides its limits and its user.
func (p *plan) attributes(c *Config) {
	if a := c.Scheduler; a != nil {
		own := *a
		own.Size = uint32(unsafe.Sizeof(own))
		p.call("scheduler", unix.SYS_SCHED_SETATTR, 0, addr(p, &own), 0)
	}
	if c.Nice != nil {
		const whoProcess = 0 // PRIO_PROCESS
		p.call("nice "+strconv.Itoa(*c.Nice), unix.SYS_SETPRIORITY, whoProcess, 0, uintptr(*c.Nice))
	}
	if c.IOPriority != nil {
		const whoProcess = 1 // IOPRIO_WHO_PROCESS
		p.call("ioPriority", unix.SYS_IOPRIO_SET, whoProcess, 0, uintptr(*c.IOPriority))
	}
	for _, set := range c.Affinity {
		p.call("affinity", unix.SYS_SCHED_SETAFFINITY, 0, uintptr(8*len(set)), addrOf(p, append([]uint64(nil), set...)))
	}
	if c.Personality != nil {
		p.call("personality", unix.SYS_PERSONALITY, uintptr(*c.Personality))
	}
	if m := c.MemoryPolicy; m != nil {
		nodes := append([]uint64(nil), m.Nodes...)
		count := uintptr(0)
		if len(nodes) > 0 {
			count = uintptr(64*len(nodes)) + 1 // the kernel takes one off
		}
		p.call("memoryPolicy", unix.SYS_SET_MEMPOLICY, uintptr(m.Mode), addrOf(p, nodes), count)
	}
}

// bounding adds what takes capabilities from the bounding set, as long as that is permitted.
func (p *plan) bounding(drop uint64) {
	for ; drop != 0; drop &= drop - 1 {
		n := bits.TrailingZeros64(drop)
		p.call(fmt.Sprintf("capability %d: prctl PR_CAPBSET_DROP", n), unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(n))
	}
}

// capabilities adds what sets the other sets. The ambient set is emptied by a change of user, and can have what is permitted and inheritable.
func (p *plan) capabilities(c *Config) {
	keep := uint64(0)
	if c.Seccomp != nil {
		keep = c.Seccomp.Keep
	}
	p.capset(c.Capabilities, keep)
	p.call("prctl PR_CAP_AMBIENT_CLEAR_ALL", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0)
	for set := c.Capabilities.Ambient; set != 0; set &= set - 1 {
		n := bits.TrailingZeros64(set)
		p.call(fmt.Sprintf("ambient capability %d", n), unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0)
	}
}

func (p *plan) capset(s *Capabilities, keep uint64) {
	half := func(n uint) unix.CapUserData {
		return unix.CapUserData{Effective: uint32((s.Effective | keep) >> n), Permitted: uint32((s.Permitted | keep) >> n), Inheritable: uint32(s.Inheritable >> n)}
	}
	data := []unix.CapUserData{half(0), half(32)}
	p.call("capset", unix.SYS_CAPSET, addr(p, &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}), addrOf(p, data))
}

// secure adds what comes last, since it may forbid what is done before.
func (p *plan) secure(c *Config) error {
	for _, l := range c.Labels {
		if err := p.write(l.Name, l.File, l.Text); err != nil {
			return err
		}
	}
	for f := c.Seccomp; f != nil; f = f.Next {
		p.filter(f, f == c.Seccomp && f.Listener != nil)
	}
	if f := c.Seccomp; f != nil && f.Keep != 0 && c.Capabilities != nil {
		p.capset(c.Capabilities, 0)
	}
	return nil
}

// filter adds the installation of one filter.
func (p *plan) filter(f *Seccomp, listen bool) {
	program := append([]Instruction(nil), f.Program...)
	// struct sock_fprog of linux/filter.h
	type fprog struct {
		length uint16
		filter *Instruction
	}
	flags := f.Flags
	s := step{op: opCall, name: cmp.Or(f.Step, "seccomp"), nr: unix.SYS_SECCOMP}
	if listen {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
		s.op = opListener
		p.listener()
	}
	s.a = [4]uintptr{unix.SECCOMP_SET_MODE_FILTER, flags, addr(p, &fprog{uint16(len(program)), &program[0]})}
	p.add(s)
}

// listener prepares the message of opListener.
func (p *plan) listener() {
	r := &p.rights
	r.vector.Base = (*byte)(unsafe.Pointer(&p.report))
	r.vector.SetLen(int(unsafe.Sizeof(p.report)))
	r.cmsg.Level, r.cmsg.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	r.cmsg.SetLen(unix.CmsgLen(int(unsafe.Sizeof(r.fd))))
	r.header.Iov, r.header.Iovlen = &r.vector, 1
	r.header.Control = (*byte)(unsafe.Pointer(&r.cmsg))
	r.header.SetControllen(unix.CmsgLen(int(unsafe.Sizeof(r.fd))))
}
