package bundle

import (
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/rlimit"
)

// config returns a valid config with more members. One that is there already
// takes the place of the first.
func config(members string) string {
	s := `{"ociVersion": "1.3.0", "process": {"args": ["true"], "cwd": "/"}`
	if members != "" {
		s += ", " + members
	}
	return s + "}"
}

func process(members string) string {
	return config(`"process": {"args": ["true"], "cwd": "/", ` + members + `}`)
}

func memory(members string) string {
	return config(`"linux": {"resources": {"memory": {` + members + `}}}`)
}

// problems returns what is wrong with a config, a line each.
func problems(t *testing.T, data string) (lines []string) {
	t.Helper()
	_, err := Parse([]byte(data), "/bundle", "config.json", Options{})
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T %v is not an *Error", err, err)
	}
	for _, p := range e.Problems {
		lines = append(lines, p.String())
	}
	return lines
}

func TestValid(t *testing.T) {
	for _, data := range []string{
		config(""),
		config(`"hostname": "", "mounts": [], "hooks": {}, "annotations": {}, "linux": {}, "windows": null, "root": {}`),
		config(`"ociVersion": "1.0.0"`),
		config(`"ociVersion": "1.0.2-dev"`),
		config(`"ociVersion": "1.12.345-rc.1-x.0+build.007"`),
		config(`"unknown": {"a": [1, 2, {"b": null}]}, "Hostname": "case counts", "mounts": null`),
		config(`"annotations": {"a": "", "dev.mlrun": "x", "dev.mlrunx.y": "z", "org.dev.mlrun.x": "y"}`),
		config(`"annotations": {"dev.mlrun.x": null}`),
		config(`"linux": {"unknown": 1, "resources": {"unknown": 1, "memory": {}, "cpu": {}, "pids": {"limit": null}, "devices": [], "rdma": {"a": {}}, "unified": {}}}`),
		config(`"linux": {"seccomp": {}, "intelRdt": {"unknown": 1}, "namespaces": [], "sysctl": {}, "maskedPaths": null}`),
		config(`"process": 5, "process": {"args": ["true"], "cwd": "/"}`),
		process(`"terminal": false, "consoleSize": {"height": 25, "width": 80}, "noNewPrivileges": true`),
		process(`"env": ["A=", "A=b=c", "a b=ü"], "user": null, "rlimits": [], "oomScoreAdj": -1000`),
		process(`"user": {"uid": 4294967294, "gid": 0, "umask": 511, "additionalGids": [0, 4294967294]}`),
		process(`"args": ["a", "", "\n"]`),
		process(`"selinuxLabel": "", "capabilities": null, "capabilities": {}, "commandLine": ""`),
		memory(`"limit": 1, "swap": -1`),
		memory(`"limit": -1`),
		memory(`"limit": 9223372036854775807, "disableOOMKiller": false, "swap": null`),
		memory(`"limit": 2, "reservation": 2, "swap": 2, "disableOOMKiller": true, "useHierarchy": true, "checkBeforeUpdate": false`),
		memory(`"limit": 2, "reservation": -1, "swap": 9223372036854775807, "useHierarchy": false`),
		memory(`"reservation": 9223372036854775807, "swap": -1`),
		memory(`"limit": -1, "reservation": 1, "swap": -1`),
		config(`"annotations": {"dev.mlrun.memory.on-breach": "freeze"}, "linux": {"resources": {"memory": {"disableOOMKiller": true}}}`),
		config(`"annotations": {"dev.mlrun.memory.on-breach": "kill"}, "linux": {"resources": {"memory": {"disableOOMKiller": false}}}`),
	} {
		if lines := problems(t, data); lines != nil {
			t.Errorf("%s:\n%s", data, strings.Join(lines, "\n"))
		}
	}
}

func TestInvalid(t *testing.T) {
	const (
		wantVersion = `, want a version of the runtime-spec from 1.0.0 to below 2.0.0, such as "1.3.0"`
		wantArgs    = ", want an array of at least one string, the program"
		wantArg     = ", want a string without NUL, and the first one not empty"
		wantCwd     = ", want an absolute path without NUL"
		wantMemory  = ", want " + wantBytes
		wantAbove   = ", since swap is that of memory and swap together; or -1 for unlimited"
		wantUmask   = ", want an integer from 0 to 511 (octal 0777)"
		wantOOM     = ", want an integer from -1000 to 1000"
		wantHook    = ", want an absolute path without NUL"
		wantSeconds = ", want an integer number of seconds greater than 0"
	)
	tests := []struct {
		name, data string
		want       []string
	}{
		{"nothing", `{}`, []string{
			"ociVersion: found nothing" + wantVersion,
			"process: found nothing, want an object with at least args and cwd",
		}},
		{"version 2", config(`"ociVersion": "2.0.0"`), []string{`ociVersion: found "2.0.0"` + wantVersion}},
		{"version short", config(`"ociVersion": "1.3"`), []string{`ociVersion: found "1.3"` + wantVersion}},
		{"version long", config(`"ociVersion": "1.3.0.0"`), []string{`ociVersion: found "1.3.0.0"` + wantVersion}},
		{"version with 0", config(`"ociVersion": "1.03.0"`), []string{`ociVersion: found "1.03.0"` + wantVersion}},
		{"version with v", config(`"ociVersion": "v1.3.0"`), []string{`ociVersion: found "v1.3.0"` + wantVersion}},
		{"version pre", config(`"ociVersion": "1.3.0-"`), []string{`ociVersion: found "1.3.0-"` + wantVersion}},
		{"version pre 0", config(`"ociVersion": "1.3.0-a.01"`), []string{`ociVersion: found "1.3.0-a.01"` + wantVersion}},
		{"version build", config(`"ociVersion": "1.3.0+a_b"`), []string{`ociVersion: found "1.3.0+a_b"` + wantVersion}},
		{"version number", config(`"ociVersion": 1.3`), []string{"ociVersion: found 1.3" + wantVersion}},
		{"process array", config(`"process": []`), []string{"process: found [], want an object with at least args and cwd"}},
		{"process null", config(`"process": null`), []string{"process: found nothing, want an object with at least args and cwd"}},
		{"process empty", config(`"process": {}`), []string{
			"process.args: found nothing" + wantArgs,
			"process.cwd: found nothing" + wantCwd,
		}},
		{"args string", process(`"args": "sh"`), []string{`process.args: found "sh"` + wantArgs}},
		{"args empty", process(`"args": []`), []string{"process.args: found []" + wantArgs}},
		{"args of empty", process(`"args": ["", ""]`), []string{`process.args[0]: found ""` + wantArg}},
		{"args of others", process(`"args": ["a", 1, null, "b\u0000c"]`), []string{
			"process.args[1]: found 1" + wantArg,
			"process.args[2]: found null" + wantArg,
			`process.args[3]: found "b\u0000c"` + wantArg,
		}},
		{"cwd relative", process(`"cwd": "tmp"`), []string{`process.cwd: found "tmp"` + wantCwd}},
		{"cwd NUL", process(`"cwd": "/\u0000"`), []string{`process.cwd: found "/\u0000"` + wantCwd}},
		{"cwd number", process(`"cwd": 7`), []string{"process.cwd: found 7" + wantCwd}},
		{"env", process(`"env": ["A=b", "", "A", "=b", "A=\u0000", 5]`), []string{
			"process.env[5]: found 5, want " + wantEnv,
			`process.env[1]: found "", want ` + wantEnv,
			`process.env[2]: found "A", want ` + wantEnv,
			`process.env[3]: found "=b", want ` + wantEnv,
			`process.env[4]: found "A=\u0000", want ` + wantEnv,
		}},
		{"env object", process(`"env": {"A": "b"}`), []string{
			`process.env: found {"A":"b"}, want an array of strings NAME=value`}},
		{"user string", process(`"user": "root"`), []string{`process.user: found "root", want an object`}},
		{"user", process(`"user": {"uid": -1, "gid": 4294967295, "additionalGids": [1, 4294967295, 4294967296, "x"]}`), []string{
			"process.user.uid: found -1, want " + wantID,
			"process.user.additionalGids[2]: found 4294967296, want " + wantID,
			`process.user.additionalGids[3]: found "x", want ` + wantID,
			"process.user.gid: found 4294967295, want " + wantID,
			"process.user.additionalGids[1]: found 4294967295, want " + wantID,
		}},
		{"umask", process(`"user": {"umask": 512}`), []string{"process.user.umask: found 512" + wantUmask}},
		{"umask string", process(`"user": {"umask": "022"}`), []string{`process.user.umask: found "022"` + wantUmask}},
		{"oomScoreAdj low", process(`"oomScoreAdj": -1001`), []string{"process.oomScoreAdj: found -1001" + wantOOM}},
		{"oomScoreAdj high", process(`"oomScoreAdj": 1001`), []string{"process.oomScoreAdj: found 1001" + wantOOM}},
		{"oomScoreAdj huge", process(`"oomScoreAdj": 99999999999999999999`), []string{
			"process.oomScoreAdj: found 99999999999999999999" + wantOOM}},
		{"terminal number", process(`"terminal": 1`), []string{"process.terminal: found 1, want true or false"}},
		{"root array", config(`"root": ["/"]`), []string{`root: found ["/"], want an object`}},
		{"root NUL", config(`"root": {"path": "a\u0000"}`), []string{`root.path: found "a\u0000", want a path without NUL`}},

		{"hooks", config(`"hooks": {"prestart": [{}], "poststop": [{"path": "/x", "timeout": 0}, {"path": "x"}, 7],
			"startContainer": [{"path": "/x", "args": ["a\u0000"], "env": ["A"], "timeout": -1}], "poststart": 1}`), []string{
			"hooks.poststart: found 1, want an array",
			"hooks.poststop[2]: found 7, want an object",
			"hooks.prestart[0].path: found nothing" + wantHook,
			"hooks.startContainer[0].timeout: found -1" + wantSeconds,
			`hooks.startContainer[0].args[0]: found "a\u0000", want a string without NUL`,
			`hooks.startContainer[0].env[0]: found "A", want ` + wantEnv,
			"hooks.poststop[0].timeout: found 0" + wantSeconds,
			`hooks.poststop[1].path: found "x"` + wantHook,
		}},
		{"hook timeout", config(`"hooks": {"createRuntime": [{"path": "/x", "timeout": "1s"}]}`), []string{
			`hooks.createRuntime[0].timeout: found "1s"` + wantSeconds}},

		{"annotations", config(`"annotations": {"": "x", "a\nb": 5, "dev.mlrun.memory.grace": "1.5"}`), []string{
			`annotations["a\nb"]: found 5, want a string, with a key that is not empty`,
			`annotations[""]: found "x", want a string, with a key that is not empty`,
			`annotations["dev.mlrun.memory.grace"]: found "1.5", want a string: ` + wantGrace,
		}},
		{"annotations array", config(`"annotations": []`), []string{
			"annotations: found [], want an object with strings as its values"}},
		{"grace number", config(`"annotations": {"dev.mlrun.memory.grace": 5}`), []string{
			`annotations["dev.mlrun.memory.grace"]: found 5, want a string, with a key that is not empty`}},

		{"memory 0", memory(`"limit": 0`), []string{"linux.resources.memory.limit: found 0" + wantMemory}},
		{"memory -2", memory(`"limit": -2`), []string{"linux.resources.memory.limit: found -2" + wantMemory}},
		{"memory 1.5", memory(`"limit": 1.5`), []string{"linux.resources.memory.limit: found 1.5" + wantMemory}},
		{"memory 1e9", memory(`"limit": 1e9`), []string{"linux.resources.memory.limit: found 1e9" + wantMemory}},
		{"memory 1G", memory(`"limit": "1G"`), []string{`linux.resources.memory.limit: found "1G"` + wantMemory}},
		{"memory 2^63", memory(`"limit": 9223372036854775808`), []string{
			"linux.resources.memory.limit: found 9223372036854775808" + wantMemory}},
		{"memory true", memory(`"limit": true`), []string{"linux.resources.memory.limit: found true" + wantMemory}},
		{"memory array", config(`"linux": {"resources": {"memory": 5}}`), []string{
			"linux.resources.memory: found 5, want an object"}},
		{"memory of three", memory(`"limit": 0, "reservation": 0, "swap": 0`), []string{
			"linux.resources.memory.limit: found 0" + wantMemory,
			"linux.resources.memory.reservation: found 0" + wantMemory,
			"linux.resources.memory.swap: found 0" + wantMemory,
		}},
		{"memory of other types", memory(`"limit": "x", "reservation": 1.5, "swap": true, "disableOOMKiller": "yes", "useHierarchy": 1`), []string{
			`linux.resources.memory.limit: found "x"` + wantMemory,
			"linux.resources.memory.reservation: found 1.5" + wantMemory,
			"linux.resources.memory.swap: found true" + wantMemory,
			`linux.resources.memory.disableOOMKiller: found "yes", want true or false`,
			"linux.resources.memory.useHierarchy: found 1, want true or false",
		}},
		{"reservation and swap beside a wrong limit", memory(`"limit": -2, "reservation": 5, "swap": 5`), []string{
			"linux.resources.memory.limit: found -2" + wantMemory}},
		{"reservation and swap below -1", memory(`"limit": 5, "reservation": -2, "swap": -5`), []string{
			"linux.resources.memory.reservation: found -2" + wantMemory,
			"linux.resources.memory.swap: found -5" + wantMemory,
		}},
		{"reservation above, swap below the limit", memory(`"limit": 1048576, "reservation": 1048577, "swap": 1048575`), []string{
			"linux.resources.memory.reservation: found 1048577, want at most the limit, 1048576",
			"linux.resources.memory.swap: found 1048575, want at least the limit, 1048576" + wantAbove,
		}},
		{"swap without limit", memory(`"swap": 1`), []string{
			"linux.resources.memory.swap: found 1, want a limit beside it" + wantAbove}},
		{"swap without a limit of memory", memory(`"limit": -1, "swap": 1`), []string{
			"linux.resources.memory.swap: found 1, want a limit beside it" + wantAbove}},
		{"disableOOMKiller against on-breach", config(`"linux": {"resources": {"memory": {"disableOOMKiller": true}}},
			"annotations": {"dev.mlrun.memory.on-breach": "signal:usr1"}`), []string{
			"linux.resources.memory.disableOOMKiller: found true, want false, since the annotation dev.mlrun.memory.on-breach asks for signal:SIGUSR1 instead of freeze"}},
		{"disableOOMKiller against the default", config(`"linux": {"resources": {"memory": {"disableOOMKiller": true}}},
			"annotations": {"dev.mlrun.memory.on-breach": "kill"}`), []string{
			"linux.resources.memory.disableOOMKiller: found true, want false, since the annotation dev.mlrun.memory.on-breach asks for kill instead of freeze"}},
		{"disableOOMKiller with a wrong on-breach", config(`"linux": {"resources": {"memory": {"disableOOMKiller": true}}},
			"annotations": {"dev.mlrun.memory.on-breach": "stop"}`), []string{
			`annotations["dev.mlrun.memory.on-breach"]: found "stop", want a string: ` + wantBreach}},

		{"group", config(`"annotations": {"dev.mlrun.group": "a\u000ab"}`), []string{
			`annotations["dev.mlrun.group"]: found "a\u000ab", want a string: ` + wantGroup}},
		{"settings", config(`"annotations": {"dev.mlrun.memory.on-breach": "signal:KILL", "dev.mlrun.memory.overshoot": "1T",
			"dev.mlrun.memory.meter": "Poll", "dev.mlrun.memory.x": "1", "dev.mlrun.memory.grace": ""}`), []string{
			`annotations["dev.mlrun.memory.on-breach"]: found "signal:KILL", want a string: kill: SIGKILL can not be caught, and kill leaves nothing behind`,
			`annotations["dev.mlrun.memory.overshoot"]: found "1T", want a string: ` + wantOvershoot,
			`annotations["dev.mlrun.memory.meter"]: found "Poll", want a string: ` + wantMeter,
			`annotations["dev.mlrun.memory.grace"]: found "", want a string: ` + wantGrace,
			`annotations["dev.mlrun.memory.x"] "1": not supported: of dev.mlrun.* mlrun knows only dev.mlrun.memory.limit, dev.mlrun.memory.grace, ` +
				`dev.mlrun.memory.on-breach, dev.mlrun.memory.overshoot, dev.mlrun.memory.meter, ` +
				`dev.mlrun.pids.mode, dev.mlrun.cpu.time, dev.mlrun.wall.time, dev.mlrun.hang.time, dev.mlrun.admission.available, dev.mlrun.admission.reserve, dev.mlrun.admission.pressure, dev.mlrun.admission.scope, dev.mlrun.admission.timeout, dev.mlrun.admission.settle, dev.mlrun.group; remove it, or pass --ignore-unsupported`,
		}},
		{"settings of other types", config(`"annotations": {"dev.mlrun.memory.overshoot": 16777216, "dev.mlrun.memory.meter": true}`), []string{
			`annotations["dev.mlrun.memory.overshoot"]: found 16777216, want a string, with a key that is not empty`,
			`annotations["dev.mlrun.memory.meter"]: found true, want a string, with a key that is not empty`,
		}},
		{"all types", config(`"linux": {"namespaces": "pid", "resources": {"cpu": {"shares": -1, "quota": 1.5}, "blockIO":
			{"weight": 65536, "weightDevice": [{"major": "8", "minor": 0}]}}, "devices": [{"fileMode": -1}], "timeOffsets": {"a": 1}}`), []string{
			"linux.resources.cpu.shares: found -1, want an integer from 2 to 262144, or 0 for none",
			"linux.resources.cpu.quota: found 1.5, want an integer number of microseconds from 1000 on, or -1 for unlimited",
			"linux.resources.blockIO.weight: found 65536, want an integer from 10 to 1000, or 0 for none",
			`linux.resources.blockIO.weightDevice[0].major: found "8", want an integer from -9223372036854775808 to 9223372036854775807`,
			`linux.namespaces: found "pid", want an array`,
			"linux.devices[0].fileMode: found -1, want an integer from 0 to 4294967295",
			`linux.timeOffsets["a"]: found 1, want an object`,
			`linux.devices[0] {"fileMode":-1}: not supported: mlrun makes no device files: the program sees those of the host; remove it, or pass --ignore-unsupported`,
			`linux.resources.blockIO.weightDevice[0] {"major":"8","minor":0}: not supported: mlrun uses no cgroups; remove it, or pass --ignore-unsupported`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, problems(t, test.data)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRlimits(t *testing.T) {
	nofile, _ := rlimit.Lookup("RLIMIT_NOFILE")
	core, _ := rlimit.Lookup("RLIMIT_CORE")
	b, err := Parse([]byte(process(`"rlimits": [
		{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 18446744073709551615},
		{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
	]`)), "/", "config.json", Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []rlimit.Limit{{Type: nofile, Soft: 10, Hard: rlimit.Infinity}, {Type: core}}
	if diff := cmp.Diff(want, b.Rlimits); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	types := strings.Join(rlimit.Names(), ", ")
	lines := problems(t, process(`"rlimits": [
		{"type": "RLIMIT_NOFILE", "soft": 11, "hard": 10},
		{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1},
		{"type": "NOFILE", "soft": 1, "hard": 1},
		{"type": "RLIMIT_CORE"},
		{"type": "RLIMIT_CPU", "soft": -1, "hard": 1},
		{"type": "RLIMIT_AS", "soft": 1, "hard": 18446744073709551616},
		{"soft": 1, "hard": 1.0},
		7
	]`))
	wantLines := []string{
		"process.rlimits[4].soft: found -1, want " + wantLimit,
		"process.rlimits[5].hard: found 18446744073709551616, want " + wantLimit,
		"process.rlimits[6].hard: found 1.0, want " + wantLimit,
		"process.rlimits[7]: found 7, want an object",
		"process.rlimits[0].soft: found 11, want at most the hard limit, 10",
		`process.rlimits[1].type: found "RLIMIT_NOFILE", want a type that is not in the list before`,
		`process.rlimits[2].type: found "NOFILE", want one of ` + types,
		"process.rlimits[3].soft: found nothing, want " + wantLimit,
		"process.rlimits[3].hard: found nothing, want " + wantLimit,
		"process.rlimits[6].type: found nothing, want one of " + types,
	}
	if diff := cmp.Diff(wantLines, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBundle(t *testing.T) {
	parse := func(data string) *Bundle {
		t.Helper()
		b, err := Parse([]byte(data), "/b", "config.json", Options{})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := parse(config(""))
	if b.UID != nil || b.GID != nil || b.MemoryLimit != -1 || b.MemoryReservation != -1 || b.MemorySwap != -1 ||
		b.Settings != (Settings{}) || b.Rlimits != nil || b.Warnings != nil || b.Dir != "/b" {
		t.Errorf("defaults: %+v", b)
	}
	b = parse(process(`"user": {"uid": 0, "gid": null}`))
	if b.UID == nil || *b.UID != 0 || b.GID != nil {
		t.Errorf("uid 0: %+v", b)
	}
	b = parse(process(`"user": {"gid": 5}`))
	if b.UID != nil || b.GID == nil || *b.GID != 5 {
		t.Errorf("gid 5: %+v", b)
	}
	if b := parse(memory(`"limit": 1048576`)); b.MemoryLimit != 1<<20 {
		t.Errorf("memory limit: %d", b.MemoryLimit)
	}
	if b := parse(memory(`"limit": -1`)); b.MemoryLimit != -1 {
		t.Errorf("no memory limit: %d", b.MemoryLimit)
	}
	if b := parse(memory(`"limit": 3, "reservation": 2, "swap": 4`)); b.MemoryLimit != 3 || b.MemoryReservation != 2 || b.MemorySwap != 4 {
		t.Errorf("memory: %d, %d, %d", b.MemoryLimit, b.MemoryReservation, b.MemorySwap)
	}
	if b := parse(memory(`"limit": -1, "reservation": -1, "swap": -1`)); b.MemoryLimit != -1 || b.MemoryReservation != -1 || b.MemorySwap != -1 {
		t.Errorf("no memory: %d, %d, %d", b.MemoryLimit, b.MemoryReservation, b.MemorySwap)
	}
	if b := parse(memory(`"disableOOMKiller": true`)); b.Settings != (Settings{OnBreach: Breach{Action: BreachFreeze}}) {
		t.Errorf("disableOOMKiller: %+v", b.Settings)
	}
	b = parse(config(`"annotations": {"dev.mlrun.memory.overshoot": "16M", "dev.mlrun.memory.grace": "1",
		"dev.mlrun.memory.on-breach": "signal:USR2", "dev.mlrun.memory.meter": "events"}`))
	if want := (Settings{
		MemoryGrace: time.Second, MemoryGraceSet: true, OnBreach: Breach{BreachSignal, syscall.SIGUSR2}, Overshoot: 16 << 20, Meter: MeterEvents,
	}); b.Settings != want {
		t.Errorf("settings: %+v, want %+v", b.Settings, want)
	}
	for value, want := range map[string]time.Duration{"5": 5 * time.Second, "0": 0, "500ms": 500 * time.Millisecond} {
		b := parse(config(`"annotations": {"dev.mlrun.memory.grace": "` + value + `"}`))
		if b.Settings != (Settings{MemoryGrace: want, MemoryGraceSet: true}) {
			t.Errorf("grace %s: %+v", value, b.Settings)
		}
	}
}

// everything has a value for all kinds of types in specs.Spec.
const everything = `{
	"ociVersion": "1.3.0",
	"process": {
		"terminal": true, "consoleSize": {"height": 1, "width": 18446744073709551615}, "args": ["a", "\ud83d\ude00", "\ud83d"],
		"user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 4], "username": "u"}, "cwd": "/",
		"env": [], "oomScoreAdj": -5, "rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 18446744073709551615}],
		"scheduler": {"policy": "SCHED_OTHER", "nice": -20, "flags": ["SCHED_FLAG_RECLAIM"]},
		"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}
	},
	"root": {"path": "/", "readonly": true},
	"mounts": [{"destination": "/proc", "options": ["ro"], "uidMappings": [{"containerID": 1, "hostID": 2, "size": 3}]}, {}],
	"hooks": {"poststop": [{"path": "/x", "timeout": 3}]},
	"annotations": {"b": "2", "a": "1"},
	"linux": {
		"sysctl": {"a": "b"},
		"resources": {
			"devices": [{"allow": true, "major": -1, "access": "rwm"}],
			"memory": {"limit": 5, "swap": -1, "disableOOMKiller": false, "swappiness": 0},
			"blockIO": {"weight": 0, "weightDevice": [{"major": 8, "minor": 0, "weight": 1}]},
			"rdma": {"mlx5": {"hcaHandles": 4294967295}}, "unified": {"memory.max": "5"}
		},
		"namespaces": [{"type": "pid"}], "devices": [{"path": "/dev/x", "fileMode": 438, "uid": 0}],
		"netDevices": {"eth0": {"name": "x"}}, "timeOffsets": {"monotonic": {"secs": -9223372036854775808, "nanosecs": 1}},
		"seccomp": {"defaultAction": "A", "syscalls": [{"names": ["x"], "args": [{"index": 1, "value": 2, "op": "E"}]}]}
	},
	"windows": {"layerFolders": ["x"], "credentialSpec": {"a": [1, "x", null, true, {}], "b": 1e3}},
	"freebsd": {"jail": {"host": "new", "enforceStatfs": 2, "allow": {"mount": ["a"]}}}
}`

// encoding/json decodes to the same Spec where neither null nor the case of
// names makes a difference.
func TestDecode(t *testing.T) {
	for _, data := range []string{everything, config(""), string(Default(1, 2))} {
		b, err := Parse([]byte(data), "/", "config.json", Options{IgnoreUnsupported: true})
		if err != nil {
			t.Fatal(err)
		}
		want := new(specs.Spec)
		if err := json.Unmarshal([]byte(data), want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.Spec); diff != "" {
			t.Errorf("(-encoding/json +bundle):\n%s", diff)
		}
	}
}

func TestErrorText(t *testing.T) {
	p := Problem{Path: "a.b", Found: "1", Want: "2"}
	for n, want := range map[int]string{
		1: "dir/config.json: a.b: found 1, want 2",
		2: "dir/config.json: a.b: found 1, want 2 (and 1 more problem)",
		3: "dir/config.json: a.b: found 1, want 2 (and 2 more problems)",
	} {
		e := &Error{File: "dir/config.json", Problems: []Problem{p, p, p}[:n]}
		if e.Error() != want {
			t.Errorf("got %s, want %s", e, want)
		}
	}
}

// A hostile file can not make more of itself than so many problems.
func TestManyProblems(t *testing.T) {
	data := process(`"args": [` + strings.Repeat("0,", 100_000) + `0]`)
	if n := len(problems(t, data)); n != maxProblems {
		t.Errorf("%d problems, want %d", n, maxProblems)
	}
	data = config(`"mounts": [` + strings.Repeat(`{"type": "x"},`, 100_000) + `{}]`)
	if n := len(problems(t, data)); n != maxProblems {
		t.Errorf("%d problems, want %d", n, maxProblems)
	}
}
