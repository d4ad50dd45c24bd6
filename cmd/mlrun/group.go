package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mlrun/bundle"
	"mlrun/group"
	"mlrun/runtime"
)

const groupHelp = `group makes and changes limit groups: limits over runs that know nothing of each other. A GROUP is its id or its label. Groups are in groups; each run
obeys the limits of its group (mlrun run --group) and of every group above that one. All runs of one user with one state directory share one tree. The group with id 1 is the
system's, which has no limits.

  mlrun group create --label build --memory 4G --mproc 200   prints the id
  mlrun run --group build BUNDLE
  mlrun group exec build -- make -j8
  mlrun group ls --tree --watch
  mlrun group kill build
  mlrun group rm build

Over its memory (--memory, or --mpage in pages) or its processes (--mproc) a group ends runs, as --victim says: kill-largest-run (default), kill-newest-run or
kill-group. Such a run has the exit code 137, and the group in its verdict. Over --mlim no more groups can be made below it.

EXIT STATUS
  0, 2 for a wrong command line, else 1; of exec as for mlrun limit`

func (a *app) groupCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group COMMAND",
		Short: "limits over runs that know nothing of each other",
		Long:  groupHelp,
		Args:  cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("group %q: want create, ls, status, set, rm, kill, exec or mount", args[0])
			}
			return usagef("group: no command: want create, ls, status, set, rm, kill, exec or mount")
		},
	}
	cmd.AddCommand(a.groupCreateCmd(), a.groupListCmd(), a.groupStatusCmd(), a.groupSetCmd(), a.groupRemoveCmd(), a.groupKillCmd(), a.groupExecCmd(), a.groupMountCmd())
	return cmd
}

// groupFlags are what group create and set put in place.
type groupFlags struct{ label, mlim, mproc, mpage, memory, victim string }

func (g *groupFlags) add(f *pflag.FlagSet) {
	f.StringVar(&g.label, "label", "", "its `LABEL`, which need not be the only one")
	f.StringVar(&g.mlim, "mlim", "", "how many groups (`N`) there may be below it, or none")
	f.StringVar(&g.mproc, "mproc", "", "how many processes (`N`) there may be in it and below, or none")
	f.StringVar(&g.mpage, "mpage", "", "how many pages (`N`) of memory may be used in it and below, or none")
	f.StringVar(&g.memory, "memory", "", "the same in bytes: an integer with G, M, K, B or nothing (`SIZE`), or none")
	f.StringVar(&g.victim, "victim", "", "who ends over a limit: kill-largest-run, kill-newest-run or kill-group (`POLICY`; default kill-largest-run)")
}

// change is what the flags that were given ask for.
func (g *groupFlags) change(f *pflag.FlagSet) (c group.Change, err error) {
	if err := notEmpty(f, "mlim", "mproc", "mpage", "memory", "victim"); err != nil {
		return c, err
	}
	if f.Changed("label") {
		if err := group.CheckLabel(g.label); err != nil {
			return c, usagef("--label: %v", err)
		}
		c.Label = &g.label
	}
	if g.mpage != "" && g.memory != "" {
		return c, usagef("--mpage and --memory: want one of them, which are the same limit")
	}
	for _, l := range []struct {
		flag, text string
		parse      func(string) (int64, error)
		to         **int64
	}{
		{"mlim", g.mlim, group.ParseCount, &c.Groups}, {"mproc", g.mproc, group.ParseCount, &c.Processes},
		{"mpage", g.mpage, group.ParsePages, &c.Memory}, {"memory", g.memory, parseGroupMemory, &c.Memory},
	} {
		if l.text == "" {
			continue
		}
		n, err := l.parse(l.text)
		if err != nil {
			return c, usagef("--%s: %v", l.flag, err)
		}
		*l.to = &n
	}
	if g.victim != "" {
		v, err := group.ParseVictim(g.victim)
		if err != nil {
			return c, usagef("--victim: %v", err)
		}
		c.Victim = &v
	}
	return c, nil
}

func parseGroupMemory(s string) (int64, error) {
	if s == "none" {
		return group.None, nil
	}
	return bundle.ParseSize(s)
}

// withGroups calls f with the tree, which is empty when there is none.
func (a *app) withGroups(f func(*group.Tree) error) error {
	return a.withTree((*runtime.Runtime).LookAtGroups, f)
}

func (a *app) withTree(open func(*runtime.Runtime) (*group.Tree, error), f func(*group.Tree) error) error {
	rt, err := a.open()
	if err != nil {
		return err
	}
	t, err := open(rt)
	if err != nil {
		return err
	}
	return errors.Join(f(t), t.Close())
}

// withGroup calls f with the tree and a group of it.
func (a *app) withGroup(name string, f func(*group.Tree, group.ID) error) error {
	return a.withGroups(func(t *group.Tree) error {
		id, err := t.Lookup(name)
		if err != nil {
			return err
		}
		return f(t, id)
	})
}

func (a *app) groupCreateCmd() *cobra.Command {
	var (
		g      groupFlags
		parent string
	)
	cmd := &cobra.Command{
		Use:   "create [flags]",
		Short: "make a group and print its id",
		Long:  "create makes a group, which stays until mlrun group rm, and prints its id.\n\nEXIT STATUS\n  0, 2 for a wrong command line, 1 when a limit does not permit it",
		Args:  exactArgs(0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := notEmpty(cmd.Flags(), "parent"); err != nil {
				return err
			}
			c, err := g.change(cmd.Flags())
			if err != nil {
				return err
			}
			above := group.System
			if parent != "" { // before a tree is made
				err := a.withGroup(parent, func(_ *group.Tree, id group.ID) error {
					above = id
					return nil
				})
				if err != nil {
					return err
				}
			}
			return a.withTree((*runtime.Runtime).Groups, func(t *group.Tree) error {
				id, err := t.Create(above, c, os.Getuid(), true)
				if err == nil {
					fmt.Println(id)
				}
				return err
			})
		},
	}
	g.add(cmd.Flags())
	cmd.Flags().StringVar(&parent, "parent", "", "the `GROUP` that it is in; default: the system's")
	return cmd
}

func (a *app) groupSetCmd() *cobra.Command {
	var (
		g     groupFlags
		check bool
	)
	cmd := &cobra.Command{
		Use:   "set [flags] GROUP",
		Short: "change a group",
		Long: `set changes the label, the limits and the policy of a group; what is not named stays. A limit may be set below what is in use: groups beyond it stay, and over memory or
processes runs are ended. With --check that is refused, and nothing is changed.

EXIT STATUS
  0, 2 for a wrong command line, else 1`,
		Args: exactArgs(1, "the group"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.change(cmd.Flags())
			if err != nil {
				return err
			}
			c.Check = check
			return a.withGroup(args[0], func(t *group.Tree, id group.ID) error { return t.Set(id, c) })
		},
	}
	g.add(cmd.Flags())
	cmd.Flags().BoolVar(&check, "check", false, "refuse limits that are below what is in use")
	return cmd
}

func (a *app) groupRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "rm GROUP ...",
		Short: "remove groups that nothing is in",
		Long:  "rm removes groups. One with runs or groups in it is refused: mlrun group kill ends them.\n\nEXIT STATUS\n  0, 2 for a wrong command line, else 1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("rm: no group: want mlrun group rm GROUP")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			var errs []error
			for _, name := range args {
				errs = append(errs, a.withGroup(name, func(t *group.Tree, id group.ID) error { return t.Remove(id) }))
			}
			return errors.Join(errs...)
		},
	}
}

// killPoll is how soon group kill looks whether all have ended, and killPollMost how often it does later: each look has the lock of the tree.
const (
	killPoll     = 2 * time.Millisecond
	killPollMost = 64 * time.Millisecond
)

func (a *app) groupKillCmd() *cobra.Command {
	var leave bool
	cmd := &cobra.Command{
		Use:   "kill [flags] GROUP",
		Short: "end every run of a group and of the groups below it",
		Long: `kill asks every run of a group and of all groups below it to end, as over a limit: SIGTERM, and SIGKILL after the grace period of the run. Runs that Ctrl-Z has stopped
go on before. It returns when they have ended. The groups below it are removed; the group itself stays, for mlrun group rm.

EXIT STATUS
  0 when nothing of them is left, 2 for a wrong command line, else 1`,
		Args: exactArgs(1, "the group"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withGroup(args[0], func(t *group.Tree, id group.ID) error {
				for poll := killPoll; ; poll = min(2*poll, killPollMost) {
					if err := runtime.EndGroup(t, id); err != nil { // also those that come meanwhile
						return err
					}
					info, err := t.Status(id)
					if err != nil || leave || info.Runs == 0 {
						if errors.Is(err, group.ErrNotExist) {
							err = nil // it has ended with its last run
						}
						return err
					}
					time.Sleep(poll)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&leave, "no-wait", false, "return when they are asked")
	return cmd
}

func (a *app) groupExecCmd() *cobra.Command {
	var (
		o limitOptions
		v verbose
	)
	cmd := &cobra.Command{
		Use:   "exec [flags] GROUP -- COMMAND [ARGS]",
		Short: "run a command in a group, without a bundle",
		Long:  "exec runs COMMAND, and everything it starts, in a group and under its limits.\n\nEXIT STATUS\n  as for mlrun limit",
		Args: func(cmd *cobra.Command, args []string) error {
			switch at := cmd.ArgsLenAtDash(); {
			case at < 0:
				return usagef("no -- before the command: want GROUP -- COMMAND [ARGS]")
			case at != 1:
				return usagef("%d arguments before --: want one, the group", at)
			case len(args) == 1:
				return usagef("no command after --")
			case args[1] == "":
				return usagef("the command after -- is empty")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := notEmpty(cmd.Flags(), "grace", "report"); err != nil {
				return err
			}
			if args[0] == "" {
				return usagef(`"": no group; want an id or a label`)
			}
			grace, err := bundle.ParseGrace(o.grace)
			if err != nil {
				return usagef("--grace: %v", err)
			}
			every, err := v.every()
			if err != nil {
				return err
			}
			if err := checkFile("report", o.report); err != nil {
				return err
			}
			command := args[1:]
			return a.foreground(runtime.RunOptions{
				CreateOptions: runtime.CreateOptions{
					ID: commandID(command[0]), Group: args[0], Grace: &grace, Report: o.report,
					Bundle: &bundle.Bundle{Dir: "/", Spec: &specs.Spec{Version: specs.Version, Process: &specs.Process{Args: command, Env: os.Environ()}}},
				},
				NoState: true, ProgressEvery: every,
			}, nil)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.grace, "grace", "g", "5", "`SEC`onds between SIGTERM and SIGKILL when a limit is exceeded, or 500ms")
	v.add(f)
	f.StringVar(&o.report, "report", "", "write the verdict, a JSON object, to `FILE` at the end; - is standard output")
	f.BoolVarP(&a.console.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

// commandID is the id that a run of a command has in its group.
func commandID(command string) string {
	id := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+.-", r) {
			return r
		}
		return -1
	}, filepath.Base(command))
	if len(id) > 40 {
		id = id[:40]
	}
	if strings.Trim(id, ".") == "" {
		id = "command"
	}
	return id
}

func (a *app) groupStatusCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "status [flags] GROUP",
		Short: "print the limits and the counts of a group",
		Long: `status prints what is known of a group. Memory is the sum of upper bounds, as of the newest samples of the runs.

EXIT STATUS
  0, 2 for a wrong command line, 1 when there is no such group`,
		Args: exactArgs(1, "the group"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := oneOf("format", format, "table", "json"); err != nil {
				return err
			}
			return a.withGroup(args[0], func(t *group.Tree, id group.ID) error {
				info, err := t.Status(id)
				if err != nil {
					return err
				}
				if format == "json" {
					return printJSON(shown(info))
				}
				fmt.Print(statusText(info))
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "table", "`FORMAT`: table or json")
	return cmd
}

// shownGroup is a group as JSON.
type shownGroup struct {
	group.Info
	Held string `json:"mprocHeld"` // of the limit of processes
}

func shown(i group.Info) shownGroup { return shownGroup{i, i.Held()} }

// countText is a limit or a count as text.
func countText(n int64, memory bool) string {
	switch {
	case n == group.None:
		return "none"
	case memory:
		return size(n)
	}
	return strconv.FormatInt(n, 10)
}

// of is a count and its limit.
func of(count, limit int64, memory bool) string {
	if limit == group.None {
		return countText(count, memory)
	}
	return countText(count, memory) + "/" + countText(limit, memory)
}

func statusText(i group.Info) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "id\t%d\nlabel\t%s\nparent\t%d\nowner\t%d\nvictim\t%v\nruns\t%d\n", i.ID, i.Label, i.Parent, i.Owner, i.Victim, i.Runs)
	fmt.Fprintf(w, "mlim\t%s\t%d\nmproc\t%s\t%d\t%s\nmemory\t%s\t%s\n", countText(i.Limits.Groups, false), i.Counts.Groups,
		countText(i.Limits.Processes, false), i.Counts.Processes, i.Held(), countText(i.Limits.Memory, true), countText(i.Counts.Memory, true))
	w.Flush()
	return b.String()
}

type groupListOptions struct {
	format, watch string
	tree, quiet   bool
}

func (a *app) groupListCmd() *cobra.Command {
	var o groupListOptions
	cmd := &cobra.Command{
		Use:     "ls [flags]",
		Aliases: []string{"list"},
		Short:   "list all groups",
		Long: `ls lists all groups: each with its counts and, behind a slash, its limits. With --tree it draws them as a tree, with the runs in them; with --watch again and again.

EXIT STATUS
  0, 2 for a wrong command line, else 1`,
		Args: exactArgs(0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("format", o.format, "table", "json"); err != nil {
				return err
			}
			if o.tree && cmd.Flags().Changed("format") {
				return usagef("--tree and --format: want one of them")
			}
			every, err := o.every(cmd.Flags())
			if err != nil {
				return err
			}
			if every > 0 {
				return a.watchGroups(&o, every)
			}
			return a.withGroups(func(t *group.Tree) error {
				text, err := o.text(t)
				if err == nil {
					_, err = os.Stdout.WriteString(text)
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.format, "format", "f", "table", "`FORMAT`: table or json")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print the ids only")
	f.BoolVar(&o.tree, "tree", false, "draw the tree, with bars, and the runs in it")
	f.StringVar(&o.watch, "watch", "", "print it anew every `SEC`onds, until a signal")
	f.Lookup("watch").NoOptDefVal = "1"
	return cmd
}

// every is the time between two pictures; 0: there is one.
func (o *groupListOptions) every(f *pflag.FlagSet) (time.Duration, error) {
	if !f.Changed("watch") {
		return 0, nil
	}
	n, err := strconv.ParseFloat(o.watch, 64)
	if err != nil || !(n >= 0.05 && n <= 86400) {
		return 0, usagef("--watch %q: want seconds from 0.05 to 86400", o.watch)
	}
	return time.Duration(n * float64(time.Second)), nil
}
