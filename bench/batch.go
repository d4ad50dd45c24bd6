package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// What a batch of the proof consists of.
const (
	batchJobs   = 500
	batchBudget = 512 * mib // of all jobs together
	batchLeast  = 4 * mib   // what a job touches,
	batchMost   = 160 * mib // at most
	batchKills  = 3         // kill -9 of each batch, before it is let end
	batchExcess = 5         // percent of the budget by which the jobs together may exceed it
)

var batchMeasurement = measurement{
	name: "batch", title: "Batches within a budget", proof: true,
	text: fmt.Sprintf(`%d jobs that touch from %d to %d MiB and last up to 0.2 s, under a budget of %d MiB. A third of them have a limit that is too small, and are tried
again with a larger one. The sum of the proportional set sizes of all jobs, read again and again; a batch that is killed with SIGKILL %d times and
goes on with --resume: its survivors, and the jobs that do not have exactly one final verdict that counts.`, batchJobs, batchLeast>>20, batchMost>>20, batchBudget>>20, batchKills),
	run: (*rig).batch,
}

func (r *rig) batch() ([]table, error) {
	if runtime.GOOS != linux {
		return nil, nil
	}
	rounds := max(1, r.runs/defaultRuns)
	sum, retried := &series{label: "greatest sum, % of the budget"}, &series{label: "attempts that exceeded their limit"}
	survivors, wrong := 0, 0
	var broken []error
	for range rounds {
		b := &budgeted{r: r, sum: sum, retried: retried, jobs: r.path(r.fresh("jobs")), log: r.path(r.fresh("verdicts"))}
		left, bad, err := b.run()
		if err != nil {
			return nil, err
		}
		survivors += left
		wrong += bad
	}
	if _, most := spread(sum.values); most > 100+batchExcess {
		broken = append(broken, fmt.Errorf("the jobs together had %s %% of the budget", number(most)))
	}
	if survivors+wrong > 0 {
		broken = append(broken, fmt.Errorf("%s, %s without exactly one final verdict", plural(survivors, "survivor"), plural(wrong, "job")))
	}
	t := summary(fmt.Sprintf("%s:", plural(rounds, "batch")), "", nil, sum, retried)
	t.head[1] = "median"
	for _, n := range []struct {
		label string
		n     int
	}{{"survivors 200 ms after kill -9", survivors}, {"jobs without exactly one final verdict", wrong}} {
		t.rows = append(t.rows, []string{n.label, fmt.Sprint(n.n), "", ""})
	}
	return []table{t}, errors.Join(broken...)
}

// budgeted is one batch.
type budgeted struct {
	r            *rig
	sum, retried *series
	jobs, log    string
}

func (b *budgeted) run() (survivors, wrong int, err error) {
	if err := b.write(); err != nil {
		return 0, 0, err
	}
	tag := b.r.mark()
	defer b.r.sweep(tag)
	var stop atomic.Bool
	peak := make(chan int64)
	go func() {
		most := int64(0)
		for ; !stop.Load(); time.Sleep(5 * time.Millisecond) {
			most = max(most, sumOf(payload(members(tag))))
		}
		peak <- most
	}()
	for i := range batchKills + 1 {
		n, e := b.attempt(tag, i < batchKills)
		survivors += n
		if err = e; err != nil {
			break
		}
	}
	stop.Store(true)
	b.sum.add(float64(<-peak) / batchBudget * 100)
	if err != nil {
		return survivors, 0, err
	}
	wrong, err = b.check()
	return survivors, wrong, err
}

// write writes the list of the jobs.
func (b *budgeted) write() error {
	type object = map[string]any
	var list bytes.Buffer
	out := json.NewEncoder(&list)
	for i := range batchJobs {
		size := batchLeast + rand.Int64N(batchMost-batchLeast)
		job := object{"id": fmt.Sprintf("job-%d", i), "memory": size + size/8 + 8*mib,
			"args": []string{b.r.hold, "-size", bytesFlag(size), "-for", fmt.Sprintf("%dms", 1+rand.IntN(200))}}
		if i%3 == 0 {
			job["memory"], job["retries"] = size/2+4*mib, 4
		}
		if err := out.Encode(job); err != nil {
			return err
		}
	}
	return os.WriteFile(b.jobs, list.Bytes(), 0o600)
}

// attempt goes on with the batch, to its end or until it is killed.
func (b *budgeted) attempt(tag string, kill bool) (survivors int, err error) {
	log, err := os.OpenFile(b.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd := exec.CommandContext(b.r.ctx, b.r.mlrun, "batch", "--root", b.r.root(), "--jobs", "8", "--memory", bytesFlag(batchBudget), "--resume", b.log, b.jobs)
	cmd.Env = append(os.Environ(), tagName+"="+tag)
	cmd.Stdout = log
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	if !kill {
		if err := cmd.Wait(); err != nil {
			return 0, fmt.Errorf("mlrun batch: %w: %s", err, said.String())
		}
		return 0, nil
	}
	time.Sleep(500*time.Millisecond + rand.N(2*time.Second))
	_ = cmd.Process.Kill()
	death := time.Now()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }() // which ends when nobody has its standard error any more
	for time.Since(death) < settled {
		time.Sleep(time.Millisecond)
	}
	survivors = len(payload(members(tag)))
	<-done
	return survivors, nil
}

// check counts the jobs that do not have exactly one final verdict that counts.
func (b *budgeted) check() (wrong int, err error) {
	text, err := os.ReadFile(b.log)
	if err != nil {
		return 0, err
	}
	finals, over := map[string]int{}, 0
	for line := range bytes.Lines(text) {
		var v struct {
			Job, Reason string
			Final       bool
		}
		if json.Unmarshal(line, &v) != nil {
			continue // it was cut off by a kill
		}
		if v.Reason == "memory-limit" {
			over++
		}
		if v.Final && v.Reason == "exited" {
			finals[v.Job]++
		}
	}
	b.retried.add(float64(over))
	for i := range batchJobs {
		if finals[fmt.Sprintf("job-%d", i)] != 1 {
			wrong++
		}
	}
	return wrong, nil
}

// sumOf is the proportional set size of processes together, in bytes.
func sumOf(list []member) (sum int64) {
	for _, m := range list {
		if n, err := pss(m.pid); err == nil {
			sum += n
		}
	}
	return sum
}
