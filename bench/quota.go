package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

// quotaTime is how long a quota is watched for.
const quotaTime = 10 * time.Second

// quotas are in processors.
var quotas = []float64{0.25, 0.5, 1.5}

var quotaMeasurement = measurement{
	name: "quota", title: "Quota of CPU time",
	text: `Two processes that use the CPU without pause, under mlrun limit --cpus and a limit of 1 GiB of memory, from a second after their start on: the CPU time that
they have used, by their clocks, and that of mlrun and its reaper, as shares of one core.`,
	run: (*rig).quota,
}

func (r *rig) quota() ([]table, error) {
	if runtime.GOOS != linux {
		return nil, nil
	}
	rounds := max(1, min(3, r.runs/4))
	t := table{caption: fmt.Sprintf("%v, %s:", quotaTime, plural(rounds, "run")), head: []string{"quota", "used, median", "min", "max", "mlrun, median", "min", "max"}}
	for _, q := range quotas {
		var used, own series
		for range rounds {
			if err := r.watchQuota(q, &used, &own); err != nil {
				return nil, fmt.Errorf("quota of %g: %w", q, err)
			}
		}
		row := []string{fmt.Sprintf("%g %%", 100*q)}
		for _, s := range []*series{&used, &own} {
			least, most := spread(s.values)
			for _, v := range []float64{median(s.values), least, most} {
				row = append(row, number(v)+" %")
			}
		}
		t.rows = append(t.rows, row)
	}
	return []table{t}, nil
}

// watchQuota adds what two busy processes have used in quotaTime, and mlrun beside them, in percent.
func (r *rig) watchQuota(quota float64, used, own *series) (err error) {
	n, file, err := r.note()
	if err != nil {
		return err
	}
	defer n.Close()
	busy := []string{r.hold, "-note", file, "-then", "burn"}
	args := append([]string{r.mlrun, "limit", "--quiet", "--cpus", strconv.FormatFloat(quota, 'g', -1, 64), "1G", "--",
		"/bin/sh", "-c", `"$@" & exec "$@"`, "sh"}, busy...)
	c, err := r.spawn(args...)
	if err != nil {
		return err
	}
	defer func() {
		if _, e := c.end(); err == nil {
			err = e
		}
	}()
	list, err := r.both(c.proc.Pid)
	if err != nil {
		return err
	}
	of, by, err := spent(list, c.proc.Pid)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := r.sleep(quotaTime); err != nil {
		return err
	}
	ofNow, byNow, err := spent(list, c.proc.Pid)
	if err != nil {
		return err
	}
	took := time.Since(start)
	used.add(100 * float64(ofNow-of) / float64(took))
	own.add(100 * float64(byNow-by) / float64(took))
	return nil
}

// both are the two processes below mlrun, a second after they have begun.
func (r *rig) both(mlrun int) (list []int, err error) {
	for end := time.Now().Add(patience); len(list) < 2; time.Sleep(10 * time.Millisecond) {
		if list = running(mlrun, r.hold); time.Now().After(end) {
			return nil, fmt.Errorf("%d of 2 processes run", len(list))
		}
	}
	return list, r.sleep(time.Second)
}

// spent is the CPU time of processes, and of the mlrun above them.
func spent(list []int, mlrun int) (of, by time.Duration, err error) {
	for _, pid := range list {
		t, err := cpuTime(pid)
		if err != nil {
			return 0, 0, err
		}
		of += t
	}
	by, err = limiterTime(mlrun)
	return of, by, err
}

// running are the descendants of a process that run a program.
func running(pid int, program string) (list []int) {
	for _, c := range children(pid) {
		if p, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c)); err == nil && p == program {
			list = append(list, c)
		}
		list = append(list, running(c, program)...)
	}
	return list
}

// sleep waits, unless the benchmark is interrupted.
func (r *rig) sleep(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}
