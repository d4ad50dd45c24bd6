package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mlrun/bench/workload/note"
)

// limited is the limit of the measurements that exceed one.
const limited = 512 << 20

var overshootMeasurement = measurement{
	name: "overshoot", title: "How far a limit is exceeded",
	text: `Under a limit of 512 MiB, from a random moment on, memory is touched. "At breach" is what mlrun
measured with everything stopped (` + "`memory.atBreach`" + ` of the verdict) less the limit; "largest" is what the kernel
counted for the process (` + "`ru_maxrss`" + `), or with many processes what they had touched together at the end, less the limit. The delay is
` + "`memory.detectionDelayUs`" + `: from the last sample under the limit to the breach. A process that got everything it wanted before it was
stopped was not stopped.`,
	run: (*rig).overshoot,
}

// growth is a way to exceed the limit.
type growth struct {
	name    string
	program func(*rig) string
	flags   []string
	need    int64 // bytes that it may take in the worst case
	fewer   int   // runs are divided by it: this one is slow
	many    bool  // more than one process
	os      string
}

func (r *rig) toucher() string { return r.touch }
func (r *rig) crowder() string { return r.crowd }

const (
	gib   = 1 << 30
	fast  = 1_000_000_000 // bytes a second
	slow  = 200_000_000
	linux = "linux"
)

// growths lists them: page by page with each size of pages, then what only the kernel paces, then many processes.
func growths() []growth {
	var list []growth
	pages := map[bool]string{false: "4 KiB pages", true: "transparent huge pages"}
	for _, huge := range []bool{false, true} {
		flag := "-huge=" + strconv.FormatBool(huge)
		for _, g := range []growth{
			{name: "200 MB/s", flags: []string{"-rate", strconv.Itoa(slow)}, fewer: 4},
			{name: "1 GB/s", flags: []string{"-rate", strconv.Itoa(fast)}, fewer: 2},
			{name: "As fast as one thread can"},
			{name: "4 GiB in one mmap(2) with MAP_POPULATE", flags: []string{"-how", "populate", "-size", "4294967296"}, fewer: 2, os: linux},
		} {
			if huge {
				g.name = strings.Replace(g.name, "mmap(2) with MAP_POPULATE", "madvise(2) with MADV_POPULATE_WRITE", 1)
			}
			g.name += ", " + pages[huge]
			g.program, g.need, g.flags = (*rig).toucher, 4*gib, append(g.flags, flag)
			if !huge || hugePages() {
				list = append(list, g)
			}
		}
	}
	return append(list,
		growth{name: "4 GiB by read(2) from /dev/zero, which a signal interrupts", program: (*rig).toucher, need: 4 * gib, fewer: 2, os: linux,
			flags: []string{"-how", "zero", "-size", "4294967296"}},
		growth{name: "4 GiB by read(2) of 2 GiB each from a sparse file, which nothing interrupts", program: (*rig).toucher, need: 4 * gib, fewer: 2, os: linux,
			flags: []string{"-how", "file", "-size", "4294967296"}},
		growth{name: "A fork storm: processes of 4 MiB each, as fast as one process can fork", program: (*rig).crowder, need: 4 * gib, many: true, os: linux,
			flags: []string{"-procs", "1000", "-each", "4194304", "-phase", "200ms"}},
		growth{name: "50 processes that share 480 MiB, until one grows", program: (*rig).crowder, need: 3 * gib, fewer: 2, os: linux,
			flags: []string{"-procs", "50", "-share", "503316480", "-grow", "2147483648", "-phase", "200ms"}})
}

// hugePages tells whether a process can get transparent huge pages.
func hugePages() bool {
	b, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	return err == nil && !strings.Contains(string(b), "[never]")
}

// grown is what one limiter let a workload grow to.
type grown struct {
	limiter                      *limiter
	breach, largest, rate, delay series
	runs                         int
	outrun                       int // runs in which the workload got all that it wanted
}

func (r *rig) overshoot() ([]table, error) {
	var tables []table
	for _, g := range growths() {
		if g.os != "" && g.os != runtime.GOOS || !strings.Contains(g.name, r.growth) {
			continue
		}
		if have := available(); runtime.GOOS == linux && have < g.need*5/4 {
			r.tools.missing = append(r.tools.missing, fmt.Sprintf("%s (%d MiB of memory are available)", g.name, have>>20))
			continue
		}
		r.progress(g.name)
		t, err := r.overshootOf(g)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.name, err)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

func (r *rig) overshootOf(g growth) (table, error) {
	var list []*grown
	for _, l := range r.limiters() {
		list = append(list, &grown{limiter: l, breach: series{label: l.name + ", at breach"}, largest: series{label: l.name + ", largest"}})
	}
	runs := (r.runs + max(g.fewer, 1) - 1) / max(g.fewer, 1)
	for range runs {
		for _, have := range list {
			if err := r.grow(have, g); err != nil {
				return table{}, err
			}
		}
	}
	return overshootTable(fmt.Sprintf("%s, %s:", g.name, plural(runs, "run")), list), nil
}

// overshootTable has two rows for each limiter. The ratio is to the first row of the same kind that is over the limit.
func overshootTable(caption string, list []*grown) table {
	t := table{caption: caption, head: []string{"", "median, MiB", "min", "max", "ratio", "GiB/s", "delay, ms", "stopped"}}
	for kind := range 2 {
		base := 0.0
		for _, g := range list {
			s := []*series{&g.breach, &g.largest}[kind]
			if len(s.values) == 0 {
				continue
			}
			if base <= 0 {
				base = median(s.values)
			}
			delay := "-"
			if len(g.delay.values) > 0 {
				delay = number(median(g.delay.values))
			}
			t.rows = append(t.rows, append(s.row(), ratio(median(s.values), base), number(median(g.rate.values)), delay,
				fmt.Sprintf("%d of %d", g.runs-g.outrun, g.runs)))
		}
	}
	return t
}

// grow exceeds the limit once.
func (r *rig) grow(have *grown, g growth) error {
	n, file, err := r.note()
	if err != nil {
		return err
	}
	defer n.Close()
	e, err := r.run(have.limiter.command(limited, append([]string{g.program(r), "-note", file}, g.flags...)...)...)
	if err != nil {
		return err
	}
	v, err := have.limiter.verdict()
	if err != nil {
		return err
	}
	have.runs++
	const everything = 3 // exit code of the workload
	switch code := e.state.ExitCode(); {
	case code == 137 && (v.Reason == "" || v.Reason == "memory-limit"):
	case code == everything:
		have.outrun++
	default:
		return fmt.Errorf("%s: %v with reason %q, although the limit was exceeded", have.limiter.name, e.state, v.Reason)
	}
	if v.Reason == "memory-limit" {
		have.breach.addBytes(v.Memory.AtBreach - limited)
		have.delay.addTime(v.delay())
	}
	if g.many {
		have.largest.addBytes(n.Bytes.Load() - limited)
	} else {
		have.largest.addBytes(maxRSS(e.state) - limited)
	}
	if v := rate(n); v > 0 {
		have.rate.add(v)
	}
	return nil
}

// rate is how fast a workload got memory, in GiB/s; 0 when it says nothing.
func rate(n *note.Note) float64 {
	took := time.Duration(n.Last.Load() - n.Start.Load())
	if took <= 0 || n.Start.Load() == 0 {
		return 0
	}
	return float64(n.Bytes.Load()) / gib / took.Seconds()
}

// maxRSS is the largest resident set of a child or of what it waited for. getrusage(2) counts it in KiB, but in bytes on macOS.
func maxRSS(st *os.ProcessState) int64 {
	n := int64(st.SysUsage().(*syscall.Rusage).Maxrss)
	if runtime.GOOS == "darwin" {
		return n
	}
	return n << 10
}
