package bundle

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// toAny returns what a json.Decoder with UseNumber makes of node n.
func toAny(t *tree, n int) any {
	switch t.nodes[n].kind {
	case boolean:
		return string(t.raw(n)) == "true"
	case number:
		return json.Number(t.raw(n))
	case text:
		return t.text(n)
	case array:
		list := []any{}
		for _, e := range t.elements(n) {
			list = append(list, toAny(t, e))
		}
		return list
	case object:
		m := map[string]any{}
		for key, value := range t.members(n) {
			m[t.text(key)] = toAny(t, value)
		}
		return m
	}
	return nil
}

// decodeJSON is parseJSON by encoding/json.
func decodeJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, io.ErrUnexpectedEOF // trailing data
	}
	return v, nil
}

var jsonSeeds = []string{
	`{}`, `[]`, `""`, `0`, `-0`, `null`, `true`, `false`, ` { "a" : [ 1 , 2.5e-3 , "x" ] } `,
	`{"a":1,"b":{"c":[null,{}]},"a":2}`, `[1,]`, `{"a":1,}`, `{,}`, `[,1]`, `{"a"}`, `{"a":}`, `{a:1}`,
	`01`, `-`, `1.`, `.5`, `1e`, `1e+`, `1E+05`, `-1.0e-0`, `+1`, `0x1`, `NaN`, `1 2`, `{} {}`, `[1] x`,
	`"\u00e9\ud83d\ude00\ud83d\ude00"`, `"\ud83d"`, `"\ude00"`, `"\ud83dx"`, `"\ud83d\n"`, `"\ud83d\u0041"`,
	`"\ud83d\ud83d\ude00"`, `"\u12G4"`, `"\u12"`, `"\x41"`, `"\"\\\/\b\f\n\r\t"`, `"`, `"\`, `"a`,
	"\"a\nb\"", "\"\x7f\u0080\u2028\U0001F600\"", "\"\xff\"", "\"\xed\xa0\x80\"", "\xef\xbb\xbf{}", "\x00", "", " ",
	`tru`, `nul`, `falsee`, `{"a":1 "b":2}`, `{"a":1}}`, `{"\u0061":1,"a":2}`, "\v1", "\u00a01", `{"":0}`,
}

func FuzzJSON(f *testing.F) {
	for _, s := range jsonSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, problem := parseJSON(data)
		if problem != nil {
			if s := problem.String(); printable(s) != s || problem.Found == "" || problem.Want == "" {
				t.Errorf("problem %q", s)
			}
		}
		if !utf8.Valid(data) {
			if problem == nil {
				t.Error("accepted what is not UTF-8")
			}
			return
		}
		if problem != nil && strings.Contains(problem.Found, "nested") {
			return
		}
		want, err := decodeJSON(data)
		if (problem == nil) != (err == nil) {
			t.Fatalf("problem %v, but encoding/json says %v", problem, err)
		}
		if problem == nil {
			if diff := cmp.Diff(want, toAny(tree, 0)); diff != "" {
				t.Errorf("(-encoding/json +tree):\n%s", diff)
			}
		}
	})
}

func TestSyntax(t *testing.T) {
	tests := []struct{ name, data, want string }{
		{"empty", "", "found no data, want a JSON object"},
		{"space", " \n\t", "found no data, want a JSON object"},
		{"null", "null", "found null, want a JSON object"},
		{"array", `[ 1, "a b" ]`, `found [1,"a b"], want a JSON object`},
		{"cut off", "{\n  \"a\": 1", `line 2, column 9: found the end of the file, want "," or "}"`},
		{"no comma", "{\"a\": 1\n\"b\": 2}", `line 2, column 1: found '"', want "," or "}"`},
		{"comma too many", "{\"a\": 1,\n}", "line 2, column 1: found '}', want the name of a member in quotes"},
		{"element missing", `{"a": [1,]}`, "line 1, column 10: found ']', want a value"},
		{"comment", "{ // x\n}", `line 1, column 3: found '/', want the name of a member in quotes, or "}"`},
		{"no quotes", "{a: 1}", `line 1, column 2: found 'a', want the name of a member in quotes, or "}"`},
		{"no colon", `{"a" 1}`, `line 1, column 6: found '1', want ":"`},
		{"columns are characters", `{"äöü": x}`, "line 1, column 9: found 'x', want a value"},
		{"octal", `{"a": 0777}`, `line 1, column 8: found '7', want "," or "}"`},
		{"no digit", `{"a": -x}`, "line 1, column 8: found 'x', want a digit"},
		{"word", `{"a": nil}`, "line 1, column 8: found 'i', want the word null"},
		{"control character", "{\"a\": \"b\n\"}", `line 1, column 9: found '\n', want the rest of a string, with control characters as escapes`},
		{"open string", `{"a": "b`, "line 1, column 9: found the end of the file, want the rest of a string, and its closing quote"},
		{"escape", `{"a": "\x"}`, `line 1, column 9: found 'x', want one of "\/bfnrtu after a backslash`},
		{"hexadecimal", `{"a": "\u12g4"}`, `line 1, column 12: found 'g', want four hexadecimal digits after \u`},
		{"trailing", "{}\n{}", "line 2, column 1: found '{', want nothing after the JSON value"},
		{"trailing NUL", "{}\x00", `line 1, column 3: found '\x00', want nothing after the JSON value`},
		{"byte order mark", "\ufeff{}", `line 1, column 1: found '\ufeff', want a value`},
		{"not UTF-8", "{\"a\": \"ä\xff\"}", "byte offset 9: found byte 0xff, want valid UTF-8"},
		{"UTF-16", "\xff\xfe{\x00}\x00", "byte offset 0: found byte 0xff, want valid UTF-8"},
		{"deep array", `{"a": ` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + "}",
			"line 1, column 106: found more than 100 nested values, want at most 100"},
		{"deep object", strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10000),
			"line 1, column 501: found more than 100 nested values, want at most 100"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, problem := parseObject([]byte(test.data))
			if problem == nil {
				t.Fatal("no problem")
			}
			if diff := cmp.Diff(test.want, problem.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDepth(t *testing.T) {
	for depth, ok := range map[int]bool{maxDepth - 1: true, maxDepth: true, maxDepth + 1: false} {
		_, problem := parseJSON([]byte(strings.Repeat("[", depth) + strings.Repeat("]", depth)))
		if (problem == nil) != ok {
			t.Errorf("depth %d: %v", depth, problem)
		}
	}
	// Depth is not the number of values.
	if _, problem := parseJSON([]byte("[" + strings.Repeat("[],{},", 1000) + "0]")); problem != nil {
		t.Error(problem)
	}
}

func TestFound(t *testing.T) {
	long := strings.Repeat("x", 100)
	tests := []struct{ data, want string }{
		{`{ "a" : [ 1 ,` + "\n\t" + `"b  c" ] }`, `{"a":[1,"b  c"]}`},
		{`"\" \\ \n"`, `"\" \\ \n"`},
		{`"\\" `, `"\\"`},
		{"\"\u009b\u202e\x7f\U000e0001é\"", `"\u009b\u202e\u007f\udb40\udc01é"`},
		{`"` + long + `"`, `"` + long[:56] + "..."},
		{`"` + long[:58] + `"`, `"` + long[:58] + `"`},
		{`"` + long[:59] + `"`, `"` + long[:56] + "..."},
		{`"` + strings.Repeat("é", 50) + `"`, `"` + strings.Repeat("é", 28) + "..."},
		{strings.Repeat("1", 100), strings.Repeat("1", 57) + "..."},
	}
	for _, test := range tests {
		tree, problem := parseJSON([]byte(test.data))
		if problem != nil {
			t.Fatal(test.data, problem)
		}
		if diff := cmp.Diff(test.want, tree.found(0)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestMember(t *testing.T) {
	tree, problem := parseJSON([]byte(`{"a": 1, "b": {"a": 2}, "\u0061": 3, "c": 4, "c": null, "A": 5, "": 6}`))
	if problem != nil {
		t.Fatal(problem)
	}
	for name, want := range map[string]string{"a": "3", "b": `{"a":2}`, "c": "nothing", "d": "nothing", "A": "5", "": "6"} {
		if got := tree.found(tree.member(0, name)); got != want {
			t.Errorf("member %q is %s, want %s", name, got, want)
		}
	}
	var names []string
	for _, e := range tree.entries(0) {
		names = append(names, e.name)
	}
	if diff := cmp.Diff([]string{"b", "a", "A", ""}, names); diff != "" {
		t.Error(diff)
	}
}
