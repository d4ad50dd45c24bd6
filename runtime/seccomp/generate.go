package seccomp

// Values that a program returns: SECCOMP_RET_* of linux/seccomp.h. The lower 16 bits are data: an errno, or what a tracer gets.
const (
	retKillProcess = 0x80000000 // since Linux 4.14
	retKillThread  = 0x00000000
	retTrap        = 0x00030000
	retErrno       = 0x00050000
	retNotify      = 0x7fc00000 // SECCOMP_RET_USER_NOTIF, since Linux 5.0
	retTrace       = 0x7ff00000
	retLog         = 0x7ffc0000 // since Linux 4.14
	retAllow       = 0x7fff0000

	// badArch is libseccomp's default for an architecture that is not in the filter (src/db.c, db_col_reset).
	badArch = retKillThread
	// noSuchCall is what calls that are newer than the profile get.
	noSuchCall = retErrno | enosys
)

// Numbers of errors, the same on every architecture of Linux that is in archs: asm-generic/errno.h.
const (
	eperm    = 1
	enosys   = 38
	maxErrno = 4095 // the kernel cuts what is above (seccomp(2), SECCOMP_RET_ERRNO)
)

// verdict is what happens with a call: a value to return, or rules that decide it.
type verdict struct {
	ret   uint32
	rules *ruleSet // nil for one without conditions
}

// span is a range of numbers with the same verdict, up to the next span's first.
type span struct {
	first uint32
	verdict
}

// spans are in the order of their numbers, and begin with number 0.
type spans []span

// put gives a verdict to all numbers from first on, which is at least the last span's.
func (s *spans) put(first uint32, v verdict) {
	if n := len(*s); n > 0 && (*s)[n-1].first == first {
		*s = (*s)[:n-1]
	}
	if n := len(*s); n > 0 && (*s)[n-1].verdict == v {
		return
	}
	*s = append(*s, span{first, v})
}

// table puts the verdicts of one table, from first on.
func (s *spans) table(first uint32, t *table, conf *config) {
	def := verdict{ret: conf.def}
	s.put(first, def)
	for _, nr := range t.numbers() {
		s.put(nr, t.calls[nr].verdict())
		s.put(nr+1, def)
	}
	if conf.enosys && t.named {
		s.put(t.greatest+1, verdict{ret: noSuchCall})
	}
}

// numberSpans returns what happens with each number of the architectures that the kernel does not tell apart: x86_64 and x32, or one.
//
// Without x32 its numbers are a bad architecture, and -1 is not, by which a tracer skips a call; and without x86_64 its numbers are
// (libseccomp src/gen_bpf.c, _gen_bpf_arch).
func numberSpans(audit uint32, conf *config, tables []*table) spans {
	var (
		s           spans
		x32, others *table
	)
	s.put(0, verdict{ret: badArch})
	for _, t := range tables {
		switch {
		case t.arch.audit != audit:
		case t.arch.bit != 0:
			x32 = t
		default:
			others = t
			s.table(0, t, conf)
		}
	}
	switch {
	case audit != auditX86_64 || others == nil && x32 == nil:
		return s
	case x32 != nil:
		s.table(x32Bit, x32, conf)
	default:
		s.put(x32Bit, verdict{ret: badArch})
	}
	// Numbers from 2^31 on without the bit: runc's check for new calls, which comes before all others, has them for x86_64, libseccomp for x32.
	rest := s[len(s)-1].verdict
	switch {
	case others != nil && conf.enosys && others.named:
		s.put(2*x32Bit, verdict{ret: noSuchCall})
	case x32 != nil:
		s.put(2*x32Bit, verdict{ret: conf.def})
	}
	s.put(3*x32Bit, rest)
	if x32 == nil {
		s.put(^uint32(0), verdict{ret: conf.def})
	}
	return s
}

// generate writes the program: which architecture, which number, which arguments.
func generate(conf *config, tables []*table) []Instruction {
	a := &assembler{returns: map[uint32]label{}}
	next := a.ret(badArch)
	// The native architecture comes last here, and so first in the program.
	done := map[uint32]bool{}
	type section struct {
		audit uint32
		start label
	}
	var sections []section
	for i := len(tables) - 1; i >= 0; i-- {
		audit := tables[i].arch.audit
		if done[audit] || i > 0 && audit == tables[0].arch.audit {
			continue
		}
		done[audit] = true
		start := a.tree(numberSpans(audit, conf, tables))
		sections = append(sections, section{audit, a.load(offNumber, ^uint32(0), start)})
	}
	for _, s := range sections {
		next = a.jump(opEqual, s.audit, s.start, next)
	}
	a.load(offArch, ^uint32(0), next)
	return a.program()
}

// tree finds the span of the number in the accumulator.
func (a *assembler) tree(s spans) label {
	if len(s) == 1 {
		return a.act(s[0].verdict)
	}
	mid := len(s) / 2
	right := a.tree(s[mid:])
	left := a.tree(s[:mid])
	return a.jump(opAtMin, s[mid].first, right, left)
}

// act returns the value, or that of the first rule all of whose conditions hold.
func (a *assembler) act(v verdict) label {
	next := a.ret(v.ret)
	if v.rules == nil {
		return next
	}
	list := v.rules.list()
	for i := len(list) - 1; i >= 0; i-- {
		r := list[i]
		holds := a.ret(r.action)
		for j := len(r.conds) - 1; j >= 0; j-- {
			holds = a.condition(r.conds[j], holds, next)
		}
		next = holds
	}
	return next
}

// condition compares an argument, the upper half first, and continues at yes or no. Halves without a bit of the mask are left out, so
// the upper ones of architectures with 32 bits are.
func (a *assembler) condition(c condition, yes, no label) label {
	low, high := offArgs+argSize*c.index, offArgs+argSize*c.index+argUpper
	lowMask, highMask := uint32(c.mask), uint32(c.mask>>32)
	if c.op.negated {
		yes, no = no, yes
	}
	l := yes
	if lowMask != 0 {
		l = a.load(low, lowMask, a.jump(c.op.low, uint32(c.value), yes, no))
	}
	if highMask == 0 {
		return l
	}
	l = a.jump(opEqual, uint32(c.value>>32), l, no)
	if c.op.low != opEqual { // above the value in the upper half: above it in all
		l = a.jump(opGreat, uint32(c.value>>32), yes, l)
	}
	return a.load(high, highMask, l)
}
