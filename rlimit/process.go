package rlimit

import (
	"errors"
	"strconv"
	"strings"
)

// Value is a limit for output: "unlimited", else the number in decimal.
func Value(v uint64) string { return number(v) }

// ParseProc reads the content of /proc/PID/limits (proc_pid_limits(5), Linux
// 2.6.24): the types that this platform knows, sorted by name. Lines of others
// are passed over. An error names the line.
func ParseProc(b []byte) ([]Limit, error) {
	var list []Limit
	text := string(b)
	for i := range types {
		t := types[i]
		if t.Label == "" {
			continue
		}
		_, rest, ok := strings.Cut(text, "\n"+t.Label+" ")
		if !ok {
			continue // of a later kernel
		}
		line, _, _ := strings.Cut(rest, "\n")
		f := strings.Fields(line)
		if len(f) < 2 {
			return nil, errors.New("limits: " + quote(t.Label+" "+line) + ": want a soft and a hard limit")
		}
		l := Limit{Type: t}
		for j, to := range []*uint64{&l.Soft, &l.Hard} {
			if f[j] == "unlimited" {
				*to = Infinity
				continue
			}
			n, err := strconv.ParseUint(f[j], 10, 64)
			if err != nil {
				return nil, errors.New("limits: " + quote(t.Label+" "+line) + ": want numbers or unlimited")
			}
			*to = n
		}
		list = append(list, l)
	}
	if len(list) == 0 {
		return nil, errors.New("limits: " + quote(text) + ": no limit in it")
	}
	return list, nil
}

// Find returns the limit of the type with this name in a list.
func Find(list []Limit, name string) (Limit, bool) {
	for _, l := range list {
		if l.Name == name {
			return l, true
		}
	}
	return Limit{}, false
}

// Amount is a value of a limit in JSON: a number, or "unlimited" for [Infinity].
type Amount uint64

// String returns "unlimited" or the number in decimal.
func (a Amount) String() string { return number(uint64(a)) }

// MarshalJSON makes a number, or "unlimited".
func (a Amount) MarshalJSON() ([]byte, error) {
	if uint64(a) >= Infinity {
		return []byte(`"` + a.String() + `"`), nil
	}
	return strconv.AppendUint(nil, uint64(a), 10), nil
}

// UnmarshalJSON reads what MarshalJSON makes.
func (a *Amount) UnmarshalJSON(b []byte) error {
	if string(b) == `"unlimited"` {
		*a = Amount(Infinity)
		return nil
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return errors.New("limit " + quote(string(b)) + `: want a number or "unlimited"`)
	}
	*a = Amount(n)
	return nil
}
