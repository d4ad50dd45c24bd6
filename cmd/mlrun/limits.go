package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"mlrun/rlimit"
	"mlrun/runtime"
)

func (a *app) limitsCmd() *cobra.Command {
	var (
		pid       int
		self, all bool
		format    string
	)
	cmd := &cobra.Command{
		Use:   "limits [flags] [ID]",
		Short: "print the resource limits of processes, and of a container",
		Long: `limits prints the limits of setrlimit(2) that the process of a container has, with --all each of its processes, and below
them the limits of the container as a whole with how each is held. With --pid it prints those of any process, with --self or
nothing those that mlrun was started with, which a container inherits.

SCOPE says what the use is summed up over: the process, or the real user in its user namespace (before Linux 5.14: the real user).
In JSON a limit is a number in its unit, or "unlimited".

EXIT STATUS
  0, 2 for a wrong command line, 1 when the container does not run or there is no such process`,
		Args: func(cmd *cobra.Command, args []string) error {
			given := len(args)
			for _, name := range []string{"pid", "self"} {
				if cmd.Flags().Changed(name) {
					given++
				}
			}
			switch {
			case given > 1:
				return usagef("limits: want one of an id, --pid and --self")
			case all && len(args) == 0:
				return usagef("--all: the processes of which container? want an id too")
			case cmd.Flags().Changed("pid") && pid <= 0:
				return usagef("--pid %d: want a process id greater than 0", pid)
			}
			return oneOf("format", format, "table", "json")
		},
		RunE: func(_ *cobra.Command, args []string) error {
			out := limitsOutput{}
			if len(args) == 0 {
				p, err := runtime.ReadLimits(pid)
				if err != nil {
					return err
				}
				out.add(*p)
				return out.print(format, false)
			}
			return a.with(func(rt *runtime.Runtime) error {
				l, err := rt.Limits(args[0], all)
				if err != nil {
					return err
				}
				out.ID = args[0]
				for _, p := range l.Processes {
					out.add(p)
				}
				for _, r := range l.Run {
					out.Run = append(out.Run, runLimit{r.Name, rlimit.Amount(r.Soft), rlimit.Amount(r.Hard), r.Held, r.Path})
				}
				return out.print(format, all)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&pid, "pid", 0, "of the process `PID`")
	f.BoolVar(&self, "self", false, "that mlrun was started with")
	f.BoolVarP(&all, "all", "a", false, "of every process of the container")
	f.StringVarP(&format, "format", "f", "table", "table or json")
	return cmd
}

// limitsOutput is what limits prints, as JSON.
type limitsOutput struct {
	ID        string          `json:"id,omitempty"`
	Processes []processLimits `json:"processes"`
	Run       []runLimit      `json:"run,omitempty"`
}

type processLimits struct {
	PID     int            `json:"pid"`
	Command string         `json:"command"`
	Limits  []processLimit `json:"limits"`
}

type processLimit struct {
	Type  string        `json:"type"`
	Soft  rlimit.Amount `json:"soft"`
	Hard  rlimit.Amount `json:"hard"`
	Unit  string        `json:"unit"`
	Scope string        `json:"scope"`
}

type runLimit struct {
	Name string        `json:"name"`
	Soft rlimit.Amount `json:"soft"`
	Hard rlimit.Amount `json:"hard"`
	Held string        `json:"held"`
	Path string        `json:"path"`
}

func (o *limitsOutput) add(p runtime.ProcessLimits) {
	list := []processLimit{}
	for _, l := range p.Limits {
		list = append(list, processLimit{l.Name, rlimit.Amount(l.Soft), rlimit.Amount(l.Hard), l.Unit, l.Scope.String()})
	}
	o.Processes = append(o.Processes, processLimits{p.PID, p.Command, list})
}

// print writes a table, with the process ids if there may be several, or JSON.
func (o *limitsOutput) print(format string, pids bool) error {
	if format == "json" {
		return printJSON(o)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	heading := []string{"TYPE", "SOFT", "HARD", "UNIT", "SCOPE"}
	if pids {
		heading = append([]string{"PID"}, heading...)
	}
	fmt.Fprintln(w, strings.Join(heading, "\t"))
	for _, p := range o.Processes {
		for _, l := range p.Limits {
			if pids {
				fmt.Fprintf(w, "%d\t", p.PID)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Type, l.Soft, l.Hard, l.Unit, l.Scope)
		}
	}
	if len(o.Run) > 0 {
		if err := w.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
		fmt.Fprintln(w, "CONTAINER\tSOFT\tHARD\tHELD\tPATH")
		for _, l := range o.Run {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Name, l.Soft, l.Hard, l.Held, l.Path)
		}
	}
	return w.Flush()
}
