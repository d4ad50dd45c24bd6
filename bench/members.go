package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tagName is the variable that marks the processes of one run. A process inherits its environment by fork and by exec and cannot be
// started without it by a workload here, so a process counts from its first instant, before it could write down its pid.
const tagName = "MLRUN_BENCH"

// member is a process of a run.
type member struct {
	pid     int
	start   string // clock ticks since boot: with the pid, it names the process for ever
	command string
}

func (m member) String() string { return fmt.Sprintf("%d (%s)", m.pid, m.command) }

// members are the processes with a tag that have not ended: a zombie has no environment.
func members(tag string) []member {
	want := []byte(tagName + "=" + tag)
	var list []member
	for _, pid := range pids() {
		env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
		if err != nil || !tagged(env, want) {
			continue
		}
		if m, ok := identity(pid); ok {
			list = append(list, m)
		}
	}
	return list
}

// tagged tells whether an environment (proc(5)) contains a variable.
func tagged(env, want []byte) bool {
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.Equal(v, want) {
			return true
		}
	}
	return false
}

// payload are the members that are not mlrun itself.
func payload(list []member) []member {
	var rest []member
	for _, m := range list {
		if !strings.HasPrefix(m.command, "mlrun") {
			rest = append(rest, m)
		}
	}
	return rest
}

func pids() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var list []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// identity is false for a process that has ended.
func identity(pid int) (member, bool) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return member{}, false
	}
	command, fields, ok := parseStat(string(b))
	if !ok || fields[0] == "Z" || fields[0] == "X" {
		return member{}, false
	}
	return member{pid, fields[19], command}, true
}

// parseStat takes a line of /proc/PID/stat apart: the command, and the fields after it, of which the first is the state, the second the
// parent, and the twentieth the start time (proc(5)). A command may contain anything, also spaces and parentheses.
func parseStat(line string) (command string, fields []string, ok bool) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return "", nil, false
	}
	fields = strings.Fields(line[end+1:])
	return line[open+1 : end], fields, len(fields) >= 20
}

// children are the processes whose parent is pid.
func children(pid int) []int {
	var list []int
	for _, p := range pids() {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p), "stat"))
		if err != nil {
			continue
		}
		if _, fields, ok := parseStat(string(b)); ok && fields[1] == strconv.Itoa(pid) {
			list = append(list, p)
		}
	}
	return list
}
