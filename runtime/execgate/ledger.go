package execgate

import "slices"

const (
	maxPledges  = 512     // programs that are followed at once: the newest
	maxPrograms = 512     // names that are remembered
	negligible  = 8 << 20 // bytes under which a program is not worth a pledge, nor its name being remembered
	fade        = 8       // part of the difference by which a smaller peak lowers what is expected
)

// pledge is a program that was let in.
type pledge struct {
	pid     int
	program string
	ticket  Ticket // nil: nothing is pledged to it
	peak    int64  // the most that was resident
}

// ledger knows the programs that were let in and what earlier ones have used. It has no clock and reads nothing.
type ledger struct {
	reserve int64 // for each; 0: what was learnt
	pledges []*pledge
	learnt  map[string]int64
	names   []string        // of learnt, the oldest first
	peaks   Peaks           // what was learnt before; nil: nothing
	asked   map[string]bool // programs that peaks does not know
}

// need is what a program is expected to use.
func (l *ledger) need(program string) int64 {
	if l.reserve > 0 {
		return l.reserve
	}
	n, known := l.learnt[program]
	if known || l.peaks == nil || program == "" || l.asked[program] {
		return n
	}
	if n, known = l.peaks.Expect(Key(program)); known && n >= negligible {
		l.remember(program, n)
		return n
	}
	if l.asked == nil || len(l.asked) >= maxPrograms {
		l.asked = map[string]bool{}
	}
	l.asked[program] = true
	return 0
}

// Key is under which name Peaks knows a program, the last part of whose path is given. Those of others begin with a directory.
func Key(program string) string { return "exec\x00" + program }

// add notes a program that was let in. One that the same process has executed before has ended. There is nothing to note of one that
// is promised nothing, and of which nothing can be learnt.
func (l *ledger) add(pid int, program string, t Ticket) {
	l.end(pid)
	if t == nil && (program == "" || l.reserve > 0) {
		return
	}
	if len(l.pledges) == maxPledges {
		l.end(l.pledges[0].pid)
	}
	l.pledges = append(l.pledges, &pledge{pid: pid, program: program, ticket: t})
}

// end notes that the program of a process has ended, or is not of interest any more.
func (l *ledger) end(pid int) {
	i := slices.IndexFunc(l.pledges, func(p *pledge) bool { return p.pid == pid })
	if i < 0 {
		return
	}
	p := l.pledges[i]
	l.pledges = slices.Delete(l.pledges, i, i+1)
	l.learn(p.program, p.peak)
	if p.ticket != nil {
		p.ticket.Release()
	}
}

// learn remembers what a program had resident: as much as the largest of late.
func (l *ledger) learn(program string, peak int64) {
	if program == "" || l.reserve > 0 || peak <= 0 {
		return
	}
	if l.peaks != nil && peak >= negligible {
		l.peaks.Record(Key(program), peak)
	}
	before, known := l.learnt[program]
	if peak < before {
		peak = before - (before-peak)/fade
	}
	switch {
	case peak < negligible && known:
		delete(l.learnt, program)
		l.names = slices.DeleteFunc(l.names, func(n string) bool { return n == program })
		return
	case peak < negligible:
		return
	}
	l.remember(program, peak)
}

func (l *ledger) remember(program string, peak int64) {
	if l.learnt == nil {
		l.learnt = map[string]int64{}
	}
	if _, known := l.learnt[program]; !known {
		if len(l.names) == maxPrograms {
			delete(l.learnt, l.names[0])
			l.names = l.names[1:]
		}
		l.names = append(l.names, program)
	}
	l.learnt[program] = peak
}

// sweep looks at all programs: resident tells how much one has, false that it has ended. It tells whether anything is pledged yet.
func (l *ledger) sweep(resident func(pid int) (int64, bool)) (open bool) {
	for _, p := range slices.Clone(l.pledges) {
		n, lives := resident(p.pid)
		if !lives {
			l.end(p.pid)
			continue
		}
		p.peak = max(p.peak, n)
		if p.ticket == nil {
			continue
		}
		p.ticket.Used(n)
		switch {
		case p.ticket.Outstanding() > 0:
			open = true
		case l.reserve > 0:
			l.end(p.pid) // there is nothing more to know of it
		default:
			p.ticket.Release()
			p.ticket = nil
		}
	}
	return open
}
