package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// waiters is how many programs wait for memory at once.
const waiters = 200

var admissionMeasurement = measurement{
	name: "admission", title: "Waiting for memory",
	text: fmt.Sprintf(`%d programs wait, each below an mlrun admit of its own, on a machine that seems to have no memory left: the CPU time that all of them use, by
their clocks, as milliseconds and as a share of one core for each. Then there seems to be memory for one at a time: from that to the end of the last
one, and whether they came in the order in which they had begun to wait. Below, kill -9 of one that holds what all others wait for: until the next one has begun.`, waiters),
	run: (*rig).admission,
}

// shortage is a machine for mlrun admit that has as much memory as is said.
type shortage struct{ dir string }

const admitted = 100 << 20 // bytes that each reserves

func (s *shortage) available(bytes int64) error {
	next := filepath.Join(s.dir, "next")
	text := fmt.Sprintf("MemTotal: %d kB\nMemFree: 0 kB\nMemAvailable: %d kB\n", 16*gib>>10, bytes>>10)
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(s.dir, "meminfo"))
}

func (r *rig) admission() ([]table, error) {
	if runtime.GOOS != linux {
		return nil, nil
	}
	s := &shortage{dir: r.path(r.fresh("host"))}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, err
	}
	const variable = "MLRUN_TEST_MEMINFO"
	if err := os.Setenv(variable, s.dir); err != nil {
		return nil, err
	}
	defer os.Unsetenv(variable)
	cpu, released := &series{label: "CPU time of all, ms"}, &series{label: "from memory to the end of the last one, ms"}
	killed := &series{label: "from kill -9 of a holder to the next one, ms"}
	rounds := max(1, r.runs/defaultRuns)
	for range rounds {
		if err := r.waitForMemory(s, cpu, released); err != nil {
			return nil, err
		}
	}
	for range r.runs {
		if err := r.killHolder(s, killed); err != nil {
			return nil, err
		}
	}
	t := summary(fmt.Sprintf("%d waiting for %v, %s; %s of a holder that is killed:", waiters, r.watch, plural(rounds, "run"), plural(r.runs, "run")), "", nil, cpu, released, killed)
	t.head[1] = "median"
	t.rows = append(t.rows, []string{"of a core, for each, %"}, []string{"of a core, all, %"})
	for i, part := range []float64{waiters, 1} {
		row := &t.rows[len(t.rows)-2+i]
		least, most := spread(cpu.values)
		for _, v := range []float64{median(cpu.values), least, most} {
			*row = append(*row, strconv.FormatFloat(v/float64(r.watch.Milliseconds())*100/part, 'f', 4, 64))
		}
	}
	return []table{t}, nil
}

// waitForMemory adds what all use while they wait, and how long it takes until they have gone one after the other.
func (r *rig) waitForMemory(s *shortage, cpu, released *series) (err error) {
	if err := s.available(gib); err != nil {
		return err
	}
	order, root := r.path(r.fresh("order")), r.path(r.fresh("line"))
	var list []*child
	defer func() {
		for _, c := range list {
			if _, e := c.end(); err == nil {
				err = e
			}
		}
	}()
	for i := range waiters {
		c, err := r.spawnFor(patience+r.watch, r.mlrun, "admit", "--root", root, "--reserve", bytesFlag(admitted), "2G", "--",
			"/bin/sh", "-c", `echo "$1" >>"$2"`, "sh", strconv.Itoa(i), order)
		if err != nil {
			return err
		}
		list = append(list, c)
		if err := r.inLine(root, i+1); err != nil { // so that the order is known
			return err
		}
	}
	if err := r.sleep(2 * time.Second); err != nil { // until all have looked whether the first is there
		return err
	}
	before, err := timeOf(list)
	if err != nil {
		return err
	}
	if err := r.sleep(r.watch); err != nil {
		return err
	}
	after, err := timeOf(list)
	if err != nil {
		return err
	}
	cpu.addTime(after - before)
	start := time.Now()
	if err := s.available(2*gib + admitted*3/2); err != nil {
		return err
	}
	for len(list) > 0 {
		e, err := list[0].wait()
		if err == nil && !e.state.Success() {
			err = fmt.Errorf("mlrun admit: %v", e.state)
		}
		list = list[1:]
		if err != nil {
			return err
		}
	}
	released.addTime(time.Since(start))
	b, err := os.ReadFile(order)
	if err != nil {
		return err
	}
	came := strings.Fields(string(b))
	if len(came) != waiters || !slices.IsSortedFunc(came, func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return x - y
	}) {
		return fmt.Errorf("%d of %d were released, not in their order: %s", len(came), waiters, strings.Join(came, " "))
	}
	return nil
}

// killHolder adds how long the reservation of who is killed stays.
func (r *rig) killHolder(s *shortage, killed *series) error {
	if err := s.available(2*gib + admitted*3/2); err != nil {
		return err
	}
	held, next, root := r.path(r.fresh("held")), r.path(r.fresh("next")), r.path(r.fresh("line"))
	reserve := []string{r.mlrun, "admit", "--root", root, "--reserve", bytesFlag(admitted), "2G", "--", "/bin/sh", "-c"}
	holder, err := r.spawn(append(slices.Clone(reserve), `: >"$1"; exec sleep 1000`, "sh", held)...)
	if err != nil {
		return err
	}
	exists := func(path string) func() int64 {
		return func() int64 {
			if _, err := os.Stat(path); err != nil {
				return 0
			}
			return 1
		}
	}
	if _, err = r.await(exists(held)); err != nil {
		err = fmt.Errorf("the holder: %w", err)
	}
	var waiter *child
	if err == nil {
		waiter, err = r.spawn(append(slices.Clone(reserve), `: >"$1"`, "sh", next)...)
	}
	if err == nil {
		err = r.inLine(root, 1)
	}
	start := time.Now()
	_ = holder.proc.Kill()
	_, _ = holder.wait()
	if waiter == nil {
		return err
	}
	if err == nil {
		_, err = r.await(exists(next))
	}
	killed.addTime(time.Since(start))
	_, e := waiter.end()
	if err == nil {
		err = e
	}
	return err
}

// inLine waits until n have come to wait in the line of a state directory: each has a pipe there, by which it is woken.
func (r *rig) inLine(root string, n int) error {
	var there int
	_, err := r.await(func() int64 {
		bells, _ := filepath.Glob(filepath.Join(root, "@admission", "wake.*"))
		if there = len(bells); there >= n {
			return 1
		}
		return 0
	})
	if err != nil {
		return fmt.Errorf("%d of %d wait in the line: %w", there, n, err)
	}
	return nil
}

func timeOf(list []*child) (sum time.Duration, err error) {
	for _, c := range list {
		t, err := cpuTime(c.proc.Pid)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}
