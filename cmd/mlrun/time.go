package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"mlrun/runtime"
)

// usageTable writes what a run has used in the words of time(1) from GNU, as far as the kernel counts it.
func usageTable(v *runtime.Verdict, args []string) string {
	var b strings.Builder
	line := func(what, format string, a ...any) { fmt.Fprintf(&b, "\t%s: %s\n", what, fmt.Sprintf(format, a...)) }
	line("Command being timed", "%q", strings.Join(args, " "))
	start := v.Created
	if v.Started != nil {
		start = *v.Started
	}
	wall := v.Ended.Sub(start)
	if r := v.Rusage; r != nil {
		cpu := time.Duration(r.UTimeUS+r.STimeUS) * time.Microsecond
		line("User time (seconds)", "%.2f", float64(r.UTimeUS)/1e6)
		line("System time (seconds)", "%.2f", float64(r.STimeUS)/1e6)
		if r.UnwaitedUS > 0 {
			line("CPU time of these that nobody waited for (seconds)", "%.2f", float64(r.UnwaitedUS)/1e6)
		}
		if wall > 0 {
			line("Percent of CPU this job got", "%d%%", 100*cpu/wall)
		}
	}
	line("Elapsed (wall clock) time (h:mm:ss or m:ss)", "%s", clock(wall))
	if v.Memory.PeakSource != "none" {
		line("Peak memory of all processes (kbytes)", "%d", v.Memory.Peak>>10)
	}
	if r := v.Rusage; r != nil {
		line("Maximum resident set size (kbytes)", "%d", r.MaxRSS>>10)
		line("Major (requiring I/O) page faults", "%d", r.MajFlt)
		line("Minor (reclaiming a frame) page faults", "%d", r.MinFlt)
		line("Voluntary context switches", "%d", r.NVCSw)
		line("Involuntary context switches", "%d", r.NIvCSw)
		line("File system inputs", "%d", r.InBlock)
		line("File system outputs", "%d", r.OuBlock)
		line("Not counted by the kernel", "%s", strings.Join(r.Unmaintained, ", "))
	}
	line("Page size (bytes)", "%d", os.Getpagesize())
	line("Exit status", "%d", v.ExitCode)
	return b.String()
}

// clock writes a time as h:mm:ss, or m:ss.cc when it is less than an hour.
func clock(d time.Duration) string {
	if h := int(d.Hours()); h > 0 {
		return fmt.Sprintf("%d:%02d:%02d", h, int(d.Minutes())%60, int(d.Seconds())%60)
	}
	cs := d.Milliseconds() / 10
	return fmt.Sprintf("%d:%02d.%02d", cs/6000, cs/100%60, cs%100)
}
