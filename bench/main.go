// Command bench measures what mlrun costs and how close it holds a limit, side by side with other tools, and writes
// docs/benchmarks.md.
//
//	go run ./bench                    everything, in less than five minutes
//	go run ./bench -only launch       one measurement, to standard output
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
	"strings"
	"syscall"
)

const (
	defaultRuns = 20
	defaultOut  = "docs/benchmarks.md"
)

// measurement is one section of the report.
type measurement struct {
	name, title, text string
	run               func(*rig) ([]table, error)
}

var measurements = []measurement{overshootMeasurement, returnMeasurement, launchMeasurement, stateMeasurement, residentMeasurement, monitorMeasurement}

func main() {
	runs := flag.Int("runs", defaultRuns, "`N` rounds; quick measurements take ten times as many, slow ones fewer")
	out := flag.String("out", "", "write to `FILE`, - for standard output (default "+defaultOut+", with -only -)")
	only := flag.String("only", "", "measure `NAME` only: "+names())
	flag.Parse()
	if flag.NArg() > 0 || *runs < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := bench(*runs, *only, *out); err != nil {
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

func bench(runs int, only, out string) error {
	todo, err := choose(only)
	if err != nil {
		return err
	}
	if out == "" {
		if out = defaultOut; only != "" {
			out = "-"
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := newRig(ctx, runs)
	if err != nil {
		return err
	}
	defer r.close()
	var head, body bytes.Buffer
	for _, m := range todo {
		fmt.Fprintf(os.Stderr, "bench: %s\n", m.name)
		tables, err := m.run(r)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.problems = append(r.problems, fmt.Errorf("%s: %w", m.name, err))
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
		return measurements, nil
	}
	for _, m := range measurements {
		if m.name == only {
			return []measurement{m}, nil
		}
	}
	return nil, fmt.Errorf("-only %q: want one of %s", only, names())
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
