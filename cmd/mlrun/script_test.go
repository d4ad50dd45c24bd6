//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"mlrun/internal/asnobody"
)

// The scripts in testdata/script run mlrun as a user does: this binary, called mlrun or memlimit.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mlrun": main, "memlimit": main, "caller": caller, "notified": notified})
}

// TestScripts runs each script with a state directory of its own, $XDG_RUNTIME_DIR/mlrun. $EXAMPLES is examples/bundles. In
// files called config.json $WORK stands for the directory of the script, and $UID for the user.
//
// Besides the commands of testscript there are:
//
//	code N PROGRAM ARGS...       runs it; it must exit with N, or be ended by signal N-128
//	detach N PROGRAM ARGS...     likewise, for a program that leaves another one behind which keeps its output open
//	status ID STATUS             waits until mlrun state ID tells STATUS, and of a stopped one the verdict; its output is stdout then
//	waitfor FILE [REGEXP]        waits until FILE is not empty, or matches
//	waitcode N PROGRAM ARGS...   waits until it exits with N
//	gone FILE                    each pid in FILE is no process, or a zombie
//	[!] json FILE PATH [VALUE]   the value at a.b[0].c, as it is or after < or >; a.# is a length
//	lines FILE N REGEXP          FILE has N lines, each of which matches
//	empty DIR                    nothing is in DIR, or it does not exist
func TestScripts(t *testing.T) {
	examples, err := filepath.Abs("../../examples/bundles")
	if err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob("testdata/script/*.txtar"); len(files) == 0 {
		t.Fatal("no scripts in testdata/script")
	}
	p := testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: false,
		Deadline:            time.Now().Add(scriptsTimeout),
		Setup: func(e *testscript.Env) error {
			run := filepath.Join(e.WorkDir, "run")
			e.Setenv("XDG_RUNTIME_DIR", run)
			e.Setenv("EXAMPLES", examples)
			if os.Getenv("GORACE") == "" {
				e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector makes every process sleep a second at its end
			}
			e.Setenv("UID", strconv.Itoa(os.Getuid()))
			if err := os.Mkdir(run, 0o700); err != nil {
				return err
			}
			e.Defer(func() { deleteAll(run) })
			return expandConfigs(e.WorkDir)
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "root":
				return os.Getuid() == 0, nil
			case "portable": // it is built for what macOS has
				return portable, nil
			case "resource": // CAP_SYS_RESOURCE, which root need not have
				return mayRaiseLimits(), nil
			case "fuse":
				return mayMount()
			case "userns":
				return exec.Command("unshare", "-Ur", "unshare", "-U", "true").Run() == nil, nil
			case "selinux":
				_, err := os.Stat("/sys/fs/selinux/enforce")
				return err == nil, nil
			case "apparmor":
				b, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
				return strings.HasPrefix(string(b), "Y"), nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": cmdCode, "detach": cmdDetach, "status": cmdStatus, "waitfor": cmdWaitFor, "waitcode": cmdWaitCode,
			"gone": cmdGone, "json": cmdJSON, "lines": cmdLines, "empty": cmdEmpty,
		},
	}
	if end, ok := t.Deadline(); ok && end.Before(p.Deadline) {
		p.Deadline = end
	}
	testscript.Run(t, p)
}

// mayRaiseLimits tells whether this process has CAP_SYS_RESOURCE, as raising a hard limit takes.
func mayRaiseLimits() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// mayMount tells whether there is FUSE for this user. Where it has to be there, it is an error if not.
func mayMount() (bool, error) {
	_, err := exec.LookPath("fusermount3")
	if err == nil {
		err = unix.Access("/dev/fuse", unix.R_OK|unix.W_OK)
	}
	if os.Getenv("MLRUN_REQUIRE_CLIENTS") == "" {
		return err == nil, nil
	}
	return err == nil, err
}

func TestScriptsAsNobody(t *testing.T) { asnobody.RunWithFUSE(t, "^TestScripts$") }

// deleteAll ends what a script that failed has left.
func deleteAll(run string) {
	mlrun := func(args ...string) []byte {
		c := exec.Command("mlrun", args...)
		c.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+run)
		out, _ := c.Output()
		return out
	}
	for _, id := range strings.Fields(string(mlrun("list", "--quiet"))) {
		mlrun("delete", "--force", id)
	}
}

// expandConfigs replaces the variables in every config.json below dir.
func expandConfigs(dir string) error {
	vars := strings.NewReplacer("$WORK", dir, "$UID", strconv.Itoa(os.Getuid()), "$PATH", os.Getenv("PATH"))
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "config.json" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(vars.Replace(string(b))), 0o644)
	})
}

const (
	scriptsTimeout = 15 * time.Minute // for all of them, with the race detector too
	waitTimeout    = time.Minute      // for one condition
	waitStep       = 10 * time.Millisecond
)

// wait waits for a condition.
func wait(ts *testscript.TestScript, what string, done func() bool) {
	for end := time.Now().Add(waitTimeout); !done(); time.Sleep(waitStep) {
		if time.Now().After(end) {
			ts.Fatalf("after %v still not: %s", waitTimeout, what)
		}
	}
}

// usage checks the number of arguments, and that there is no !.
func usage(ts *testscript.TestScript, neg bool, args []string, from, to int, text string) {
	if neg || len(args) < from || to >= 0 && len(args) > to {
		ts.Fatalf("usage: %s", text)
	}
}

// exitCode is what a shell makes of the end of a command.
func exitCode(ts *testscript.TestScript, err error) int {
	var ee *exec.ExitError
	if !errors.As(err, &ee) {
		ts.Check(err)
		return 0
	}
	if st, ok := ee.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		return 128 + int(st.Signal())
	}
	return ee.ExitCode()
}

func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, -1, "code N PROGRAM ARGS...")
	if got := exitCode(ts, ts.Exec(args[1], args[2:]...)); strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func cmdDetach(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, -1, "detach N PROGRAM ARGS...")
	dir, err := os.MkdirTemp(ts.Getenv("TMPDIR"), "detach")
	ts.Check(err)
	out, errs := filepath.Join(dir, "out"), filepath.Join(dir, "err")
	sh := append([]string{"-c", `out=$1 err=$2; shift 2; exec "$@" >"$out" 2>"$err" </dev/null`, "sh", out, errs}, args[1:]...)
	got := exitCode(ts, ts.Exec("sh", sh...))
	fmt.Fprint(ts.Stdout(), ts.ReadFile(out))
	fmt.Fprint(ts.Stderr(), ts.ReadFile(errs))
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func cmdWaitCode(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, -1, "waitcode N PROGRAM ARGS...")
	wait(ts, "exit code "+args[0]+" of "+strings.Join(args[1:], " "), func() bool {
		return strconv.Itoa(exitCode(ts, ts.Exec(args[1], args[2:]...))) == args[0]
	})
}

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, 2, "status ID STATUS")
	wait(ts, args[0]+" is "+args[1], func() bool {
		if ts.Exec("mlrun", "state", args[0]) != nil {
			return false
		}
		var s struct {
			Status string
			MLRun  struct{ Supervisor int }
		}
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &s))
		return s.Status == args[1] && (s.Status != "stopped" || s.MLRun.Supervisor == 0)
	})
}

func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 2, "waitfor FILE [REGEXP]")
	pattern := regexp.MustCompile(strings.Join(append(args[1:], ""), ""))
	wait(ts, strings.Join(args, " has "), func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && len(b) > 0 && pattern.Match(b)
	})
}

func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 1, "gone FILE")
	pids := regexp.MustCompile(`\d+`).FindAllString(ts.ReadFile(args[0]), -1)
	if len(pids) == 0 {
		ts.Fatalf("no pid in %s", args[0])
	}
	for _, pid := range pids {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			continue
		}
		// proc(5): pid (comm) state ...; comm may contain anything.
		if _, rest, _ := strings.Cut(string(b), ") "); !strings.HasPrefix(rest, "Z") {
			ts.Fatalf("process %s is there: %s", pid, b)
		}
	}
}

var pathPart = regexp.MustCompile(`[^.\[\]]+`)

// lookup finds the value at a path.
func lookup(v any, path string) (any, bool) {
	for _, name := range pathPart.FindAllString(path, -1) {
		switch x := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = x[name]; !ok {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(name)
			switch {
			case name == "#":
				v = json.Number(strconv.Itoa(len(x)))
			case err != nil || i >= len(x):
				return nil, false
			default:
				v = x[i]
			}
		default:
			return nil, false
		}
	}
	return v, true
}

func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, args, 2, 3, "[!] json FILE PATH [VALUE]")
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	dec.UseNumber()
	var doc any
	ts.Check(dec.Decode(&doc))
	v, ok := lookup(doc, args[1])
	if len(args) == 2 {
		if ok == neg {
			ts.Fatalf("%s: found %v: %v", args[1], ok, v)
		}
		return
	}
	if !ok {
		ts.Fatalf("%s: nothing there", args[1])
	}
	if same := matches(fmt.Sprint(v), args[2]); same == neg {
		ts.Fatalf("%s: %v, want %s", args[1], v, args[2])
	}
}

// matches compares a value with what is wanted: it, or a bound after < or >.
func matches(got, want string) bool {
	if len(want) < 2 || want[0] != '<' && want[0] != '>' {
		return got == want
	}
	g, err1 := strconv.ParseFloat(got, 64)
	w, err2 := strconv.ParseFloat(want[1:], 64)
	return err1 == nil && err2 == nil && (want[0] == '<' && g < w || want[0] == '>' && g > w)
}

func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, 3, "lines FILE N REGEXP")
	text, pattern := ts.ReadFile(args[0]), regexp.MustCompile(args[2])
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if text == "" {
		lines = nil
	}
	if strconv.Itoa(len(lines)) != args[1] {
		ts.Fatalf("%s has %d lines, want %s:\n%s", args[0], len(lines), args[1], text)
	}
	for _, line := range lines {
		if !pattern.MatchString(line) {
			ts.Fatalf("%s: line %q does not match %s", args[0], line, args[2])
		}
	}
}

func cmdEmpty(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 1, "empty DIR")
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		ts.Fatalf("%v", err)
	}
	if len(entries) > 0 {
		ts.Fatalf("%s is not empty: %v", args[0], entries)
	}
}
