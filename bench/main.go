// Command bench measures what mlrun costs and how close it holds a limit, side by side with other tools, and writes
// docs/benchmarks.md.
//
//	go run ./bench                    every measurement, in about ten minutes
//	go run ./bench -only launch       one measurement, to standard output
//	go run ./bench -only escapes      one proof (escapes, survivors, falsekills, batch), which fails when a single run of it does
//	MEMLIMIT=path go run ./bench      beside another limiter with the command line LIMIT -- COMMAND [ARGS]
//
// It builds mlrun and the workloads itself, keeps everything in a directory of its own, and leaves no container behind. It knows
// mlrun by its command line, its state and its verdict only, as a user does.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	defaultRuns = 20
	defaultOut  = "docs/benchmarks.md"
)

// measurement is one section of the report.
type measurement struct {
	name, title, text string
	run               func(*rig) ([]table, error)
	proof             bool // not a cost but a promise: measured on request only, and an error when it is broken
}

var measurements = []measurement{overshootMeasurement, returnMeasurement, launchMeasurement, stateMeasurement, listMeasurement, residentMeasurement,
	monitorMeasurement, quotaMeasurement, gateMeasurement, admissionMeasurement, groupMeasurement,
	escapesMeasurement, survivorsMeasurement, falsekillsMeasurement, batchMeasurement}

func main() {
	runs := flag.Int("runs", defaultRuns, "`N` rounds; quick measurements take ten times as many, slow ones fewer")
	out := flag.String("out", "", "write to `FILE`, - for standard output (default "+defaultOut+", with -only -)")
	only := flag.String("only", "", "measure `NAME` only: "+names())
	watch := flag.Duration("watch", 30*time.Second, "`TIME` that the CPU time of the monitor is measured for")
	growth := flag.String("growth", "", "of overshoot, only those whose name has `TEXT` in it")
	members := flag.Int("members", 50, "of group, `N` runs that are in groups beside those that are measured; 1000 take 10 GiB")
	flag.Parse()
	if flag.NArg() > 0 || *runs < 1 || *watch <= 0 || *members < 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := bench(*runs, *members, *watch, *only, *growth, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func names() string {
	var list []string
	for _, m := range measurements {
		list = append(list, m.name)
	}
	return strings.Join(list, ", ")
}

func bench(runs, members int, watch time.Duration, only, growth, out string) error {
	todo, err := choose(only)
	if err != nil {
		return err
	}
	if out == "" {
		if out = defaultOut; only != "" || growth != "" {
			out = "-"
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := newRig(ctx, runs, watch)
	if err != nil {
		return err
	}
	defer r.close()
	r.growth, r.members = growth, members
	var head, body bytes.Buffer
	for _, m := range todo {
		r.progress(m.name)
		tables, err := m.run(r)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.problems = append(r.problems, fmt.Errorf("%s: %w", m.name, err))
		}
		if len(tables) == 0 {
			continue
		}
		r.printMeasurement(&body, m, tables)
	}
	r.printHead(&head)
	head.Write(bytes.TrimRight(body.Bytes(), "\n"))
	return errors.Join(append(r.problems, write(out, head.Bytes()))...)
}

func choose(only string) ([]measurement, error) {
	if only == "" {
		return slices.DeleteFunc(slices.Clone(measurements), func(m measurement) bool { return m.proof }), nil
	}
	for _, m := range measurements {
		if m.name == only {
			return []measurement{m}, nil
		}
	}
	return nil, fmt.Errorf("-only %q: want one of %s", only, names())
}

// progress says on standard error what is being measured.
func (r *rig) progress(what string) {
	fmt.Fprintf(os.Stderr, "bench: %s %s\n", time.Now().Format(time.TimeOnly), what)
}

func write(path string, b []byte) error {
	b = append(b, '\n')
	if path == "-" {
		_, err := os.Stdout.Write(b)
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
