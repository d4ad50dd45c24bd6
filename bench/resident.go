package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// idlers is how many containers there are at once.
const idlers = 20

var residentMeasurement = measurement{
	name: "resident", title: "Memory of the supervisors",
	text: `Proportional set size (smaps_rollup) of what mlrun needs for each of 20 idle containers in the background: a supervisor, and its reaper. What they
share is divided among them; a reaper that has the address space of its supervisor (kcmp(2)) takes nothing of its own.`,
	run: (*rig).resident,
}

func (r *rig) resident() ([]table, error) {
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	b, err := r.bundle(limited, r.hold, "-note", r.path("note"))
	if err != nil {
		return nil, err
	}
	var ids []string
	for range idlers {
		id := r.fresh("idle")
		if err := r.detach(b, id); err != nil {
			return nil, err
		}
		defer r.remove(id)
		ids = append(ids, id)
	}
	supervisor, reaper, both := &series{label: "supervisor"}, &series{label: "reaper"}, &series{label: "both"}
	for _, id := range ids {
		s, c, err := r.overhead(id)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
		supervisor.addBytes(s)
		reaper.addBytes(c)
		both.addBytes(s + c)
	}
	return []table{summary(fmt.Sprintf("%d containers:", idlers), "MiB", nil, supervisor, reaper, both)}, nil
}

// overhead is the memory of the supervisor of a container, and of the reaper between it and the payload, in bytes.
func (r *rig) overhead(id string) (supervisor, reaper int64, err error) {
	b, err := r.output(r.mlrun, "state", "--root", r.root(), id)
	if err != nil {
		return 0, 0, err
	}
	var st struct {
		Pid   int
		MLRun struct{ Supervisor int }
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return 0, 0, err
	}
	if supervisor, err = pss(st.MLRun.Supervisor); err != nil {
		return 0, 0, err
	}
	parent, err := parent(st.Pid)
	if err != nil || parent == st.MLRun.Supervisor {
		return supervisor, 0, err
	}
	if sharesMemory(parent, st.MLRun.Supervisor) {
		return supervisor, 0, nil
	}
	reaper, err = pss(parent)
	return supervisor, reaper, err
}

// pss is the proportional set size of a process in bytes.
func pss(pid int) (int64, error) { return field(pid, "smaps_rollup", "Pss:", 1<<10) }

// parent is the parent of a process.
func parent(pid int) (int, error) {
	n, err := field(pid, "status", "PPid:", 1)
	return int(n), err
}

// field is the number after name in a file of /proc/PID, times unit.
func field(pid int, file, name string, unit int64) (int64, error) {
	path := filepath.Join("/proc", strconv.Itoa(pid), file)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return n * unit, err
		}
	}
	return 0, fmt.Errorf("%s: no %s", path, name)
}
