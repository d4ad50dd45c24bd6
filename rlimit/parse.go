package rlimit

import (
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Change is what is asked for one type: both limits, or one of them, and the
// other one stays as it is. Values are in units of Type.Unit, or [Infinity].
type Change struct {
	Type
	Soft, Hard       uint64
	SetSoft, SetHard bool // whether Soft and Hard are asked for; one of them is
}

// Apply returns the limit that c makes of the one that there is.
func (c Change) Apply(soft, hard uint64) Limit {
	l := Limit{Type: c.Type, Soft: soft, Hard: hard}
	if c.SetSoft {
		l.Soft = c.Soft
	}
	if c.SetHard {
		l.Hard = c.Hard
	}
	return l
}

// String returns c as [Parse] reads it: "nofile=1024:4096".
func (c Change) String() string {
	s := c.Key() + "="
	if c.SetSoft {
		s += number(c.Soft)
	}
	s += ":"
	if c.SetHard {
		s += number(c.Hard)
	}
	return s
}

// Parse reads a limit as it is given on a command line:
//
//	nofile=1024:4096   soft and hard limit
//	nofile=1024        both
//	nofile=1024:       the soft limit; the hard one stays
//	nofile=:4096       the hard limit; the soft one stays
//
// The type is in the form of [ParseType]. A value is a number in digits in the
// unit of the type, or unlimited, infinity or -1. Where the unit is bytes it
// may have a suffix B, K, M, G or T in either case, which multiplies it by 1,
// 1024, 1024², 1024³ or 1024⁴. A value above [Max] is refused, that of
// RLIM_INFINITY too: no number is made infinite. A soft limit above the hard
// limit is refused.
func Parse(s string) (Change, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return Change{}, errors.New("rlimit " + quote(s) + ": want TYPE=SOFT:HARD, such as nofile=1024:4096")
	}
	t, err := ParseType(name)
	if err != nil {
		return Change{}, err
	}
	c := Change{Type: t}
	soft, hard, both := strings.Cut(value, ":")
	if !both {
		hard = soft
	}
	if soft == "" && hard == "" {
		return Change{}, errors.New("rlimit " + quote(s) + ": no value: want " + t.Key() + "=SOFT:HARD, SOFT: or :HARD")
	}
	if c.Soft, c.SetSoft, err = t.value(soft); err == nil {
		c.Hard, c.SetHard, err = t.value(hard)
	}
	switch {
	case err != nil:
		return Change{}, err
	case c.SetSoft && c.SetHard && c.Soft > c.Hard:
		return Change{}, Check(Limit{Type: t, Soft: c.Soft, Hard: c.Hard}, Infinity, true)
	}
	return c, nil
}

// ParseList is [Parse] of each element. A type that is in the list twice is
// refused. The error has all that is wrong, each as an error of its own
// (Unwrap() []error).
func ParseList(list []string) ([]Change, error) {
	var changes []Change
	var wrong []error
	var texts []string // of changes
	for _, s := range list {
		c, err := Parse(s)
		if i := slices.IndexFunc(changes, func(b Change) bool { return b.Same(c.Type) }); err == nil && i >= 0 {
			err = twice(changes[i].Type, c.Type, texts[i], s)
		}
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		changes, texts = append(changes, c), append(texts, s)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return changes, nil
}

// twice is the error for two texts that set one limit.
func twice(a, b Type, before, s string) error {
	if a.Name == b.Name {
		return errors.New(b.Name + ": " + quote(s) + " after " + quote(before) + ": want each type once")
	}
	return errors.New(b.Name + ": " + quote(s) + " after " + quote(before) + ": " + a.Name + " is the same limit on " + runtime.GOOS + ": want one of them")
}

// ParseType reads the name of a type, in any case and with or without RLIMIT_:
// RLIMIT_NOFILE, NOFILE, nofile; ofile is the name that BSD has for it. A type
// that other platforms have is told from one that nobody knows.
func ParseType(s string) (Type, error) {
	name := prefix + strings.TrimPrefix(strings.ToUpper(s), prefix)
	if name == "RLIMIT_OFILE" {
		name = "RLIMIT_NOFILE"
	}
	if t, ok := Lookup(name); ok {
		return t, nil
	}
	if on := Platforms(name); len(on) > 0 {
		return Type{}, errors.New(name + " is not on " + runtime.GOOS + ": it is a limit of " + strings.Join(on, " and ") + "; leave it out here")
	}
	keys := make([]string, len(types))
	for i := range types {
		keys[i] = types[i].Key()
	}
	return Type{}, errors.New("rlimit " + quote(s) + ": unknown type: want one of " + strings.Join(keys, ", "))
}

// Platforms returns where there is a type with this name, by the names of
// GOOS: those for which this package is written, and freebsd. It is empty for
// a type that is unknown.
func Platforms(name string) (on []string) {
	for _, p := range platforms {
		if slices.Contains(strings.Fields(p.types), strings.TrimPrefix(name, prefix)) {
			on = append(on, p.name)
		}
	}
	return on
}

// platforms are getrlimit(2) of Linux, darwin and FreeBSD.
var platforms = [...]struct{ name, types string }{
	{"linux", "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK"},
	{"darwin", "AS CORE CPU DATA FSIZE MEMLOCK NOFILE NPROC RSS STACK"},
	{"freebsd", "AS CORE CPU DATA FSIZE KQUEUES MEMLOCK NOFILE NPROC NPTS PIPEBUF RSS SBSIZE STACK SWAP UMTXP VMEM"},
}

// value reads one value. set is false for "", which asks for nothing.
func (t Type) value(s string) (n uint64, set bool, err error) {
	switch strings.ToLower(s) {
	case "":
		return 0, false, nil
	case "unlimited", "infinity", "-1":
		return Infinity, true, nil
	}
	digits, unit := s, uint64(1)
	if t.Unit == "bytes" {
		if shift := strings.IndexByte("bkmgt", s[len(s)-1]|0x20); shift >= 0 {
			digits, unit = s[:len(s)-1], 1<<(10*shift)
		}
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false, errors.New(t.Name + ": " + quote(s) + ": want " + t.want())
	}
	n, err = strconv.ParseUint(digits, 10, 64)
	if err != nil || n > Max/unit {
		return 0, false, errors.New(t.Name + ": " + quote(s) + " does not fit rlim_t: ask for at most " + number(Max) + ", or for unlimited")
	}
	return n * unit, true, nil
}

// want is what a value looks like.
func (t Type) want() string {
	if t.Unit == "bytes" {
		return "bytes as a whole number with an optional suffix B, K, M, G or T (powers of 1024), or unlimited"
	}
	return "a whole number (" + t.Unit + ") without a suffix, or unlimited"
}

// quote quotes what somebody has written, cut after 80 bytes.
func quote(s string) string {
	if len(s) > 80 {
		s = s[:77] + "..."
	}
	return strconv.Quote(s)
}
