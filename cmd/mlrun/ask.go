package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"mlrun/bundle"
	"mlrun/runtime"
)

func (a *app) pauseCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "pause ID",
		Short: "stop every process of a container",
		Long: `pause stops every process of a running container (SIGSTOP), also those that are forked meanwhile. mlrun kill ID KILL and mlrun
delete --force end it all the same; other signals are seen by its processes when mlrun resume continues them.

EXIT STATUS
  0 when all have stopped, 2 for a wrong command line, else 1`,
		Args: exactArgs(1, "the id"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.with(func(rt *runtime.Runtime) error { return rt.Pause(args[0]) })
		},
	}
}

func (a *app) resumeCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "resume ID",
		Short: "continue a container that mlrun pause has stopped",
		Long:  "resume continues every process of a paused container.\n\nEXIT STATUS\n  0 when it goes on, 2 for a wrong command line, else 1",
		Args:  exactArgs(1, "the id"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.with(func(rt *runtime.Runtime) error { return rt.Resume(args[0]) })
		},
	}
}

func (a *app) psCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "ps [flags] ID [PS OPTION ...]",
		Short: "list the processes of a container",
		Long: `ps prints what ps(1) says of the processes of a container, by default with the option -ef, or their ids as a JSON array.

EXIT STATUS
  0, 2 for a wrong command line, 1 when the container is not running or ps(1) does not work`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("ps: no id: want mlrun ps ID")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := oneOf("format", format, "table", "json"); err != nil {
				return err
			}
			return a.with(func(rt *runtime.Runtime) error {
				ids, err := rt.Processes(args[0])
				if err != nil {
					return err
				}
				pids := []int{}
				for _, id := range ids {
					pids = append(pids, id.PID)
				}
				slices.Sort(pids)
				if format == "json" {
					return json.NewEncoder(os.Stdout).Encode(pids)
				}
				return psTable(pids, args[1:])
			})
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVarP(&format, "format", "f", "table", "`FORMAT`: table or json")
	return cmd
}

// psTable prints the lines of ps(1) for pids, and its heading.
func psTable(pids []int, options []string) error {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	var errs bytes.Buffer
	c := exec.Command("ps", options...)
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		if text, _, _ := strings.Cut(strings.TrimSpace(errs.String()), "\n"); text != "" {
			err = errors.New(text)
		}
		return fmt.Errorf("ps %s: %w", strings.Join(options, " "), err)
	}
	lines := strings.SplitAfter(string(out), "\n")
	column := slices.Index(strings.Fields(lines[0]), "PID")
	if column < 0 {
		return fmt.Errorf("ps %s: no column PID in what it prints; want options with one", strings.Join(options, " "))
	}
	fmt.Print(lines[0])
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) <= column {
			continue
		}
		if pid, err := strconv.Atoi(f[column]); err == nil && slices.Contains(pids, pid) {
			fmt.Print(line)
		}
	}
	return nil
}

// event is a line of events, as other OCI runtimes print it.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`  // statistics: clients decode them whatever the type is
	More any    `json:"mlrun,omitempty"` // what is mlrun's own
}

// stats is the data of a "stats" event: the part of runc's that mlrun knows, with the names that it has there.
type stats struct {
	CPU    statsCPU    `json:"cpu"`
	Memory statsMemory `json:"memory"`
	Pids   statsPids   `json:"pids"`
	MLRun  *mlrunStats `json:"mlrun"`
}

type statsCPU struct {
	Usage struct {
		Total  uint64 `json:"total"` // nanoseconds
		Kernel uint64 `json:"kernel"`
		User   uint64 `json:"user"`
	} `json:"usage"`
	Throttling struct{} `json:"throttling"`
}

type statsMemory struct {
	Usage statsEntry `json:"usage"`
	Swap  statsEntry `json:"swap"`
}

type statsEntry struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage"`
	Max     uint64 `json:"max"`
	Failcnt uint64 `json:"failcnt"`
}

type statsPids struct {
	Current uint64 `json:"current"`
	Limit   uint64 `json:"limit"`
}

// mlrunStats is what mlrun adds.
type mlrunStats struct {
	Exact     bool            `json:"exact"` // false: memory.usage.usage is an upper bound
	Meter     string          `json:"meter"`
	Throttled bool            `json:"throttled"`
	Frozen    bool            `json:"frozen"`
	Rusage    *runtime.Rusage `json:"rusage,omitempty"`
	Processes []runtime.Peak  `json:"processes,omitempty"` // the largest ones
}

func newStats(u *runtime.Usage) *stats {
	s := &stats{MLRun: &mlrunStats{Exact: u.Exact, Meter: u.Meter, Throttled: u.Throttled, Frozen: u.Frozen, Rusage: u.Rusage, Processes: u.Peaks}}
	s.CPU.Usage.User, s.CPU.Usage.Kernel = uint64(u.User), uint64(u.System)
	s.CPU.Usage.Total = s.CPU.Usage.User + s.CPU.Usage.Kernel
	s.Memory.Usage = statsEntry{Limit: 1<<64 - 1, Usage: uint64(u.Current), Max: uint64(max(u.Peak, u.Current))}
	if u.MemoryLimit > 0 {
		s.Memory.Usage.Limit = uint64(u.MemoryLimit)
	}
	s.Memory.Swap = statsEntry{Limit: 1<<64 - 1, Usage: uint64(u.Swap)}
	s.Pids.Current = uint64(u.Processes)
	if u.PidsLimit > 0 {
		s.Pids.Limit = uint64(u.PidsLimit)
	}
	return s
}

func (a *app) eventsCmd() *cobra.Command {
	var (
		once  bool
		every string
	)
	cmd := &cobra.Command{
		Use:   "events [flags] ID",
		Short: "print what happens in a container, and what it uses",
		Long: `events prints a JSON object a line until the container has ended: "stats" at each interval, "oom" when the memory limit was exceeded, and
of mlrun's own "mlrun.warning" (80 or 95 percent of the limit) and "mlrun.ended", with the verdict. With --stats it prints the stats once. What getrusage(2) counts, of
all processes that are and were, is in data.mlrun.rusage, and the processes that have had most memory are in data.mlrun.processes.

EXIT STATUS
  0, 2 for a wrong command line, 1 when the container is not running`,
		Args: exactArgs(1, "the id"),
		RunE: func(_ *cobra.Command, args []string) error {
			interval, err := time.ParseDuration(every)
			if err != nil || interval < 10*time.Millisecond {
				return usagef("--interval %q: want 10ms or more, such as 5s", every)
			}
			return a.with(func(rt *runtime.Runtime) error {
				if once {
					return printStats(rt, args[0])
				}
				return follow(rt, args[0], interval)
			})
		},
	}
	cmd.Flags().BoolVar(&once, "stats", false, "print the stats once")
	cmd.Flags().StringVar(&every, "interval", "5s", "`TIME` between stats")
	return cmd
}

func printStats(rt *runtime.Runtime, id string) error {
	u, err := rt.Usage(id)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(event{Type: "stats", ID: id, Data: newStats(u)})
}

// follow prints events until the end.
func follow(rt *runtime.Runtime, id string, interval time.Duration) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	happened, ended := make(chan runtime.Occurrence), make(chan error, 1)
	go func() {
		ended <- rt.Watch(ctx, id, func(o runtime.Occurrence) error {
			select {
			case happened <- o:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	enc := json.NewEncoder(os.Stdout)
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		var err error
		select {
		case <-t.C:
			if err = printStats(rt, id); errors.Is(err, runtime.ErrNotRunning) || errors.Is(err, runtime.ErrNotExist) {
				err = nil // its end follows
			}
		case o := <-happened:
			switch {
			case o.Breach != nil:
				err = enc.Encode(event{Type: "oom", ID: id, More: o.Breach})
			case o.Warning != nil:
				err = enc.Encode(event{Type: "mlrun.warning", ID: id, More: o.Warning})
			case o.Ended != nil:
				err = enc.Encode(event{Type: "mlrun.ended", ID: id, More: o.Ended})
			}
		case err := <-ended:
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
		if err != nil {
			return err
		}
	}
}

// readFile reads a file whatever it is, a pipe too, up to the size that a config.json may have: a mistaken name must not fill the memory.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, name)
}

func readAtMost(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, bundle.MaxSize+1))
	if err == nil && len(b) > bundle.MaxSize {
		return nil, fmt.Errorf("%s: found more than %d bytes, want at most %d", name, bundle.MaxSize, bundle.MaxSize)
	}
	return b, err
}
