package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"mlrun/bench/workload/note"
)

const (
	groupsMade   = 1000 // groups of the tree
	groupGrowers = 20   // runs that exceed a limit together
	groupLeaves  = 4    // groups that they are in, two levels below that limit
	groupBurst   = 25   // runs that start at once
	groupWatch   = 10 * time.Second
)

var groupMeasurement = measurement{
	name: "group", title: "Limit groups",
	text: fmt.Sprintf(`A tree of %d groups below one with limits, and idle runs in them (-members). Making a group and asking for one, beside the bare start of mlrun and /bin/true; the start of a run in a
group, beside that of one without. "Monitor" is memory.monitorCpuMs of a run that sleeps for %v, alone and in one of these groups. "Over the limit" is what %d runs in %d groups, which are
below two groups below one with a limit of 512 MiB, had touched together when they had ended, less the limit: each touches memory as fast as it can, and the whole group
ends.`, groupsMade, groupWatch, groupGrowers, groupLeaves),
	run: (*rig).group,
}

func (r *rig) group() ([]table, error) {
	root := r.path("groups")
	mlrun := func(args ...string) []string { return append([]string{r.mlrun, "--root", root}, args...) }
	if _, err := r.time(mlrun("group", "create", "--label", "top", "--memory", "1024G", "--mproc", "100000")...); err != nil {
		return nil, err
	}
	for range groupsMade {
		if _, err := r.time(mlrun("group", "create", "--parent", "top")...); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err := r.always(mlrun("group", "kill", "top")...); err != nil {
			r.problems = append(r.problems, err)
		}
	}()
	// The first run is in the first group below, which has the id 3.
	var idle []*child
	for i := range r.members {
		c, err := r.spawnFor(20*time.Minute, mlrun("group", "exec", "--grace", "0", "--quiet", strconv.Itoa(3+i%groupsMade), "--", r.hold)...)
		if err != nil {
			return nil, err
		}
		if idle = append(idle, c); len(idle)%groupBurst == 0 {
			if err := r.inGroup(root, int64(len(idle))); err != nil {
				return nil, err
			}
		}
	}
	defer func() {
		for _, c := range idle {
			_, _ = c.end()
		}
	}()
	if err := r.inGroup(root, int64(r.members)); err != nil {
		return nil, err
	}
	bundle, err := r.bundle(limited, r.nop)
	if err != nil {
		return nil, err
	}
	bare := same("posix_spawn", r.nop)
	costs, err := r.timeAll(fmt.Sprintf("%%d runs, %d in groups:", r.members), bare, []*timed{
		bare, same("mlrun --version", r.mlrun, "--version"), same("mlrun group create", mlrun("group", "create", "--parent", "top")...), same("mlrun group status", mlrun("group", "status", "500")...),
		same("mlrun group ls", mlrun("group", "ls")...), same("mlrun run", mlrun("run", bundle)...), same("mlrun run --group", mlrun("run", "--group", "500", bundle)...),
	})
	if err != nil {
		return nil, err
	}
	monitor, err := r.groupMonitor(mlrun)
	if err != nil {
		return nil, err
	}
	over, err := r.groupOvershoot(mlrun)
	return append(costs, monitor, over), err
}

// inGroup waits until there are n runs in the group top.
func (r *rig) inGroup(root string, n int64) error {
	_, err := r.await(func() int64 {
		out, err := r.output(r.mlrun, "--root", root, "group", "status", "-f", "json", "top")
		var s struct{ Runs int64 }
		if err != nil || json.Unmarshal(out, &s) != nil || s.Runs != n {
			return 0
		}
		return 1
	})
	return err
}

// groupMonitor is the CPU time of a supervisor with and without a group.
func (r *rig) groupMonitor(mlrun func(...string) []string) (table, error) {
	alone, member := &series{label: "mlrun limit"}, &series{label: "mlrun group exec"}
	report := r.path("report")
	for range max(1, r.runs/5) {
		for _, w := range []struct {
			to   *series
			args []string
		}{
			{alone, mlrun("limit", "--report", report, "1024G", "--", r.hold, "-for", groupWatch.String())},
			{member, mlrun("group", "exec", "--report", report, "500", "--", r.hold, "-for", groupWatch.String())},
		} {
			if _, err := r.time(w.args...); err != nil {
				return table{}, err
			}
			var v struct {
				Memory struct{ MonitorCPUMS float64 }
			}
			b, err := os.ReadFile(report)
			if err == nil {
				err = json.Unmarshal(b, &v)
			}
			if err != nil {
				return table{}, err
			}
			w.to.add(v.Memory.MonitorCPUMS)
		}
	}
	return summary(fmt.Sprintf("Monitor, %d runs of %v:", len(alone.values), groupWatch), "ms of CPU time", alone, alone, member), nil
}

// groupOvershoot is by how much several runs together exceed the limit of their group.
func (r *rig) groupOvershoot(mlrun func(...string) []string) (table, error) {
	over := &series{label: fmt.Sprintf("%d runs that grow", groupGrowers)}
	if _, err := r.time(mlrun("group", "create", "--label", "grow", "--memory", strconv.Itoa(limited), "--victim", "kill-group")...); err != nil {
		return table{}, err
	}
	for i := range groupLeaves {
		mid, leaf := fmt.Sprintf("mid-%d", i/2), fmt.Sprintf("leaf-%d", i)
		if i%2 == 0 {
			if _, err := r.time(mlrun("group", "create", "--parent", "grow", "--label", mid, "--memory", "1G")...); err != nil {
				return table{}, err
			}
		}
		if _, err := r.time(mlrun("group", "create", "--parent", mid, "--label", leaf)...); err != nil {
			return table{}, err
		}
	}
	for range r.runs {
		sum, err := r.growTogether(mlrun)
		if err != nil {
			return table{}, err
		}
		over.add(float64(sum-limited) / mib)
	}
	return summary(fmt.Sprintf("Over the limit, %d runs:", r.runs), "MiB", nil, over), nil
}

func (r *rig) growTogether(mlrun func(...string) []string) (sum int64, err error) {
	var notes []*note.Note
	var all []*child
	for i := range groupGrowers {
		file := r.path(fmt.Sprintf("note-%d", i))
		n, err := note.Create(file)
		if err != nil {
			return 0, err
		}
		defer n.Close()
		c, err := r.spawn(mlrun("group", "exec", "--quiet", "--grace", "0", fmt.Sprintf("leaf-%d", i%groupLeaves), "--", r.touch, "-note", file,
			"-size", strconv.Itoa(2*gib), "-phase", "100ms")...)
		if err != nil {
			return 0, err
		}
		notes, all = append(notes, n), append(all, c)
	}
	for _, c := range all {
		if _, err := c.wait(); err != nil {
			return 0, err
		}
	}
	for _, n := range notes {
		sum += n.Bytes.Load()
	}
	return sum, nil
}
