package group

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ID is the number of a group, from 1 on.
type ID int64

// System is the group that limits and counts nothing: the root of the tree.
const System ID = 1

// None is the value of a limit that is none.
const None = -1

// MaxLabel is how long a label may be, in bytes.
const MaxLabel = 120

// Errors. Test for them with errors.Is.
var (
	ErrNotExist  = errors.New("no such group")
	ErrAmbiguous = errors.New("more than one group has this label")
	ErrSystem    = errors.New("group 1 is the system's, which has no limits and cannot be changed")
	ErrBusy      = errors.New("group is in use")
	ErrGroups    = errors.New("limit of groups (mlim) reached")
	ErrProcesses = errors.New("limit of processes (mproc) reached")
	ErrMemory    = errors.New("limit of memory (mpage) reached")
	ErrBelow     = errors.New("limit is below what is in use")
	ErrFull      = errors.New("tree is full")
	ErrInvalid   = errors.New("invalid value")
	ErrClosed    = errors.New("tree is closed")
)

// Limits are what a group and everything below it may have: numbers from 0 on, or None.
type Limits struct {
	Groups    int64 `json:"mlim"`   // groups below it
	Processes int64 `json:"mproc"`  // processes
	Memory    int64 `json:"memory"` // bytes
}

// Counts are what there is of a group and of everything below it.
type Counts struct {
	Groups    int64 `json:"groups"`    // below it
	Processes int64 `json:"processes"` // as of their newest samples
	Memory    int64 `json:"memory"`    // bytes, at most: upper bounds of the runs as of their newest samples
}

// Victim says who is ended when a group is over its memory or its processes.
type Victim int64

// The policies. Largest is by what the limit is of: memory or processes.
const (
	KillLargest Victim = iota // the run with the most
	KillNewest                // the run that has joined last
	KillGroup                 // every run of the group and below it
)

var victims = [...]string{KillLargest: "kill-largest-run", KillNewest: "kill-newest-run", KillGroup: "kill-group"}

func (v Victim) String() string {
	if v < 0 || int(v) >= len(victims) {
		return "victim " + strconv.FormatInt(int64(v), 10)
	}
	return victims[v]
}

// MarshalText is String.
func (v Victim) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// ParseVictim reads kill-largest-run, kill-newest-run or kill-group.
func ParseVictim(s string) (Victim, error) {
	for v, word := range victims {
		if s == word {
			return Victim(v), nil
		}
	}
	return 0, fmt.Errorf("%w: victim %s: want %s", ErrInvalid, quote(s), strings.Join(victims[:], ", "))
}

// MaxCount is the largest number of groups or processes that a limit may be.
const MaxCount = math.MaxInt32

// ParseCount reads a limit of groups or processes: digits, from 0 to MaxCount, or "none".
func ParseCount(s string) (int64, error) { return parseNumber(s, MaxCount) }

// ParsePages reads a limit of memory in pages, and returns it in bytes: digits, or "none".
func ParsePages(s string) (int64, error) {
	page := int64(os.Getpagesize())
	n, err := parseNumber(s, math.MaxInt64/page)
	if err != nil || n == None {
		return n, err
	}
	return n * page, nil
}

func parseNumber(s string, most int64) (int64, error) {
	if s == "none" {
		return None, nil
	}
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("%w: %s: want a whole number from 0 on, or none", ErrInvalid, quote(s))
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > most {
		return 0, fmt.Errorf("%w: %s: want at most %d", ErrInvalid, quote(s), most)
	}
	return n, nil
}

// quote is s for an error: of something long, its beginning.
func quote(s string) string {
	const most = 40
	if len(s) <= most {
		return strconv.Quote(s)
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(s[:cut]) + "..."
}

// CheckLabel tells what is wrong with a label: it has at most MaxLabel bytes of UTF-8 that can be printed, without spaces at its ends, is no number
// (which would be an id), and may be empty.
func CheckLabel(s string) error {
	bad := ""
	switch {
	case len(s) > MaxLabel:
		bad = strconv.Itoa(len(s)) + " bytes long, want at most " + strconv.Itoa(MaxLabel)
	case !utf8.ValidString(s):
		bad = "not UTF-8"
	case s != strings.TrimSpace(s):
		bad = "begins or ends with a space"
	case s != "" && strings.Trim(s, "0123456789") == "":
		bad = "a number, which would be taken for an id"
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }); bad == "" && i >= 0 {
		r, _ := utf8.DecodeRuneInString(s[i:])
		bad = fmt.Sprintf("has the character %U, want such that can be printed", r)
	}
	if bad == "" {
		return nil
	}
	return fmt.Errorf("%w: label %s: %s", ErrInvalid, quote(s), bad)
}

// Change is what Create and Set put in place. What is nil stays as it is: without a label, without limits, KillLargest.
type Change struct {
	Label  *string
	Groups *int64 // each limit from 0 on, or None
	// Processes is at most MaxCount.
	Processes *int64
	Memory    *int64 // bytes
	Victim    *Victim
	// Check refuses limits that are below what is in use.
	Check bool
}

func (c *Change) check() error {
	if c.Label != nil {
		if err := CheckLabel(*c.Label); err != nil {
			return err
		}
	}
	for _, l := range []struct {
		name string
		n    *int64
		most int64
	}{{"mlim", c.Groups, MaxCount}, {"mproc", c.Processes, MaxCount}, {"memory", c.Memory, math.MaxInt64}} {
		if l.n != nil && (*l.n < None || *l.n > l.most) {
			return fmt.Errorf("%w: %s %d: want a number from 0 to %d", ErrInvalid, l.name, *l.n, l.most)
		}
	}
	if v := c.Victim; v != nil && (*v < 0 || int(*v) >= len(victims)) {
		return fmt.Errorf("%w: %v", ErrInvalid, *v)
	}
	return nil
}

// over tells which limit of the change is below what is in use.
func (c *Change) over(n Counts) error {
	for _, l := range []struct {
		name  string
		limit *int64
		count int64
	}{{"mlim", c.Groups, n.Groups}, {"mproc", c.Processes, n.Processes}, {"memory", c.Memory, n.Memory}} {
		if l.limit != nil && *l.limit != None && *l.limit < l.count {
			return fmt.Errorf("%w: %s %d, in use %d", ErrBelow, l.name, *l.limit, l.count)
		}
	}
	return nil
}
