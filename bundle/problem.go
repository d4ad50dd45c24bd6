package bundle

import (
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration. All texts are a
// single printable line each.
type Problem struct {
	// Path is where: linux.resources.memory.limit, process.args[0],
	// annotations["key"], or "line 3, column 14" where the text is not JSON.
	// It is empty if the problem is with the whole file.
	Path string

	// Found is the value as JSON, shortened, or "nothing" if there is none.
	Found string

	// Want is what is allowed, or why it is not supported.
	Want string

	// Unsupported is whether the value is valid and mlrun does not honour it.
	Unsupported bool
}

// String returns the problem as an error: where, what, and what to do.
func (p Problem) String() string {
	if p.Unsupported {
		return p.Path + " " + p.Found + ": not supported: " + p.Want +
			"; remove it, or pass --ignore-unsupported"
	}
	s := "found " + p.Found + ", want " + p.Want
	if p.Path == "" {
		return s
	}
	return p.Path + ": " + s
}

// Warning returns an unsupported problem as it reads when it is ignored.
func (p Problem) Warning() string {
	return p.Path + " " + p.Found + ": ignored: " + p.Want
}

// Error is everything that is wrong with a configuration, up to a bound of some
// hundred problems that only a hostile one reaches.
type Error struct {
	File     string    // the name that was given to Load or Parse
	Problems []Problem // at least one, invalid ones before unsupported ones
}

// Error returns the first problem on one line, and how many more there are.
func (e *Error) Error() string {
	s := printable(e.File) + ": " + e.Problems[0].String()
	switch n := len(e.Problems) - 1; n {
	case 0:
		return s
	case 1:
		return s + " (and 1 more problem)"
	default:
		return s + " (and " + strconv.Itoa(n) + " more problems)"
	}
}

// maxFound is how many bytes of a value a problem shows.
const maxFound = 60

// printable returns a name as it is, or quoted if it does not fit a line.
func printable(s string) string {
	for _, r := range s {
		if !strconv.IsPrint(r) || r == '\uFFFD' {
			return strconv.Quote(s)
		}
	}
	return s
}

// quote returns s as a string on one line, shortened if it is long.
func quote(s string) string {
	if len(s) > maxFound {
		s = strings.ToValidUTF8(s[:maxFound-len("...")], "") + "..."
	}
	return strconv.Quote(s)
}

// pathError is an error of the file system at a path, on one line.
func pathError(path string, err error) error {
	return &fileError{path: path, err: err}
}

// fileError is fs.PathError without an operation, with a hint.
type fileError struct {
	path string
	err  error
	hint string
}

func (e *fileError) Error() string {
	s := printable(e.path) + ": " + e.err.Error()
	if e.hint != "" {
		s += ": " + e.hint
	}
	return s
}

func (e *fileError) Unwrap() error { return e.err }
