package bundle

import (
	"iter"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// elements returns the elements of an array with their indices. There are none
// if n is -1 or not an array.
func (t *tree) elements(n int) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		if n < 0 || t.nodes[n].kind != array {
			return
		}
		index, end := 0, int(t.nodes[n].next)
		for e := n + 1; e < end; e = int(t.nodes[e].next) {
			if !yield(index, e) {
				return
			}
			index++
		}
	}
}

// members returns the names and values of an object in the order of the text,
// all of those with the same name included. There are none if n is -1 or not
// an object.
func (t *tree) members(n int) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		if n < 0 || t.nodes[n].kind != object {
			return
		}
		for e, end := n+1, int(t.nodes[n].next); e < end; e = int(t.nodes[e+1].next) {
			if !yield(e, e+1) {
				return
			}
		}
	}
}

// member returns the value of the member with this name, of those with the
// same name the last. It is -1 if there is none, if it is null, and if n is -1
// or not an object.
func (t *tree) member(n int, name string) int {
	found := -1
	for key, value := range t.members(n) {
		k := &t.nodes[key]
		if int(k.end-k.start) == len(name)+2 {
			if string(t.data[k.start+1:k.end-1]) == name {
				found = value
			}
		} else if k.flags&escaped != 0 && t.text(key) == name {
			found = value
		}
	}
	if found >= 0 && t.nodes[found].kind == null {
		return -1
	}
	return found
}

// entry is a member of an object that is used as a map.
type entry struct {
	name       string
	key, value int
}

// entries returns the members of an object that count: the last of those with
// the same name, in the order of the text, and not null.
func (t *tree) entries(n int) []entry {
	var list []entry
	last := map[string]int{}
	for key, value := range t.members(n) {
		e := entry{t.text(key), key, value}
		list = append(list, e)
		last[e.name] = value
	}
	count := 0
	for _, e := range list {
		if last[e.name] == e.value && t.nodes[e.value].kind != null {
			list[count] = e
			count++
		}
	}
	return list[:count]
}

// raw returns the text of a node.
func (t *tree) raw(n int) []byte {
	return t.data[t.nodes[n].start:t.nodes[n].end]
}

// text returns the value of a string.
func (t *tree) text(n int) string {
	raw := t.data[t.nodes[n].start+1 : t.nodes[n].end-1]
	if t.nodes[n].flags&escaped == 0 {
		return string(raw)
	}
	return unescape(raw)
}

// unescape returns the value of a string from the text between its quotes. Of
// surrogates that are not a pair, each becomes U+FFFD.
func unescape(raw []byte) string {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c != '\\' {
			out = append(out, c)
			continue
		}
		i++
		switch c = raw[i]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) && i+6 < len(raw) && raw[i+1] == '\\' && raw[i+2] == 'u' {
				if pair := utf16.DecodeRune(r, hex4(raw[i+3:])); pair != utf8.RuneError {
					r = pair
					i += 6
				}
			}
			out = utf8.AppendRune(out, r) // a surrogate becomes U+FFFD
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// hex4 returns the value of four hexadecimal digits.
func hex4(digits []byte) (r rune) {
	for _, c := range digits[:4] {
		d, _ := hexDigit(c)
		r = r<<4 | d
	}
	return r
}

// found returns a value as it is shown in a problem: on one line, without
// space, printable and shortened. Node -1 is nothing.
func (t *tree) found(n int) string {
	if n < 0 {
		return "nothing"
	}
	const dots = "..."
	raw := t.raw(n)
	out := make([]byte, 0, maxFound+12)
	cut, quoted := 0, false
	for i := 0; i < len(raw); {
		r, size := utf8.DecodeRune(raw[i:])
		switch {
		case !quoted && (r == ' ' || r == '\t' || r == '\n' || r == '\r'):
		case quoted && r == '\\':
			if size = 2; raw[i+1] == '/' {
				out = append(out, '/') // some writers escape it, and nobody reads it so
			} else {
				out = append(out, raw[i:i+2]...)
			}
		default:
			quoted = quoted != (r == '"')
			out = appendPrintable(out, r)
		}
		i += size
		if len(out) > maxFound {
			return string(out[:cut]) + dots
		}
		if len(out) <= maxFound-len(dots) {
			cut = len(out)
		}
	}
	return string(out)
}

// appendPrintable appends r, or its escape in JSON if it is not printable.
func appendPrintable(out []byte, r rune) []byte {
	if strconv.IsPrint(r) {
		return utf8.AppendRune(out, r)
	}
	const hex = "0123456789abcdef"
	units := utf16.AppendRune(nil, r)
	for _, u := range units {
		out = append(out, '\\', 'u', hex[u>>12], hex[u>>8&15], hex[u>>4&15], hex[u&15])
	}
	return out
}
