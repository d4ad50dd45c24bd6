package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"mlrun/internal/asnobody"
)

// errorRow is a command line that fails. The containers it may name are created, running, paused and stopped, which are what they are
// called, and damaged and newer, whose states cannot be used; errorFiles are in the working directory.
type errorRow struct {
	args string // fields; '' is an empty one
	code int
	// lines are regular expressions, a line each, of all that is written to standard error, without the prefix. The log has the same.
	lines string
	who   string // "root" or "nobody": for that user only
}

// TestErrors runs command lines that fail, each with the flags of the log before and behind the command. Each has its exit code, says a line
// for each problem on standard error and the same in the log, prints nothing on standard output, and changes nothing: no file below the
// state directory and the working directory becomes another one, or comes or goes.
func TestErrors(t *testing.T) {
	e := newErrorSite(t)
	user := "nobody"
	if os.Getuid() == 0 {
		user = "root"
	}
	before := e.files()
	for _, row := range errorRows() {
		if row.who != "" && row.who != user {
			continue
		}
		t.Run(row.args, func(t *testing.T) {
			for _, front := range []bool{true, false} {
				e.fails(t, row, front)
			}
			after := e.files()
			for name := range after {
				if _, ok := before[name]; !ok {
					t.Errorf("%s is new", name)
				}
			}
			for name, content := range before {
				if now, ok := after[name]; !ok || now != content {
					t.Errorf("%s was changed from %q to %q, %v", name, content, now, ok)
				}
			}
			before = after
		})
	}
	for _, id := range []string{"created", "running", "paused", "stopped"} {
		if got := e.state(id).Status; got != id {
			t.Errorf("%s is %s at the end", id, got)
		}
	}
}

func TestErrorsAsNobody(t *testing.T) { asnobody.Run(t, "^TestErrors$") }

// errorSite is a site with containers in every state. What the commands print is kept apart from it.
type errorSite struct {
	*site
	stdout, stderr *os.File
	log            string
}

func newErrorSite(t *testing.T) *errorSite {
	e := &errorSite{site: newSite(t), log: t.TempDir() + "/log"}
	for _, f := range []**os.File{&e.stdout, &e.stderr} {
		var err error
		if *f, err = os.CreateTemp(t.TempDir(), "output"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*f).Close() })
	}
	for name, text := range errorFiles {
		path := filepath.Join(e.dir, name)
		text = strings.NewReplacer("$PATH", os.Getenv("PATH"), "$DIR", e.dir).Replace(text)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, perm := range map[string]os.FileMode{"empty": 0o755, "open": 0o777, "closed": 0o500} {
		path := filepath.Join(e.dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, perm); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(e.dir, "closed"), 0o700) })
	if err := syscall.Mkfifo(filepath.Join(e.dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.must("create", "--bundle", e.dir+"/sleep", "created")
	e.must("run", "--detach", "--id", "running", e.dir+"/sleep")
	e.must("run", "--detach", "--id", "paused", e.dir+"/sleep")
	e.must("pause", "paused")
	for id, text := range map[string]string{"stopped": "", "damaged": `{"version":1,"sta`, "newer": `{"version":99,"state":{}}`} {
		e.must("run", "--keep", "--id", id, e.dir+"/ok")
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(e.dir, "mlrun", id, "state.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// run runs mlrun in the working directory, for so long at most that a test fails rather than hangs.
func (e *errorSite) run(t *testing.T, args []string) (code int, stdout, stderr string) {
	t.Helper()
	for _, f := range []*os.File{e.stdout, e.stderr} {
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "mlrun", args...)
	c.Env, c.Dir, c.Stdout, c.Stderr = append(e.env, "PWD="+e.dir), e.dir, e.stdout, e.stderr
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	out, _ := os.ReadFile(e.stdout.Name())
	errs, _ := os.ReadFile(e.stderr.Name())
	return c.ProcessState.ExitCode(), string(out), string(errs)
}

// fails runs the command line of a row, with the flags of the log before the command or directly behind it.
func (e *errorSite) fails(t *testing.T, row errorRow, front bool) {
	t.Helper()
	args := strings.Fields(row.args)
	for i, a := range args {
		if a == "''" {
			args[i] = ""
		}
	}
	at := 0
	if !front && !strings.HasPrefix(args[0], "-") {
		at = 1
	}
	flags := []string{"--log", e.log, "--log-format", "json"}
	args = append(append(append([]string{}, args[:at]...), flags...), args[at:]...)
	os.Remove(e.log)
	code, stdout, stderr := e.run(t, args)
	if code != row.code {
		t.Errorf("%q: exit code %d, want %d", args, code, row.code)
	}
	if stdout != "" {
		t.Errorf("%q: standard output %q, want none", args, stdout)
	}
	want := strings.Split(row.lines, "\n")
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	if len(lines) != len(want) || !strings.HasSuffix(stderr, "\n") {
		t.Fatalf("%q: %q on standard error, want %d lines", args, stderr, len(want))
	}
	for i, line := range lines {
		text, ok := strings.CutPrefix(line, "mlrun: ")
		if !ok || !regexp.MustCompile("^(?:"+want[i]+")$").MatchString(text) {
			t.Errorf("%q: %q on standard error, want mlrun: %s", args, line, want[i])
		}
		lines[i] = text
	}
	if !strings.Contains(row.args, "--log-format") {
		e.logged(t, args, lines)
	}
}

// logged checks that the log has an object for each line.
func (e *errorSite) logged(t *testing.T, args, lines []string) {
	t.Helper()
	b, err := os.ReadFile(e.log)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	entries := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	if len(entries) != len(lines) {
		t.Fatalf("%q: log %q, want %d lines", args, b, len(lines))
	}
	for i, entry := range entries {
		var l struct {
			Level, Msg string
			Time       time.Time
		}
		d := json.NewDecoder(bytes.NewReader(entry))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil || l.Level != "error" || l.Msg != lines[i] || time.Since(l.Time).Abs() > time.Hour {
			t.Errorf("%q: log entry %s, want the error %q (%v)", args, entry, lines[i], err)
		}
	}
}

// files are all files with what is in them, and directories.
func (e *errorSite) files() map[string]string {
	files := map[string]string{}
	err := filepath.WalkDir(e.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		files[path] = fmt.Sprint(d.Type())
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			files[path] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return files
}
