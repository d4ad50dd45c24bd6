package batch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mlrun/bundle"
)

// MaxLine is the longest line of a list of jobs, in bytes.
const MaxLine = 4 << 20

// MaxRetries is how often a job may be repeated.
const MaxRetries = 1000

// Spec is a job as a line describes it. Paths are as they stand there.
type Spec struct {
	ID          string        // "" for none
	Bundle      string        // a bundle's directory; "" with Args
	Args        []string      // a program with its arguments; nil with Bundle
	Memory      int64         // bytes; 0: the bundle's
	Reservation int64         // bytes; 0: none is given
	Env         []string      // name=value, beside what there is
	Cwd         string        // "": the bundle's, else that of the batch
	Stdout      string        // file; "": standard error of the batch
	Stderr      string        // likewise
	Retries     int           // after a breach of the memory limit
	Timeout     time.Duration // 0: none
}

// Problem is what is wrong with a line.
type Problem struct {
	Line int
	Text string // where in it, what was found there, what is wanted
}

func (p Problem) String() string { return "line " + strconv.Itoa(p.Line) + ": " + p.Text }

// maxFound is how many bytes of a value a problem shows.
const maxFound = 60

// Parse reads a line. It returns everything that is wrong with it: a text for each, on one line.
func Parse(line []byte) (s Spec, wrong []string) {
	if len(line) > MaxLine {
		return s, []string{fmt.Sprintf("%d bytes, want at most %d", len(line), MaxLine)}
	}
	if !utf8.Valid(line) {
		return s, []string{"not valid UTF-8"}
	}
	members, problem := object(line)
	if problem != "" {
		return s, []string{problem}
	}
	for _, m := range members {
		if w := s.set(m.key, m.value); w != "" {
			wrong = append(wrong, w)
		}
	}
	has := func(key string) bool {
		for _, m := range members {
			if m.key == key {
				return true
			}
		}
		return false
	}
	switch program, dir := has("args"), has("bundle"); {
	case program && dir:
		wrong = append(wrong, "bundle and args: want one of them: a bundle says itself what is executed")
	case !program && !dir:
		wrong = append(wrong, "neither bundle nor args: want one of them: what is to be executed")
	}
	return s, wrong
}

// member is a member of an object.
type member struct {
	key   string
	value json.RawMessage
}

// object reads a JSON object, in its order. A name twice is refused: what is meant is anybody's guess.
func object(line []byte) (list []member, problem string) {
	if !json.Valid(line) {
		return nil, syntax(line)
	}
	if t := bytes.TrimLeft(line, " \t\r\n"); t[0] != '{' {
		return nil, "found " + found(t) + ", want a JSON object"
	}
	d := json.NewDecoder(bytes.NewReader(line))
	_, _ = d.Token() // the brace; the text is valid
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err.Error()
		}
		m := member{key: t.(string)}
		if err := d.Decode(&m.value); err != nil {
			return nil, err.Error()
		}
		for _, other := range list {
			if other.key == m.key {
				return nil, "key " + quote(m.key) + ": twice, want each once"
			}
		}
		list = append(list, m)
	}
	return list, ""
}

// syntax says where a text stops being JSON.
func syntax(line []byte) string {
	var any json.RawMessage
	err := json.Unmarshal(line, &any)
	var at *json.SyntaxError
	if e, ok := err.(*json.SyntaxError); ok {
		at = e
	}
	if at == nil {
		return "not a JSON object"
	}
	return "column " + strconv.FormatInt(max(at.Offset, 1), 10) + ": not JSON: " + at.Error() + "; want one JSON object a line"
}

// found shows a value, shortened, on one line.
func found(raw []byte) string {
	s := strings.Join(strings.Fields(string(raw)), " ")
	if len(s) > maxFound {
		s = strings.ToValidUTF8(s[:maxFound-len("...")], "") + "..."
	}
	return s
}

func quote(s string) string {
	if len(s) > maxFound {
		s = strings.ToValidUTF8(s[:maxFound-len("...")], "") + "..."
	}
	return strconv.Quote(s)
}

// keys are those that a line may have.
const keys = "id, bundle, args, memory, reservation, env, cwd, stdout, stderr, retries, timeout"

// set takes the value of a key. It returns what is wrong with it.
func (s *Spec) set(key string, value json.RawMessage) string {
	want := ""
	switch key {
	case "id":
		want = takeID(&s.ID, value)
	case "bundle":
		want = takePath(&s.Bundle, value)
	case "args":
		want = takeArgs(&s.Args, value)
	case "memory":
		want = takeSize(&s.Memory, value)
	case "reservation":
		want = takeSize(&s.Reservation, value)
	case "env":
		want = takeEnv(&s.Env, value)
	case "cwd":
		want = takePath(&s.Cwd, value)
	case "stdout":
		want = takePath(&s.Stdout, value)
	case "stderr":
		want = takePath(&s.Stderr, value)
	case "retries":
		want = takeCount(&s.Retries, value)
	case "timeout":
		want = takeTime(&s.Timeout, value)
	default:
		return "key " + quote(key) + ": unknown, want one of " + keys
	}
	if want == "" {
		return ""
	}
	return key + ": found " + found(value) + ", want " + want
}

// Each take function sets a value, or returns what is wanted.

// takeText is a string that the kernel can take.
func takeText(to *string, value json.RawMessage) bool {
	var s *string
	if json.Unmarshal(value, &s) != nil || s == nil || strings.IndexByte(*s, 0) >= 0 {
		return false
	}
	*to = *s
	return true
}

func takePath(to *string, value json.RawMessage) string {
	if !takeText(to, value) || *to == "" {
		return "a path: a string that is not empty, without NUL"
	}
	return ""
}

const wantID = "1 to 1024 characters of A-Z a-z 0-9 _ + . - that are no directory's name"

func takeID(to *string, value json.RawMessage) string {
	if !takeText(to, value) || !validID(*to) {
		return wantID
	}
	if _, ok := lineOf(*to); ok {
		return "another one: those of the form " + linePrefix + "N are for lines without an id"
	}
	return ""
}

// validID tells whether an id is one of a container, too.
func validID(id string) bool {
	return len(id) > 0 && len(id) <= 1024 && id != "." && id != ".." &&
		strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-") == ""
}

const linePrefix = "line-"

// lineID is the id of a job that has none of its own.
func lineID(line int) string { return linePrefix + strconv.Itoa(line) }

// lineOf is the line of a job with such an id.
func lineOf(id string) (line int, ok bool) {
	digits, ok := strings.CutPrefix(id, linePrefix)
	if !ok || digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	line, err := strconv.Atoi(digits)
	return line, err == nil
}

func texts(value json.RawMessage) (list []string, ok bool) {
	var raw []json.RawMessage
	if json.Unmarshal(value, &raw) != nil || raw == nil {
		return nil, false
	}
	list = make([]string, len(raw))
	for i, r := range raw {
		if !takeText(&list[i], r) {
			return nil, false
		}
	}
	return list, true
}

func takeArgs(to *[]string, value json.RawMessage) string {
	list, ok := texts(value)
	if !ok || len(list) == 0 || list[0] == "" {
		return "an array of strings without NUL, the first of which is the program"
	}
	*to = list
	return ""
}

func takeEnv(to *[]string, value json.RawMessage) string {
	list, ok := texts(value)
	for _, entry := range list {
		ok = ok && strings.IndexByte(entry, '=') > 0
	}
	if !ok {
		return `an array of strings "NAME=value" without NUL`
	}
	*to = list
	return ""
}

func takeSize(to *int64, value json.RawMessage) string {
	const want = `a whole number of bytes greater than 0, or a string with a suffix such as "512M" (powers of 1024)`
	var s string
	if !takeText(&s, value) {
		if s = string(value); strings.Trim(s, "0123456789") != "" {
			return want
		}
	}
	n, err := bundle.ParseSize(s)
	if err != nil {
		return want
	}
	*to = n
	return ""
}

func takeCount(to *int, value json.RawMessage) string {
	n, err := strconv.Atoi(string(value))
	if err != nil || n < 0 || n > MaxRetries || value[0] == '-' {
		return "a whole number from 0 to " + strconv.Itoa(MaxRetries)
	}
	*to = n
	return ""
}

func takeTime(to *time.Duration, value json.RawMessage) string {
	var s string
	if !takeText(&s, value) {
		if s = string(value); strings.Trim(s, "0123456789") != "" {
			s = "" // refused below
		}
	}
	d, err := bundle.ParseTime(s)
	if err != nil {
		return `whole seconds (60), or a string with a unit ("500ms", "1h30m"), from 10ms to 8760h`
	}
	*to = d
	return ""
}
