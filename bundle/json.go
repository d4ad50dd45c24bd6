package bundle

import (
	"strconv"
	"unicode/utf8"
)

// maxDepth is how deep arrays and objects may be nested. The spec needs 8.
const maxDepth = 100

type kind uint8

const (
	null kind = iota
	boolean
	number
	text
	array
	object
)

type flags uint8

const (
	escaped flags = 1 << iota // a text with escapes
	bad                       // a problem has been reported for it
	known                     // an object with a member that the spec knows
	keyed                     // an object that is a map: its names are data
)

// node is a value, or the name of a member. The nodes of a document are in the
// order of its text: an array is followed by its elements, an object by names
// and values in turn. They hold no pointers, and 16 bytes each, to keep what a
// large file costs small.
type node struct {
	start, end uint32 // where its text is in the data
	next       uint32 // the node after it and all that is in it
	kind       kind
	flags      flags
}

// tree is a document. Node 0 is its value.
type tree struct {
	data  []byte
	nodes []node
}

// parseObject is parseJSON of an object.
func parseObject(data []byte) (*tree, *Problem) {
	t, problem := parseJSON(data)
	if problem == nil && t.nodes[0].kind != object {
		return nil, &Problem{Found: t.found(0), Want: wantObject}
	}
	return t, problem
}

const wantObject = "a JSON object"

// parseJSON reads data as exactly one value of JSON by RFC 8259, in UTF-8. It
// leaves out of RFC 8259 only what is longer than MaxSize or deeper than
// maxDepth.
func parseJSON(data []byte) (*tree, *Problem) {
	if len(data) > MaxSize {
		return nil, tooBig(strconv.Itoa(len(data)))
	}
	if !utf8.Valid(data) {
		return nil, invalidUTF8(data)
	}
	p := &parser{tree: tree{data: data, nodes: make([]node, 0, len(data)/16+16)}}
	if p.space(); p.pos == len(data) {
		return nil, &Problem{Found: "no data", Want: wantObject}
	}
	if !p.value() {
		return nil, p.problem
	}
	if p.space(); p.pos < len(data) {
		p.fail("nothing after the JSON value")
		return nil, p.problem
	}
	return &p.tree, nil
}

// invalidUTF8 says where data is not UTF-8.
func invalidUTF8(data []byte) *Problem {
	at := 0
	for at < len(data) {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return &Problem{
		Path:  "byte offset " + strconv.Itoa(at),
		Found: "byte 0x" + strconv.FormatUint(uint64(data[at]), 16),
		Want:  "valid UTF-8",
	}
}

// parser adds the nodes of the text from pos on to a tree.
type parser struct {
	tree
	pos     int
	depth   int
	problem *Problem
}

// fail records that something else is wanted at pos. It returns false.
func (p *parser) fail(want string) bool {
	found := "the end of the file"
	if p.pos < len(p.data) {
		r, _ := utf8.DecodeRune(p.data[p.pos:])
		found = strconv.QuoteRune(r)
	}
	return p.failWith(found, want)
}

func (p *parser) failWith(found, want string) bool {
	line, column := 1, 1
	for _, r := range string(p.data[:p.pos]) {
		if column++; r == '\n' {
			line, column = line+1, 1
		}
	}
	p.problem = &Problem{
		Path:  "line " + strconv.Itoa(line) + ", column " + strconv.Itoa(column),
		Found: found,
		Want:  want,
	}
	return false
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// next returns the byte at pos, or 0 at the end. A NUL fits nothing either.
func (p *parser) next() byte {
	if p.pos < len(p.data) {
		return p.data[p.pos]
	}
	return 0
}

// open adds a node that begins at pos, and close completes it.
func (p *parser) open(k kind) int {
	p.nodes = append(p.nodes, node{start: uint32(p.pos), kind: k})
	return len(p.nodes) - 1
}

func (p *parser) close(n int) bool {
	p.nodes[n].end = uint32(p.pos)
	p.nodes[n].next = uint32(len(p.nodes))
	return true
}

// value reads the value at pos, where space has been skipped.
func (p *parser) value() bool {
	switch c := p.next(); c {
	case '{', '[':
		if p.depth++; p.depth > maxDepth {
			return p.failWith("more than "+strconv.Itoa(maxDepth)+" nested values",
				"at most "+strconv.Itoa(maxDepth))
		}
		ok := false
		if c == '{' {
			ok = p.object()
		} else {
			ok = p.array()
		}
		p.depth--
		return ok
	case '"':
		return p.text()
	case 't':
		return p.literal(boolean, "true")
	case 'f':
		return p.literal(boolean, "false")
	case 'n':
		return p.literal(null, "null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return p.number()
	}
	return p.fail("a value")
}

func (p *parser) object() bool {
	n := p.open(object)
	p.pos++
	if p.space(); p.next() == '}' {
		p.pos++
		return p.close(n)
	}
	want := `the name of a member in quotes, or "}"`
	for {
		if p.next() != '"' {
			return p.fail(want)
		}
		if !p.text() {
			return false
		}
		if p.space(); p.next() != ':' {
			return p.fail(`":"`)
		}
		p.pos++
		if p.space(); !p.value() {
			return false
		}
		p.space()
		switch p.next() {
		case '}':
			p.pos++
			return p.close(n)
		case ',':
			p.pos++
		default:
			return p.fail(`"," or "}"`)
		}
		p.space()
		want = "the name of a member in quotes"
	}
}

func (p *parser) array() bool {
	n := p.open(array)
	p.pos++
	if p.space(); p.next() == ']' {
		p.pos++
		return p.close(n)
	}
	for {
		if !p.value() {
			return false
		}
		p.space()
		switch p.next() {
		case ']':
			p.pos++
			return p.close(n)
		case ',':
			p.pos++
		default:
			return p.fail(`"," or "]"`)
		}
		p.space()
	}
}
