package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"
)

// table is a result.
type table struct {
	caption string
	head    []string
	rows    [][]string
}

// summary is the usual table: a row for each series. With base, the last column compares the medians with base's.
func summary(caption, unit string, base *series, list ...*series) table {
	t := table{caption: caption, head: []string{"", "median, " + unit, "min", "max"}}
	if base != nil {
		t.head = append(t.head, "median / "+base.label)
	}
	for _, s := range list {
		if len(s.values) == 0 {
			continue
		}
		row := s.row()
		if base != nil {
			row = append(row, ratio(median(s.values), median(base.values)))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// row is the label, the median, the least and the greatest value.
func (s *series) row() []string {
	least, greatest := spread(s.values)
	return []string{s.label, number(median(s.values)), number(least), number(greatest)}
}

func (t table) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n", t.caption)
	line := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.head)
	rule := make([]string, len(t.head))
	for i := range rule {
		rule[i] = "---:"
	}
	rule[0] = "---"
	line(rule)
	for _, r := range t.rows {
		line(r)
	}
	fmt.Fprintln(w)
}

// printHead says where and how the numbers came to be.
func (r *rig) printHead(w io.Writer) {
	fmt.Fprintf(w, `# Benchmarks

Written by `+"`%s`"+`. Measured on %d cores, %s/%s, kernel %s, %s. The tools take turns,
each once in every round. A figure is the median of the runs with the least and the greatest beside it; what a
machine is slow at makes the absolute times long, so compare the ratios.

`, r.command(""), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, kernel(), runtime.Version())
	fmt.Fprintf(w, "Measured beside mlrun: %s.\n\n", either(r.tools.found(), "nothing"))
	if absent := r.tools.absent(); len(absent) > 0 {
		fmt.Fprintf(w, "Left out: %s.\n\n", strings.Join(absent, "; "))
	}
}

func either(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, ", ")
}

// printMeasurement writes the tables of one measurement below the command that prints them.
func (r *rig) printMeasurement(w io.Writer, m measurement, tables []table) {
	fmt.Fprintf(w, "## %s\n\n    %s\n\n%s\n\n", m.title, r.command(m.name), m.text)
	for _, t := range tables {
		t.print(w)
	}
}

// command is the command line that measures the same again.
func (r *rig) command(only string) string {
	c := "go run ./bench"
	if r.runs != defaultRuns {
		c += fmt.Sprintf(" -runs %d", r.runs)
	}
	if only != "" {
		c += " -only " + only
	}
	return c
}
