package main

import "slices"

const (
	errorProcess = `"process":{"args":["true"],"env":["PATH=$PATH"],"cwd":"/"`
	errorBundle  = `{"ociVersion":"1.3.0",` + errorProcess + `}`
)

// errorFiles are the files that the rows name.
var errorFiles = map[string]string{
	"text":                    "text\n",
	"ok/config.json":          errorBundle + "}",
	"sleep/config.json":       `{"ociVersion":"1.3.0","process":{"args":["sleep","1000"],"env":["PATH=$PATH"],"cwd":"/"}}`,
	"terminal/config.json":    `{"ociVersion":"1.3.0","process":{"terminal":true,"args":["true"],"env":["PATH=$PATH"],"cwd":"/"}}`,
	"missing/config.json":     `{"ociVersion":"1.3.0","process":{"args":["no-such-program"],"env":["PATH=$PATH"],"cwd":"/"}}`,
	"path/config.json":        `{"ociVersion":"1.3.0","process":{"args":["/no/such/program"],"env":["PATH=$PATH"],"cwd":"/"}}`,
	"data/config.json":        `{"ociVersion":"1.3.0","process":{"args":["$DIR/text"],"env":["PATH=$PATH"],"cwd":"/"}}`,
	"cwd/config.json":         `{"ociVersion":"1.3.0","process":{"args":["true"],"env":["PATH=$PATH"],"cwd":"/no/such/dir"}}`,
	"user/config.json":        `{"ociVersion":"1.3.0","process":{"args":["true"],"env":["PATH=$PATH"],"cwd":"/","user":{"uid":12345}}}`,
	"hook/config.json":        errorBundle + `,"hooks":{"createRuntime":[{"path":"/bin/sh","args":["sh","-c","echo no >&2; exit 3"]}]}}`,
	"garbage/config.json":     `{"ociVersion":`,
	"array/config.json":       `[]`,
	"directory/config.json/x": "",
	"invalid/config.json":     `{"ociVersion":"1.3.0","process":{"args":[],"env":["PATH=$PATH"],"cwd":"tmp"}}`,
	"unsupported/config.json": errorBundle + `,"linux":{"namespaces":[{"type":"pid"},{"type":"mount"}]}}`,
	"both/config.json":        errorBundle + `,"linux":{"namespaces":[{"type":"pid"}],"resources":{"memory":{"limit":0}}}}`,
	"process.json":            `{"args":["true"],"cwd":"/"}`,
	"process-none.json":       `{"args":["true"]}`,
	"process-array.json":      `[]`,
	"process-two.json":        `{"args":[],"cwd":"tmp"}`,
	"garbage.json":            `{`,
	"resources-cpu.json":      `{"cpu":{"shares":1,"mems":"0"}}`,
	"resources-text.json":     `{"memory":{"limit":"1G"}}`,
	"mems/config.json":        errorBundle + `,"linux":{"resources":{"cpu":{"mems":"1023"}}}}`,
	"policy/config.json":      errorBundle + `,"linux":{"memoryPolicy":{"mode":"MPOL_BIND","nodes":"1023"}}}`,
	"resources-check.json":    `{"memory":{"limit":4096,"checkBeforeUpdate":true}}`,
}

// errorRows are all rows.
func errorRows() []errorRow {
	return slices.Concat(globalErrors, idErrors(), bundleErrors(), runErrors, createErrors, execErrors, stateErrors, otherErrors)
}

const (
	see       = `; see mlrun --help`
	notExist  = `: container does not exist; mlrun list shows those that do`
	exists    = `: container with given ID already exists; mlrun delete removes it, or choose another id`
	notFile   = `no such file or directory`
	noPIDFile = `not a regular file, and it would be replaced; want a new one or a regular file`
	notBundle = notFile + `: a bundle is a directory with a config.json .*`
	notInPath = `exec: "no-such-program": executable file not found in \$PATH`
)

var globalErrors = []errorRow{
	{args: "nope", code: 2, lines: `unknown command "nope" for "mlrun"` + see},
	{args: "--nope list", code: 2, lines: `unknown flag: --nope` + see},
	{args: "-x list", code: 2, lines: `unknown shorthand flag: 'x' in -x` + see},
	{args: "list --root", code: 2, lines: `flag needs an argument: --root` + see},
	{args: "list --debug=perhaps", code: 2, lines: `invalid argument "perhaps" for "--debug" flag: .*` + see},
	{args: "list --systemd-cgroup=perhaps", code: 2, lines: `invalid argument "perhaps" for "--systemd-cgroup" flag: .*` + see},
	{args: "list --log-format xml", code: 2, lines: `--log-format "xml": want text or json` + see},
	{args: "list --root text", code: 1, lines: `state directory \S*text: not a directory; choose another one with --root`},
	{args: "list --root open", code: 1, lines: `state directory \S*open: writable by others.*`},
	{args: "list --root /proc/1", code: 1, lines: `state directory /proc/1: owned by user 0.*`, who: "nobody"},
	{args: "run --root text/x ok", code: 1, lines: `state directory.*: not a directory`},
	{args: "run --root closed/x ok", code: 1, lines: `state directory.*: permission denied`, who: "nobody"},
	{args: "create --root closed --bundle ok x", code: 1, lines: `state directory.*: permission denied`, who: "nobody"},
	{args: "run --root /proc/1/fdinfo ok", code: 1, lines: `state directory.*`},
	{args: "create --root /proc/x --bundle ok x", code: 1, lines: `state directory.*`},
	{args: "list extra", code: 2, lines: `list: 1 arguments, want none` + see},
	{args: "list --nope", code: 2, lines: `unknown flag: --nope` + see},
	{args: "list --format xml", code: 2, lines: `--format "xml": want table or json` + see},
	{args: "features extra", code: 2, lines: `features: 1 arguments, want none` + see},
	{args: "features --nope", code: 2, lines: `unknown flag: --nope` + see},
}

// idErrors are those of every command that asks for a container.
func idErrors() (rows []errorRow) {
	for _, c := range []struct {
		command, more, none, many string
		fails                     int
	}{
		{"start", "", "start: 0 arguments, want the id", "start: 2 arguments, want the id", 1},
		{"state", "", "state: 0 arguments, want the id", "state: 2 arguments, want the id", 1},
		{"kill", "", "kill: 0 arguments, want an id and at most one signal", "", 1},
		{"delete", "", "delete: 0 arguments, want the id", "delete: 2 arguments, want the id", 1},
		{"exec", " true", "exec: no id: want mlrun exec ID COMMAND", "", 255},
		{"ps", "", "ps: no id: want mlrun ps ID", "", 1},
		{"events", "", "events: 0 arguments, want the id", "events: 2 arguments, want the id", 1},
		{"events --stats", "", "events: 0 arguments, want the id", "events: 2 arguments, want the id", 1},
		{"pause", "", "pause: 0 arguments, want the id", "pause: 2 arguments, want the id", 1},
		{"resume", "", "resume: 0 arguments, want the id", "resume: 2 arguments, want the id", 1},
		{"update --memory 1G", "", "update: 0 arguments, want the id", "update: 2 arguments, want the id", 1},
	} {
		add := func(args string, code int, lines string) {
			rows = append(rows, errorRow{args: c.command + args, code: code, lines: lines})
		}
		add("", 2, c.none+see)
		if c.many != "" {
			add(" running running", 2, c.many+see)
		}
		add(" --nope running"+c.more, 2, `unknown flag: --nope`+see)
		add(" nope"+c.more, c.fails, `nope`+notExist)
		for id, what := range map[string]string{"''": `empty`, ".": `.*`, "..": `a directory's name`, "a/b": `contains '/'`, "../x": `.*`, "ä": `contains .*`} {
			add(" "+id+c.more, c.fails, `invalid container id ".*": `+what+`; want 1 to 1024 characters of .*`)
		}
		add(" damaged"+c.more, c.fails, `\S*damaged/state.json: damaged: .*mlrun delete --force.*`)
		add(" newer"+c.more, c.fails, `\S*newer/state.json: written by a newer mlrun .*mlrun delete --force.*`)
		add(" --root text running"+c.more, c.fails, `state directory \S*text: not a directory; choose another one with --root`)
		add(" --root no/such running"+c.more, c.fails, `running`+notExist)
	}
	return rows
}

// bundleErrors are those of every command that reads a bundle.
func bundleErrors() (rows []errorRow) {
	for _, c := range []string{"run", "run --detach --id x", "create --id x", "check"} {
		add := func(args string, lines string) {
			rows = append(rows, errorRow{args: c + " " + args, code: 1, lines: lines})
		}
		add("nope", `nope: `+notBundle)
		add("text", `text: not a directory: a bundle is .*`)
		add("empty", `empty/config.json: `+notBundle)
		add("directory", `directory/config.json: .*`)
		add("garbage", `garbage/config.json: line 1, column \d+: found .*`)
		add("array", `array/config.json: .*found .*, want .*`)
		add("invalid", "invalid/config.json: process.args: found .*\ninvalid/config.json: process.cwd: found \"tmp\", want .*")
		add("invalid --ignore-unsupported", "invalid/config.json: process.args: found .*\ninvalid/config.json: process.cwd: found \"tmp\", want .*")
		add("unsupported", "unsupported/config.json: linux.namespaces\\[0\\].type \"pid\": not supported: .*\n"+
			"unsupported/config.json: linux.namespaces\\[1\\].type \"mount\": not supported: .*")
		add("both", "both/config.json: linux.resources.memory.limit: found 0, want .*\nboth/config.json: linux.namespaces\\[0\\].type \"pid\": not supported: .*")
		rows = append(rows, errorRow{args: c + " user", code: 1, lines: `.*process.user.uid.*`, who: "nobody"})
		rows = append(rows, errorRow{args: c + " --nope ok", code: 2, lines: `unknown flag: --nope` + see})
	}
	return rows
}
