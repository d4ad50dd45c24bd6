package main

import (
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mlrun/runtime"
	"mlrun/signame"
)

func (a *app) createCmd() *cobra.Command {
	var (
		c       createFlags
		console string
		noPivot bool
		noNew   bool
	)
	cmd := &cobra.Command{
		Use:   "create [flags] ID",
		Short: "create a container whose program waits for mlrun start",
		Long: `create prepares a container from a bundle (--bundle, else the working directory) up to the point where its program would be
executed, and runs the create hooks. Changes of config.json after it have no effect.

EXIT STATUS
  0 when it was created, 2 for a wrong command line, else 1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && c.id == "" && !cmd.Flags().Changed("id") {
				return usagef("create: no id: want mlrun create --bundle DIR ID")
			}
			if len(args) == 1 && c.id == "" && c.bundle == "" && !cmd.Flags().Changed("bundle") {
				c.bundle = "."
			}
			o, err := a.options(cmd.Flags(), &c, args)
			if err != nil {
				return err
			}
			rt, err := a.open()
			if err != nil {
				return err
			}
			done, err := consoleTo(&o, console)
			if err != nil {
				return err
			}
			defer done()
			return rt.Create(o)
		},
	}
	c.add(cmd.Flags())
	cmd.Flags().StringVar(&console, "console-socket", "", "send the master of the terminal (process.terminal) to the unix socket `PATH`")
	cmd.Flags().BoolVar(&noPivot, "no-pivot", false, "accepted for compatibility")
	cmd.Flags().BoolVar(&noNew, "no-new-keyring", false, "accepted for compatibility")
	return cmd
}

func (a *app) startCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "start ID",
		Short: "execute the program of a created container",
		Long:  "start makes a created container execute its program, and returns when it does. If its bundle wants memory to be available, start waits for it;\nCtrl-C leaves the container created.\n\nEXIT STATUS\n  0 when the program runs, 2 for a wrong command line, 75 when there was not enough memory in time, else 1",
		Args:  exactArgs(1, "the id"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.with(func(rt *runtime.Runtime) error { return a.launchFailed(rt.Start(args[0])) })
		},
	}
}

// with opens the state directory for f.
func (a *app) with(f func(*runtime.Runtime) error) error {
	rt, err := a.open()
	if err != nil {
		return err
	}
	return f(rt)
}

func (a *app) stateCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "state ID",
		Short: "print the state of a container as JSON",
		Long:  "state prints the state of the OCI runtime-spec, with what mlrun knows beyond it under \"mlrun\".\n\nEXIT STATUS\n  0, 2 for a wrong command line, 1 when there is no such container",
		Args:  exactArgs(1, "the id"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.with(func(rt *runtime.Runtime) error {
				s, err := rt.State(args[0])
				if err != nil {
					return err
				}
				return printJSON(s)
			})
		},
	}
}

func (a *app) killCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "kill [flags] ID [SIGNAL]",
		Short: "send a signal to a container's process (default TERM)",
		Long:  "kill sends a signal, by name or number, to the process of a container, or with --all to each of its processes.\n\nEXIT STATUS\n  0 when it was sent, 2 for a wrong command line, 1 when the container is not running",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usagef("kill: %d arguments, want an id and at most one signal", len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			name := "TERM"
			if len(args) == 2 {
				name = args[1]
			}
			sig, err := signame.Parse(name)
			if err != nil {
				return usageError{err}
			}
			return a.with(func(rt *runtime.Runtime) error { return rt.Kill(args[0], sig, all) })
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "to every process of the container")
	return cmd
}

func (a *app) deleteCmd() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "delete [flags] ID",
		Short: "remove a container that is stopped or created",
		Long:  "delete removes a container and runs its poststop hooks. Nothing of it is left when delete returns.\n\nEXIT STATUS\n  0 when it is gone, 2 for a wrong command line, else 1",
		Args:  exactArgs(1, "the id"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.with(func(rt *runtime.Runtime) error { return rt.Delete(args[0], force) })
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "also when it runs (it is killed) or does not exist")
	return cmd
}

func (a *app) listCmd() *cobra.Command {
	var (
		format string
		quiet  bool
	)
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "list the containers of this state directory",
		Long:    "list prints a line for each container, or their states as a JSON array.\n\nEXIT STATUS\n  0, 2 for a wrong command line, 1 when the state directory cannot be read",
		Args:    exactArgs(0, "none"),
		RunE: func(*cobra.Command, []string) error {
			if err := oneOf("format", format, "table", "json"); err != nil {
				return err
			}
			return a.with(func(rt *runtime.Runtime) error {
				if quiet {
					ids, err := rt.IDs()
					for _, id := range ids {
						fmt.Println(id)
					}
					return err
				}
				states, err := rt.List()
				if err != nil {
					return err
				}
				if format == "json" {
					return printJSON(states)
				}
				return table(states)
			})
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "table", "`FORMAT`: table or json")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the ids only")
	return cmd
}

func table(states []*runtime.State) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tPID\tSTATUS\tREASON\tBUNDLE\tCREATED")
	for _, s := range states {
		reason, created := s.MLRun.Reason, s.MLRun.Created.Format(time.RFC3339)
		if s.MLRun.Problem != "" {
			reason = s.MLRun.Problem
		}
		if s.MLRun.Created.IsZero() {
			created = ""
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.Pid, s.Status, oneLine(reason), oneLine(s.Bundle), created)
	}
	return w.Flush()
}
