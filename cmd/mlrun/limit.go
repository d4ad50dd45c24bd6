package main

import (
	"encoding/json"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mlrun/bundle"
	"mlrun/runtime"
)

const limitHelp = `Runs COMMAND with a memory limit for it and everything it starts, together. LIMIT is an integer with G, M, K, B or
nothing, in powers of 1024. Over the limit all of it gets SIGTERM, and SIGKILL after the grace period.

EXIT STATUS
  the command's exit code, or
    2  the command line was wrong
  126  the command was found and cannot be executed
  127  the command was not found
  137  the limit was exceeded
128+N  the command was ended by signal N`

func (a *app) limitCmd() *cobra.Command {
	var o limitOptions
	cmd := a.newLimit(&o, "limit [flags] LIMIT -- COMMAND [ARGS]")
	o.memoryFlags.add(cmd.Flags())
	o.budgetFlags.add(cmd.Flags())
	o.admissionFlags.add(cmd.Flags())
	addRlimits(cmd.Flags(), &o.rlimits)
	cmd.Flags().BoolVar(&o.timed, "time", false, "print at the end what was used, in the words of time(1), on standard error")
	cmd.Flags().StringVar(&o.report, "report", "", "write the verdict, a JSON object, to `FILE` at the end; - is standard output")
	cmd.Flags().BoolVarP(&a.console.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

// memlimitCmd is what mlrun is when it is called memlimit: that program's command line, and nothing else.
func (a *app) memlimitCmd() *cobra.Command {
	var o limitOptions
	cmd := a.newLimit(&o, "memlimit [flags] LIMIT -- COMMAND [ARGS]")
	cmd.Version = version
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	return cmd
}

type limitOptions struct {
	grace, report string
	v             verbose
	timed         bool
	rlimits       []string
	memoryFlags
	budgetFlags
	admissionFlags
}

func (o *limitOptions) add(f *pflag.FlagSet) {
	f.StringVarP(&o.grace, "grace", "g", "5", "`SEC`onds between SIGTERM and SIGKILL when the limit is exceeded, or 500ms")
	o.v.add(f)
}

func (a *app) newLimit(o *limitOptions, use string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: "run a command with a memory limit, without a bundle",
		Long:  limitHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			switch at := cmd.ArgsLenAtDash(); {
			case at < 0:
				return usagef("no -- before the command: want LIMIT -- COMMAND [ARGS]")
			case at != 1:
				return usagef("%d arguments before --: want one, the limit", at)
			case len(args) == 1:
				return usagef("no command after --")
			case args[1] == "":
				return usagef("the command after -- is empty")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.limit(cmd.Flags(), o, args[0], args[1:]) },
	}
	o.add(cmd.Flags())
	return cmd
}

// limit runs a command as the payload of a bundle that exists in memory only.
func (a *app) limit(f *pflag.FlagSet, o *limitOptions, limit string, command []string) error {
	bytes, err := bundle.ParseSize(limit)
	if err != nil {
		return usagef("LIMIT: %v", err)
	}
	grace, err := bundle.ParseGrace(o.grace)
	if err != nil {
		return usagef("--grace: %v", err)
	}
	every, err := o.v.every()
	if err != nil {
		return err
	}
	b := &bundle.Bundle{Dir: "/", MemoryLimit: bytes, Spec: &specs.Spec{
		Version: specs.Version, Process: &specs.Process{Args: command, Env: os.Environ()},
	}}
	ro := runtime.RunOptions{NoState: true, ProgressEvery: every}
	if err := o.memoryFlags.set(f, &ro.CreateOptions); err != nil {
		return err
	}
	if err := o.admissionFlags.set(f, &ro.CreateOptions); err != nil {
		return err
	}
	if err := o.budgetFlags.set(f, &ro.CreateOptions); err != nil {
		return err
	}
	if ro.Rlimits, err = parseRlimits(o.rlimits); err != nil {
		return err
	}
	if err := checkFile("report", o.report); err != nil {
		return err
	}
	ro.ID, ro.Bundle, ro.Grace, ro.Report = "limit", b, &grace, o.report
	return a.foreground(ro, func(v *runtime.Verdict) {
		if v.Started != nil && v.Memory.Peak > 0 {
			a.notice("peak memory %s of %s", size(v.Memory.Peak), size(v.Memory.Limit))
		}
		if o.timed {
			a.console.printf("%s", usageTable(v, command))
		}
	})
}

// printJSON writes v to standard output as one indented object.
func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
