package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mlrun/group"
	"mlrun/runtime"
	"mlrun/signame"
)

func (a *app) completionCmd() *cobra.Command {
	var plain bool
	cmd := &cobra.Command{
		Use:   "completion [flags] SHELL",
		Short: "print a script that completes command lines of mlrun in a shell",
		Long: `completion prints a script for bash, zsh, fish or powershell, by which that shell completes commands, flags and their values, ids of
containers and names of signals. For the shell that runs:

  source <(mlrun completion bash)      with the package bash-completion
  source <(mlrun completion zsh)       after compinit
  mlrun completion fish | source
  mlrun completion powershell | Out-String | Invoke-Expression

For each new one:

  mlrun completion bash >~/.local/share/bash-completion/completions/mlrun
  mlrun completion zsh >"${fpath[1]}/_mlrun"
  mlrun completion fish >~/.config/fish/completions/mlrun.fish

EXIT STATUS
  0, 2 for a wrong command line, 1 when the script cannot be written`,
		Args: exactArgs(1, "bash, zsh, fish or powershell"),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), os.Stdout
			switch {
			case args[0] == "bash":
				return root.GenBashCompletionV2(out, !plain)
			case args[0] == "zsh" && plain:
				return root.GenZshCompletionNoDesc(out)
			case args[0] == "zsh":
				return root.GenZshCompletion(out)
			case args[0] == "fish":
				return root.GenFishCompletion(out, !plain)
			case args[0] == "powershell" && plain:
				return root.GenPowerShellCompletion(out)
			case args[0] == "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return usagef("completion: %q: want bash, zsh, fish or powershell", args[0])
		},
	}
	cmd.Flags().BoolVar(&plain, "no-descriptions", false, "complete without descriptions")
	return cmd
}

// completing tells whether a command line is the question of such a script. What follows is attached to the commands only then, so
// that nothing else pays for it.
func completing(args []string) bool {
	return len(args) > 1 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// question prepares the arguments of a question. All words but the last are complete. There is nobody to read an error: the user is in the
// middle of a line.
func question(args []string) []string {
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null // cobra writes to it
	}
	last := len(args) - 1
	return append(expandVerbose(args[:last]), args[last])
}

// complete says of every command and flag how its values are completed.
func (a *app) complete(root *cobra.Command) {
	completeFlags(root)
	for _, cmd := range root.Commands() {
		if cmd.HasSubCommands() {
			for _, sub := range cmd.Commands() {
				sub.ValidArgsFunction = a.completeGroupArgs(sub.Name())
				a.completeGroupFlags(sub)
			}
			continue
		}
		cmd.ValidArgsFunction = a.completeArgs(cmd.Name())
		completeFlags(cmd)
		a.completeGroupFlags(cmd)
	}
}

const (
	noFiles   = cobra.ShellCompDirectiveNoFileComp
	wantDirs  = cobra.ShellCompDirectiveFilterDirs
	wantFiles = cobra.ShellCompDirectiveDefault
)

// completeArgs is how the arguments of a command are completed.
func (a *app) completeArgs(command string) cobra.CompletionFunc {
	switch command {
	case "run":
		return bundles(func(c *cobra.Command) bool { return !c.Flags().Changed("bundle") })
	case "create":
		return bundles(func(c *cobra.Command) bool { return c.Flags().Changed("id") && !c.Flags().Changed("bundle") })
	case "check":
		return bundles(func(*cobra.Command) bool { return true })
	case "limit", "admit":
		return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, noFiles
			}
			return nil, wantFiles // the command
		}
	case "completion":
		return first([]string{"bash", "zsh", "fish", "powershell"})
	case "start":
		return a.ids(nil, specs.StateCreated)
	case "pause":
		return a.ids(nil, specs.StateRunning)
	case "resume":
		return a.ids(nil, runtime.StatePaused)
	case "state", "delete":
		return a.ids(nil)
	case "kill":
		return a.ids(signals, specs.StateCreated, specs.StateRunning, runtime.StatePaused)
	case "exec":
		return a.ids(files, specs.StateCreated, specs.StateRunning)
	case "ps", "events", "update":
		return a.ids(nil, specs.StateCreated, specs.StateRunning, runtime.StatePaused)
	}
	return cobra.NoFileCompletions
}

// completeGroupArgs is how the arguments of a command of group are completed.
func (a *app) completeGroupArgs(command string) cobra.CompletionFunc {
	switch command {
	case "create", "ls":
		return cobra.NoFileCompletions
	}
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		switch {
		case len(args) > 0 && command == "exec":
			return nil, wantFiles // the command
		case len(args) > 0 && command != "rm":
			return nil, noFiles
		}
		return a.groupNames(cmd, args, typed)
	}
}

// completeGroupFlags completes the flags that a command has a group or a policy in.
func (a *app) completeGroupFlags(cmd *cobra.Command) {
	for name, complete := range map[string]cobra.CompletionFunc{
		"group": a.groupNames, "parent": a.groupNames,
		"victim": cobra.FixedCompletions([]string{"kill-largest-run", "kill-newest-run", "kill-group"}, noFiles),
	} {
		if cmd.Flags().Lookup(name) != nil {
			_ = cmd.RegisterFlagCompletionFunc(name, complete)
		}
	}
	if cmd.Parent() != nil && cmd.Parent().HasParent() {
		completeFlags(cmd)
	}
}

// groupNames completes the ids of groups, with their labels.
func (a *app) groupNames(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	rt, err := runtime.New(runtime.Options{Root: a.root})
	if err != nil {
		return nil, noFiles
	}
	t, err := rt.LookAtGroups()
	if err != nil {
		return nil, noFiles
	}
	defer t.Close()
	list, _ := t.List()
	var found []string
	for _, i := range list {
		if i.ID != group.System {
			found = append(found, cobra.CompletionWithDesc(strconv.FormatInt(int64(i.ID), 10), i.Label))
		}
		if i.Label != "" && strings.HasPrefix(i.Label, typed) && typed != "" {
			found = append(found, cobra.CompletionWithDesc(i.Label, "group "+strconv.FormatInt(int64(i.ID), 10)))
		}
	}
	return startingWith(typed, found), noFiles
}

// bundles completes the one argument of a command with directories, if it is a bundle.
func bundles(is func(*cobra.Command) bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 && is(cmd) {
			return nil, wantDirs
		}
		return nil, noFiles
	}
}

// first completes the first argument with words.
func first(words []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, noFiles
		}
		return startingWith(typed, words), noFiles
	}
}

// ids completes the first argument with the ids of containers that have one of the statuses, or any when there is none, and those behind
// it with then, if that is not nil. No supervisor is asked.
func (a *app) ids(then cobra.CompletionFunc, statuses ...specs.ContainerState) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		switch {
		case len(args) > 0 && then != nil:
			return then(cmd, args[1:], typed)
		case len(args) > 0:
			return nil, noFiles
		}
		rt, err := runtime.New(runtime.Options{Root: a.root})
		if err != nil {
			return nil, noFiles
		}
		states, err := rt.List()
		if err != nil {
			return nil, noFiles
		}
		var found []string
		for _, s := range states {
			if len(statuses) == 0 || slices.Contains(statuses, s.Status) {
				found = append(found, cobra.CompletionWithDesc(s.ID, string(s.Status)))
			}
		}
		return startingWith(typed, found), noFiles
	}
}

// files completes with any file.
func files(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, wantFiles
}

// signals completes one argument with the names of signals: with SIG, when that was typed.
func signals(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return startingWith(typed, signalNames(strings.HasPrefix(typed, "SIG"))), noFiles
}

// signalNames are the standard signals (signal(7)), each with its description.
func signalNames(long bool) (names []string) {
	for sig := syscall.Signal(1); sig < 32; sig++ {
		name := signame.Name(sig)
		if !strings.HasPrefix(name, "SIG") {
			continue
		}
		if !long {
			name = strings.TrimPrefix(name, "SIG")
		}
		names = append(names, cobra.CompletionWithDesc(name, sig.String()))
	}
	return names
}

// completeFlags is how the values of a command's own flags are completed: with words where only these are valid, with what the name
// of the value in the help asks for, or not at all.
func completeFlags(cmd *cobra.Command) {
	each := func(f *pflag.Flag) {
		var value string
		if value, f.Usage = pflag.UnquoteUsage(f); f.Value.Type() == "bool" { // the usage is the description of the flag's name
			return
		}
		complete := cobra.NoFileCompletions
		if f.Name == "group" || f.Name == "parent" || f.Name == "victim" {
			return // see completeGroupFlags
		}
		switch words := flagWords(cmd.Name(), f.Name); {
		case f.Name == "on-breach":
			complete = breaches
		case words != nil:
			complete = cobra.FixedCompletions(words, noFiles)
		case value == "DIR":
			complete = cobra.FixedCompletions(nil, wantDirs)
		case value == "FILE", value == "PATH":
			complete = files
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, complete) // the flag exists and was not registered before
	}
	cmd.LocalNonPersistentFlags().VisitAll(each)
	cmd.PersistentFlags().VisitAll(each)
}

// flagWords are the values of a flag that has a few only.
func flagWords(command, flag string) []string {
	switch {
	case flag == "log-format", flag == "format" && command == "check":
		return []string{"text", "json"}
	case flag == "format":
		return []string{"table", "json"}
	case flag == "meter":
		return []string{"auto", "events", "poll"}
	case flag == "wait-scope":
		return []string{"start", "tree"}
	case flag == "rootless":
		return []string{"auto", "true", "false"}
	}
	return nil
}

// breaches completes --on-breach.
func breaches(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	const signal = "signal:"
	name, isSignal := strings.CutPrefix(typed, signal)
	if !isSignal {
		words := startingWith(typed, []string{"kill", "kill-largest", "kill-newest", "freeze", signal})
		if len(words) == 1 && words[0] == signal {
			return words, noFiles | cobra.ShellCompDirectiveNoSpace
		}
		return words, noFiles
	}
	var words []string
	for _, s := range signalNames(strings.HasPrefix(name, "SIG")) {
		if sig := strings.TrimPrefix(s, "SIG"); !strings.HasPrefix(sig, "KILL\t") && !strings.HasPrefix(sig, "STOP\t") { // refused: they cannot be caught
			words = append(words, signal+s)
		}
	}
	return startingWith(typed, words), noFiles
}

// startingWith are the words that complete what was typed.
func startingWith(typed string, words []string) (out []string) {
	for _, w := range words {
		if strings.HasPrefix(w, typed) {
			out = append(out, w)
		}
	}
	return out
}
