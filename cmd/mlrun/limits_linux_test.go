package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/internal/asnobody"
	"mlrun/proc"
	"mlrun/rlimit"
)

// badLimit is a value that no limit at this place may have.
type badLimit struct{ where, value, path string } // where: a property with %s in place of the value

// badLimits are all limits of a bundle with values of other types, that are too small, too large, or no word that is known.
func badLimits() (list []badLimit) {
	add := func(where, path string, values ...string) {
		for _, v := range values {
			list = append(list, badLimit{where, v, path})
		}
	}
	resources := func(name, path string, values ...string) {
		add(`"linux":{"resources":{`+name+`}}`, "linux.resources."+path, values...)
	}
	const huge = "18446744073709551616" // does not fit 64 bits
	for _, name := range []string{"limit", "reservation", "swap"} {
		resources(`"memory":{"`+name+`":%s}`, "memory."+name, "0", "-2", `"1G"`, "1.5", "true", huge)
	}
	resources(`"pids":{"limit":%s}`, "pids.limit", "-2", `"5"`, "1.5", "[]", huge)
	resources(`"cpu":{"quota":%s}`, "cpu.quota", "-2", "999", `"x"`, "1.5", huge)
	resources(`"cpu":{"period":%s}`, "cpu.period", "-1", "999", "1000001", `"x"`, "1.5", huge)
	resources(`"cpu":{"shares":%s}`, "cpu.shares", "-1", "1", "262145", `"x"`, huge)
	resources(`"cpu":{"idle":%s}`, "cpu.idle", "-1", "2", "true", huge)
	resources(`"cpu":{"cpus":%s}`, "cpu.cpus", "0", `"x"`, `"3-1"`, `"-1"`, `"0,"`, `"8192"`)
	resources(`"cpu":{"mems":%s}`, "cpu.mems", "0", `"x"`, `"3-1"`, `"-1"`)
	resources(`"blockIO":{"weight":%s}`, "blockIO.weight", "-1", "9", "1001", `"x"`, huge)
	resources(`"hugepageLimits":[{"pageSize":%s,"limit":1}]`, "hugepageLimits[0].pageSize", "2", `"2M"`, `"x"`, `""`)
	resources(`"hugepageLimits":[{"pageSize":"2MB","limit":%s}]`, "hugepageLimits[0].limit", "-1", `"1"`, "1.5", huge)
	for name, values := range map[string][]string{
		"memory.max":      {"1", `"0"`, `"-1"`, `"1.5G"`, `"x"`, `""`},
		"memory.high":     {"1", `"0"`, `"-1"`, `"x"`},
		"memory.swap.max": {"1", `"-1"`, `"x"`},
		"pids.max":        {"1", `"-1"`, `"1.5"`, `"x"`},
		"cpu.max":         {"1", `"999"`, `"-1"`, `"5000 999"`, `"5000 1000001"`, `"5000 10000 1"`, `"x"`},
		"cpu.weight":      {"1", `"0"`, `"10001"`, `"x"`},
	} {
		resources(`"unified":{"`+name+`":%s}`, `unified["`+name+`"]`, values...)
	}
	for name, values := range map[string][]string{
		"cpu.time": {"1", `"0"`, `"9ms"`, `"-1s"`, `"8761h"`, `"1 s"`, `"x"`, `""`}, "wall.time": {"1", `"0"`, `"9ms"`, `"8761h"`, `"x"`},
		"hang.time": {"1", `"0"`, `"9ms"`, `"8761h"`, `"x"`}, "pids.mode": {"1", `"cgroup"`, `""`},
		"memory.limit": {"1", `"0"`, `"x"`}, "memory.grace": {"1", `"-1s"`, `"x"`}, "memory.on-breach": {"1", `"x"`, `"signal:X"`}, "memory.overshoot": {"1", `"0"`, `"x"`}, "memory.meter": {"1", `"x"`},
		"admission.available": {"1", `"101%"`, `"x"`}, "admission.reserve": {"1", `"0"`, `"x"`}, "admission.pressure": {"1", `"101"`, `"x"`},
		"admission.timeout": {"1", `"0"`, `"x"`}, "admission.settle": {"1", `"0"`, `"x"`}, "admission.scope": {"1", `"x"`},
	} {
		add(`"annotations":{"dev.mlrun.`+name+`":%s}`, `annotations["dev.mlrun.`+name+`"]`, values...)
	}
	return list
}

// badRlimits are limits of setrlimit(2) for each TYPE, with the problem that it has.
var badRlimits = map[string]string{
	`{"type":"TYPE","soft":2,"hard":1}`:                    "soft: found 2, want at most the hard limit, 1",
	`{"type":"TYPE","soft":-1,"hard":1}`:                   "soft: found -1, want an integer",
	`{"type":"TYPE","soft":1,"hard":18446744073709551616}`: "hard: found 18446744073709551616, want an integer",
	`{"type":"TYPE","soft":1.5,"hard":2}`:                  "soft: found 1.5, want an integer",
	`{"type":"TYPE","soft":"1","hard":2}`:                  `soft: found "1", want an integer`,
	`{"type":"TYPE","hard":2}`:                             "soft: found nothing, want an integer",
	`{"type":"TYPE","soft":2}`:                             "hard: found nothing, want an integer",
	`{"type":"TYPE_","soft":1,"hard":2}`:                   `type: found "TYPE_", want one of RLIMIT_AS, `,
}

// TestLimitsMalformed runs a bundle for each: it is refused with the JSON path and what may be there, and nothing is started.
func TestLimitsMalformed(t *testing.T) {
	s := newSite(t)
	dir, started := filepath.Join(s.dir, "b"), filepath.Join(s.dir, "started")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The lines that tell the problems of a bundle.
	refused := func(process, more string) []string {
		t.Helper()
		config := fmt.Sprintf(`{"ociVersion":"1.3.0","process":{"args":["touch",%q],"cwd":"/","env":["PATH=%s"]%s}%s}`, started, os.Getenv("PATH"), process, more)
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := s.try("run", dir)
		if code != 1 {
			t.Errorf("%s%s: exit code %d, %s", process, more, code, stderr)
		}
		if fileExists(started) {
			t.Fatalf("%s%s: it was started", process, more)
		}
		return strings.Split(strings.TrimSpace(strings.ReplaceAll(stderr, "mlrun: "+dir+"/config.json: ", "")), "\n")
	}
	for _, b := range badLimits() {
		lines := refused("", ","+fmt.Sprintf(b.where, b.value))
		if len(lines) != 1 || !strings.HasPrefix(lines[0], b.path+": found ") || !strings.Contains(lines[0], ", want ") {
			t.Errorf("%s, %s:\n%s", b.where, b.value, strings.Join(lines, "\n"))
		}
	}
	names := rlimit.Names()
	for entry, want := range badRlimits {
		var list []string
		for _, name := range names {
			list = append(list, strings.ReplaceAll(entry, "TYPE", name))
		}
		lines := refused(`,"rlimits":[`+strings.Join(list, ",")+"]", "")
		if len(lines) != len(names) {
			t.Errorf("%s: %d problems, want %d", entry, len(lines), len(names))
		}
		for i, name := range names {
			if want := fmt.Sprintf("process.rlimits[%d].", i) + strings.ReplaceAll(want, "TYPE", name); !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }) {
				t.Errorf("%s: no line %q in\n%s", entry, want, strings.Join(lines, "\n"))
			}
		}
	}
	if left := s.must("list", "-q"); left != "" {
		t.Errorf("containers are left: %s", left)
	}
}

// TestLimitsOfEveryType lowers all limits of setrlimit(2) at once and compares /proc/PID/limits: of the program as it is started, of a process that it forks, and
// of what that executes. The caller has the same as before.
func TestLimitsOfEveryType(t *testing.T) {
	s := newSite(t)
	before, err := rlimit.Read("/proc", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var flags []string
	want := map[string][2]uint64{}
	for _, l := range before {
		hard := l.Hard - l.Hard/8
		if l.Hard == rlimit.Infinity {
			hard = 1 << 41
		}
		soft := min(hard-hard/4, l.Soft)
		want[l.Type.Name] = [2]uint64{soft, hard}
		flags = append(flags, "--rlimit", fmt.Sprintf("%s=%d:%d", l.Type.Name, soft, hard))
	}
	if len(want) != len(rlimit.Names()) {
		t.Errorf("%d limits in /proc/PID/limits, want %d", len(want), len(rlimit.Names()))
	}
	// The shell, which was executed by mlrun; a fork of it, by a redirection that it opens itself; and cat, which a fork has executed.
	out := s.must(append(append([]string{"run"}, flags...), s.bundle("cat /proc/$$/limits; echo ==; (while read -r line; do echo \"$line\"; done </proc/self/limits); echo ==; sh -c 'exec cat /proc/self/limits'"))...)
	parts := strings.Split(out, "==\n")
	if len(parts) != 3 {
		t.Fatalf("want three tables:\n%s", out)
	}
	for i, who := range []string{"the program", "its child", "what its child executes"} {
		got, err := rlimit.ParseProc([]byte(parts[i]))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d limits, want %d", who, len(got), len(want))
		}
		for _, l := range got {
			if w := want[l.Type.Name]; l.Soft != w[0] || l.Hard != w[1] {
				t.Errorf("%s: %s is %d:%d, want %d:%d", who, l.Type.Name, l.Soft, l.Hard, w[0], w[1])
			}
		}
	}
	after, err := rlimit.Read("/proc", os.Getpid())
	if err != nil || !slices.Equal(after, before) {
		t.Errorf("the limits of the caller are %v, %v; want %v as before", after, err, before)
	}
}

// ticks is the CPU time of a process.
func ticks(t *testing.T, id proc.ID) uint64 {
	t.Helper()
	st, err := proc.Root.Stat(id.PID)
	if err != nil || st.Start != id.Start {
		t.Fatalf("process %d is gone", id.PID)
	}
	return st.UTime + st.STime
}

// grows waits until a process has used so many ticks more.
func grows(t *testing.T, id proc.ID, by uint64) {
	t.Helper()
	for end, from := time.Now().Add(time.Minute), ticks(t, id); ticks(t, id) < from+by; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d did not use %d ticks in a minute", id.PID, by)
		}
	}
}

// TestLimitsKeepStops has others stop a container while it is held to a quota: that lasts through the periods, until others continue it.
func TestLimitsKeepStops(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(s.dir, "pids")
	s.must("run", "--detach", "--cpus", "0.2", "--id", "x", s.bundle("f() { while :; do :; done; }; f & echo $! >"+file+"; f & echo $! >>"+file+"; wait"))
	list := pids(t, file, 2)
	one, other := list[0], list[1]
	grows(t, one, 5)
	signal := func(sig unix.Signal) {
		if err := unix.Kill(one.PID, sig); err != nil {
			t.Fatal(err)
		}
	}
	// A stop that comes between a look at who was stopped by others and the SIGCONT that follows it is lost. That is a moment, but on a busy machine it may be
	// a long one; where stops did not last, those that come while everything is stopped would not, which is four fifths of the time.
	lasted := 0
	for range 5 {
		signal(unix.SIGSTOP)
		grows(t, other, 10) // two periods
		before := ticks(t, one)
		grows(t, other, 10)
		if ticks(t, one) == before {
			lasted++
		}
		if lasted < 3 {
			signal(unix.SIGCONT)
			grows(t, one, 2)
		} else if ticks(t, one) == before {
			break
		}
	}
	if lasted < 3 {
		t.Errorf("a process that was stopped went on in %d of 5", 5-lasted)
	}
	s.must("pause", "x")
	before := ticks(t, one) + ticks(t, other)
	time.Sleep(time.Second) // some periods, in which nothing happens
	if now := ticks(t, one) + ticks(t, other); now != before {
		t.Errorf("a paused container has used %d ticks", now-before)
	}
	s.must("resume", "x")
	grows(t, other, 5)
	signal(unix.SIGCONT)
	grows(t, one, 5)
}

// TestLimitsUpdateZeros gives update what changes nothing, what takes limits away, and what it refuses.
func TestLimitsUpdateZeros(t *testing.T) {
	s := newSite(t)
	flags := []string{"--memory", "1G", "--memory-swap", "2G", "--memory-reservation", "500M", "--pids-limit", "77", "--cpus", "0.5", "--cpu-share", "512", "--blkio-weight", "500"}
	s.must("run", "--detach", "--id", "x", s.bundle("sleep 1000", `,"annotations":{"dev.mlrun.pids.mode":"sampled"}`))
	limits := func() string {
		var st struct {
			MLRun struct{ Limits json.RawMessage }
		}
		if err := json.Unmarshal([]byte(s.must("state", "x")), &st); err != nil {
			t.Fatal(err)
		}
		return string(st.MLRun.Limits)
	}
	s.must(append(append([]string{"update"}, flags...), "x")...)
	had := limits()
	zeros := filepath.Join(s.dir, "zeros")
	text := `{"memory":{"limit":0,"reservation":0,"swap":0},"cpu":{"shares":0,"quota":0,"period":0,"cpus":"","mems":""},"pids":{"limit":0},"blockIO":{"weight":0}}`
	if err := os.WriteFile(zeros, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.must("update", "--resources", zeros, "x")
	s.must("update", "--pids-limit", "0", "--cpu-quota", "0", "--cpu-period", "0", "--cpu-share", "0", "--blkio-weight", "0", "x")
	for _, args := range [][]string{ // refused, or nothing to change
		{"--memory", "0"}, {"--memory-swap", "0"}, {"--memory-reservation", "0"}, {"--cpus", "0"}, {"--cpu-quota", "0"}, {"--cpu-period", "-1"}, {"--cpu-share", "-1"},
		{"--cpu-idle", "-1"}, {"--blkio-weight", "-1"}, {"--pids-limit", "-2"}, {"--cpuset-cpus", "-1"},
	} {
		if _, stderr, code := s.try(append(append([]string{"update"}, args...), "x")...); code != 2 || !strings.Contains(stderr, "want ") {
			t.Errorf("update %v: exit code %d, %s", args, code, stderr)
		}
	}
	if now := limits(); now != had {
		t.Errorf("limits %s\nwant as before, %s", now, had)
	}
	s.must("update", "--memory", "-1", "--memory-swap", "-1", "--memory-reservation", "-1", "--pids-limit", "-1", "--cpu-quota", "-1", "x")
	if now := limits(); strings.Contains(now, "memory") || strings.Contains(now, "pids") || strings.Contains(now, "quota") || !strings.Contains(now, "cpu weight") {
		t.Errorf("limits %s\nwant those alone that -1 does not take away", now)
	}
}

// TestLimitsHugePages reserves huge pages, if it may, for a program that uses more of them than its limit.
func TestLimitsHugePages(t *testing.T) {
	const file, want = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", 8
	number := func(file string) int {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Skip("the kernel has no huge pages of 2 MiB: " + err.Error())
		}
		n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return n
	}
	free := func() int { return number(filepath.Join(filepath.Dir(file), "free_hugepages")) }
	if free() < want {
		had := number(file)
		if err := os.WriteFile(file, []byte(strconv.Itoa(had+want)), 0); err != nil {
			t.Skip("none are reserved, and that takes root: " + err.Error())
		}
		t.Cleanup(func() {
			if err := os.WriteFile(file, []byte(strconv.Itoa(had)), 0); err != nil {
				t.Error(err)
			}
		})
		if free() < want {
			t.Skip("the machine has no memory for huge pages")
		}
	}
	example, err := filepath.Abs("../../examples/bundles/hugepages")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	report := filepath.Join(s.dir, "v")
	_, stderr, code := s.try("run", "--report", report, example)
	var v struct {
		Reason   string
		Exceeded struct{ Limit, Observed int64 }
	}
	b, _ := os.ReadFile(report)
	if err := json.Unmarshal(b, &v); err != nil || code != 137 || v.Reason != "hugepages-limit" || v.Exceeded.Limit != 4<<20 || v.Exceeded.Observed <= 4<<20 {
		t.Errorf("exit code %d, %s%s", code, stderr, b)
	}
	// As an ordinary user, while they are there.
	if os.Getuid() == 0 {
		dir := filepath.Join(s.dir, "user")
		config, err := os.ReadFile(filepath.Join(example, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		user := strings.Replace(string(config), `"cwd": "/"`, fmt.Sprintf(`"cwd": "/", "user": {"uid": %d, "gid": %[1]d}`, asnobody.ID), 1)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(user), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := s.try("run", dir); code != 137 || !strings.Contains(stderr, "huge page limit exceeded: ") || !strings.Contains(stderr, " of 4 MiB") {
			t.Errorf("as an ordinary user: exit code %d, %s", code, stderr)
		}
	}
}

func TestLimitsAsNobody(t *testing.T) { asnobody.Run(t, "^TestLimits") }
