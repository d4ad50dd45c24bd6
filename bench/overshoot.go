package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"mlrun/bench/workload/note"
)

// limited is the limit of the measurements that exceed one.
const limited = 512 << 20

var overshootMeasurement = measurement{
	name: "overshoot", title: "How far a limit is exceeded",
	text: `A process touches memory as fast as one thread can, under a limit of 512 MiB, from a random moment on. "At breach" is what mlrun
measured with everything stopped (` + "`memory.atBreach`" + ` of the verdict) less the limit; "largest" is what the kernel
counted for the process (` + "`ru_maxrss`" + `) less the limit.`,
	run: (*rig).overshoot,
}

// grown is what one limiter let a process grow to with one size of pages.
type grown struct {
	limiter                 *limiter
	breach, largest, growth series
}

func (r *rig) overshoot() ([]table, error) {
	var tables []table
	small, err := r.overshootOf("4 KiB pages (MADV_NOHUGEPAGE)")
	if err != nil {
		return nil, err
	}
	tables = append(tables, small)
	if !hugePages() {
		return tables, nil
	}
	huge, err := r.overshootOf("Transparent huge pages (MADV_HUGEPAGE)", "-huge")
	return append(tables, huge), err
}

// hugePages tells whether a process can get transparent huge pages.
func hugePages() bool {
	b, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	return err == nil && !strings.Contains(string(b), "[never]")
}

func (r *rig) overshootOf(pages string, flags ...string) (table, error) {
	var list []*grown
	for _, l := range r.limiters() {
		list = append(list, &grown{limiter: l, breach: series{label: l.name + ", at breach"}, largest: series{label: l.name + ", largest"}})
	}
	for range r.runs {
		for _, g := range list {
			if err := r.grow(g, flags); err != nil {
				return table{}, fmt.Errorf("%s: %w", pages, err)
			}
		}
	}
	t := table{head: []string{"", "median, MiB", "min", "max", "touched, GiB/s"}}
	t.caption = fmt.Sprintf("%s, %d runs:", pages, r.runs)
	for _, g := range list {
		for _, s := range []*series{&g.breach, &g.largest} {
			if len(s.values) > 0 {
				t.rows = append(t.rows, append(s.row(), number(median(g.growth.values))))
			}
		}
	}
	return t, nil
}

// grow exceeds the limit once.
func (r *rig) grow(g *grown, flags []string) error {
	n, file, err := r.note()
	if err != nil {
		return err
	}
	defer n.Close()
	e, err := r.run(g.limiter.command(limited, append([]string{r.touch, "-note", file}, flags...)...)...)
	if err != nil {
		return err
	}
	v, err := g.limiter.verdict()
	if err != nil {
		return err
	}
	if e.state.ExitCode() != 137 || v.Reason != "" && v.Reason != "memory-limit" {
		return fmt.Errorf("%s: %v with reason %q, although the limit was exceeded", g.limiter.name, e.state, v.Reason)
	}
	if v.Reason != "" {
		g.breach.addBytes(v.Memory.AtBreach - limited)
	}
	g.largest.addBytes(maxRSS(e.state) - limited)
	g.growth.add(rate(n))
	return nil
}

// rate is how fast a workload touched memory, in GiB/s.
func rate(n *note.Note) float64 {
	took := time.Duration(n.Last.Load() - n.Start.Load())
	return float64(n.Bytes.Load()) / (1 << 30) / took.Seconds()
}

// maxRSS is the largest resident set of a child or of what it waited for. getrusage(2) counts it in KiB, but in bytes on macOS.
func maxRSS(st *os.ProcessState) int64 {
	n := int64(st.SysUsage().(*syscall.Rusage).Maxrss)
	if runtime.GOOS == "darwin" {
		return n
	}
	return n << 10
}
