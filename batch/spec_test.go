package batch

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	s, wrong := Parse([]byte(` {"id":"a.1","args":["sh","-c","x y"],"memory":"512M","reservation":1073741824,"env":["A=1","B="],"cwd":"d",
		"stdout":"o","stderr":"e","retries":3,"timeout":"1h30m"} ` + "\r"))
	want := Spec{ID: "a.1", Args: []string{"sh", "-c", "x y"}, Memory: 512 << 20, Reservation: 1 << 30, Env: []string{"A=1", "B="},
		Cwd: "d", Stdout: "o", Stderr: "e", Retries: 3, Timeout: 90 * time.Minute}
	if len(wrong) > 0 || s.ID != want.ID || !slices.Equal(s.Args, want.Args) || !slices.Equal(s.Env, want.Env) || s.Memory != want.Memory ||
		s.Reservation != want.Reservation || s.Cwd != want.Cwd || s.Stdout != want.Stdout || s.Stderr != want.Stderr || s.Retries != want.Retries || s.Timeout != want.Timeout {
		t.Errorf("%+v, %q; want %+v", s, wrong, want)
	}
	if s, wrong := Parse([]byte(`{"bundle":"b","memory":5,"timeout":7}`)); len(wrong) > 0 || s.Bundle != "b" || s.Memory != 5 || s.Timeout != 7*time.Second {
		t.Errorf("%+v, %q", s, wrong)
	}
}

func TestParseProblems(t *testing.T) {
	one := func(member string) string { return `{"args":["x"],` + member + `}` }
	for line, want := range map[string]string{
		`{`:                                 "column 1: not JSON: ",
		`{"args":["x"]} x`:                  "column 16: not JSON: ",
		`["x"]`:                             `found ["x"], want a JSON object`,
		`null`:                              "found null, want a JSON object",
		"{\"args\":[\"\xff\"]}":             "not valid UTF-8",
		`{"args":["x"],"args":["y"]}`:       `key "args": twice`,
		`{}`:                                "neither bundle nor args",
		`{"args":["x"],"bundle":"y"}`:       "bundle and args: want one of them",
		one(`"mem":1`):                      `key "mem": unknown, want one of id, bundle, args, `,
		one(`"Memory":1`):                   `key "Memory": unknown`,
		`{"args":[]}`:                       "args: found [], want an array of strings",
		`{"args":[""]}`:                     `args: found [""], want`,
		`{"args":["x",1]}`:                  `args: found ["x",1], want`,
		`{"args":["x",null]}`:               "args: found",
		`{"args":"x"}`:                      `args: found "x", want`,
		`{"args":["x\u0000"]}`:              "without NUL",
		`{"bundle":""}`:                     `bundle: found "", want a path`,
		`{"bundle":null}`:                   "bundle: found null, want a path",
		one(`"id":"a b"`):                   `id: found "a b", want 1 to 1024 characters`,
		one(`"id":".."`):                    `id: found "..", want`,
		one(`"id":7`):                       "id: found 7, want",
		one(`"id":"line-7"`):                `id: found "line-7", want another one`,
		one(`"memory":0`):                   "memory: found 0, want a whole number of bytes greater than 0",
		one(`"memory":-1`):                  "memory: found -1, want",
		one(`"memory":1.5`):                 "memory: found 1.5, want",
		one(`"memory":1e9`):                 "memory: found 1e9, want",
		one(`"memory":"1.5G"`):              `memory: found "1.5G", want`,
		one(`"memory":9223372036854775808`): "memory: found 9223372036854775808, want",
		one(`"memory":null`):                "memory: found null, want",
		one(`"reservation":""`):             `reservation: found "", want`,
		one(`"env":{"A":"1"}`):              `env: found {"A":"1"}, want an array of strings "NAME=value"`,
		one(`"env":["A"]`):                  `env: found ["A"], want`,
		one(`"env":["=1"]`):                 `env: found ["=1"], want`,
		one(`"env":null`):                   "env: found null, want",
		one(`"retries":-1`):                 "retries: found -1, want a whole number from 0 to 1000",
		one(`"retries":1001`):               "retries: found 1001, want",
		one(`"retries":"1"`):                `retries: found "1", want`,
		one(`"timeout":0`):                  "timeout: found 0, want whole seconds",
		one(`"timeout":"1d"`):               `timeout: found "1d", want`,
		one(`"timeout":true`):               "timeout: found true, want",
		one(`"cwd":"` + strings.Repeat("x", 100) + `\u0000"`): `xxx..., want a path`,
	} {
		_, wrong := Parse([]byte(line))
		if len(wrong) != 1 || !strings.Contains(wrong[0], want) || strings.ContainsAny(wrong[0], "\n\x00") {
			t.Errorf("%s: %q, want %q", line, wrong, want)
		}
	}
	if _, wrong := Parse([]byte(`{"id":"","memory":0,"x":1}`)); len(wrong) != 4 {
		t.Errorf("not everything is told at once: %q", wrong)
	}
}

// FuzzParse checks that a line is a job or has a problem, each on a line of its own.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"id":"a","args":["x"],"memory":"1G","retries":1}`))
	f.Add([]byte(`{"bundle":"b","env":["A=1"],"timeout":"5s"}`))
	f.Add([]byte("{\"args\":[\"\\u0000\"],\"\\n\":1}"))
	f.Fuzz(func(t *testing.T, line []byte) {
		s, wrong := Parse(line)
		for _, w := range wrong {
			if strings.ContainsAny(w, "\n\r") || len(w) > 1000 {
				t.Errorf("problem %q", w)
			}
		}
		if len(wrong) > 0 {
			return
		}
		if (len(s.Args) == 0) == (s.Bundle == "") || s.Memory < 0 || s.Reservation < 0 || s.Retries < 0 || s.Timeout < 0 {
			t.Errorf("%q is the job %+v", line, s)
		}
		for _, text := range append(append(s.Args, s.Env...), s.Bundle, s.Cwd, s.Stdout, s.Stderr) {
			if strings.Contains(text, "\x00") {
				t.Errorf("%q is the job %+v, which cannot be executed", line, s)
			}
		}
	})
}
