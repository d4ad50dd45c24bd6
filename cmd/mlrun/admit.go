package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mlrun/admission"
	"mlrun/bundle"
	"mlrun/runtime"
	"mlrun/runtime/supervise"
)

const admitHelp = `Waits until AMOUNT of the machine's memory is available (10%, 2G; default 10%), and then executes COMMAND in its own place: nothing of
mlrun is left. With --tree it stays, and each program waits in the same way that COMMAND and all that it starts execute.

  mlrun admit 10% -- COMMAND
  mlrun admit --tree 10% -- make -j16

EXIT STATUS
  the command's exit code, or
    2  the command line or the environment was wrong
   75  there was not enough memory in time
  126  the command was found and cannot be executed
  127  the command was not found
128+N  the command, or the wait for memory, was ended by signal N`

// Variables of memstop, which the command line goes before.
const (
	memstopPercent = "MEMSTOP_PERCENT"
	memstopVerbose = "MEMSTOP_VERBOSE"
)

// admitDefault is how much memory is wanted when nobody says: that of memstop.
const admitDefault = "10%"

type admitOptions struct {
	admissionFlags
	tree, verbose bool
	report        string
}

func (a *app) admitCmd() *cobra.Command {
	var o admitOptions
	cmd := &cobra.Command{
		Use:   "admit [flags] [AMOUNT] -- COMMAND [ARGS]",
		Short: "wait until memory is available, and then run a command",
		Long:  admitHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			switch at := cmd.ArgsLenAtDash(); {
			case at < 0:
				return usagef("no -- before the command: want [AMOUNT] -- COMMAND [ARGS]")
			case at > 1:
				return usagef("%d arguments before --: want at most one, the amount of memory", at)
			case len(args) == at:
				return usagef("no command after --")
			case args[at] == "":
				return usagef("the command after -- is empty")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at := cmd.ArgsLenAtDash()
			return a.admit(cmd.Flags(), &o, args[:at], args[at:])
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.tree, "tree", false, "each program waits, too, that COMMAND and all that it starts execute")
	f.StringVar(&o.reserve, "reserve", "", "memory (`SIZE`) that a program is expected to use, which others that wait leave alone; default: what earlier ones of its name used")
	f.StringVar(&o.pressure, "pressure", "", "wait, too, until the pressure of memory (PSI, some avg10) is below `PERCENT`")
	f.StringVar(&o.timeout, "timeout", "", "`TIME` after which the wait for COMMAND itself is given up, with exit code 75: seconds, or 5m; default: never")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say what is required and available, who has to wait, and when that ends")
	f.StringVar(&o.report, "report", "", "with --tree, write the verdict, a JSON object, to `FILE` at the end; - is standard output")
	return cmd
}

// admit waits, and then runs the command.
func (a *app) admit(f *pflag.FlagSet, o *admitOptions, amount, command []string) error {
	if err := notEmpty(f, "reserve", "pressure", "timeout", "report"); err != nil {
		return err
	}
	w, err := o.parse(f, amount)
	if err != nil {
		return err
	}
	if o.report != "" && !o.tree {
		return usagef("--report: only with --tree: without it nobody is left who could write it")
	}
	verbose := func(runtime.AdmissionEvent) {}
	if o.verbose {
		verbose = a.admitting(true)
	}
	if o.tree {
		return a.admitTree(o, w, verbose, command)
	}
	rt, err := a.open()
	if err != nil {
		return err
	}
	err = rt.Admit(context.Background(), runtime.AdmitOptions{
		Admission: w, Command: command, Env: os.Environ(), Keep: a.kept, Observe: verbose, Leave: a.console.flush,
	})
	a.exit = supervise.LaunchCode(err)
	return err
}

// admitTree runs the command as the payload of a bundle that exists in memory only.
func (a *app) admitTree(o *admitOptions, w runtime.Admission, verbose func(runtime.AdmissionEvent), command []string) error {
	if err := checkFile("report", o.report); err != nil {
		return err
	}
	if _, err := runtime.LookPath(command[0], os.Environ()); err != nil {
		a.exit = supervise.LaunchCode(err)
		return err // before anything is written
	}
	w.Scope = bundle.ScopeTree
	return a.foreground(runtime.RunOptions{
		CreateOptions: runtime.CreateOptions{
			ID: "admit", Admission: w, Report: o.report, PreserveFDs: a.inherited,
			Bundle: &bundle.Bundle{Dir: "/", Spec: &specs.Spec{Version: specs.Version, Process: &specs.Process{Args: command, Env: os.Environ()}}},
		},
		NoState: true, Admitting: verbose, Gated: a.gated(o.verbose),
	}, nil)
}

// parse reads the command line, and the environment where that says nothing.
func (o *admitOptions) parse(f *pflag.FlagSet, amount []string) (w runtime.Admission, err error) {
	text, where := admitDefault, "AMOUNT"
	switch percent, set := os.LookupEnv(memstopPercent); {
	case len(amount) > 0:
		text = amount[0]
	case set:
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || strings.Trim(percent, "0123456789.") != "" || n > 100 {
			return w, usagef("environment: %s %q: want a number from 0 to 100, the percentage of all memory, such as 10 or 2.5; or unset it", memstopPercent, percent)
		}
		text, where = percent+"%", "environment: "+memstopPercent
	}
	if value, set := os.LookupEnv(memstopVerbose); set && !f.Changed("verbose") {
		if value != "0" && value != "1" {
			return w, usagef("environment: %s %q: want 0 or 1; or unset it", memstopVerbose, value)
		}
		o.verbose = value == "1"
	}
	available, err := bundle.ParseAvailable(text)
	if err != nil {
		return w, usagef("%s: %v", where, err)
	}
	w.Available = &available
	if o.pressure != "" {
		if w.Pressure, err = bundle.ParsePressure(o.pressure); err != nil {
			return w, usagef("--pressure: %v", err)
		}
	}
	if o.reserve != "" {
		if w.Reserve, err = bundle.ParseSize(o.reserve); err != nil {
			return w, usagef("--reserve: %v", err)
		}
	}
	if o.timeout != "" {
		if w.Timeout, err = bundle.ParseTime(o.timeout); err != nil {
			return w, usagef("--timeout: %v", err)
		}
	}
	return w, o.satisfiable(where, w)
}

// satisfiable refuses what can never be true on this machine.
func (o *admitOptions) satisfiable(where string, w runtime.Admission) error {
	h := admission.ThisHost()
	for _, part := range []struct {
		where string
		c     admission.Criteria
	}{
		{where, admission.Criteria{Available: *w.Available}},
		{"--pressure", admission.Criteria{Pressure: w.Pressure}},
		{"--reserve", admission.Criteria{Available: *w.Available, Reserve: w.Reserve}},
	} {
		if err := h.Check(part.c); err != nil {
			return fmt.Errorf("%s: %w", part.where, err)
		}
	}
	return nil
}
