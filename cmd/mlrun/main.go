// Command mlrun runs programs as containers without cgroups and without root, with a memory limit that is enforced by metering
// the whole process tree.
//
// Package main holds flags, texts and exit codes only; what they mean is in package runtime.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"mlrun/batch"
	"mlrun/bundle"
	"mlrun/group"
	"mlrun/runtime"
	"mlrun/runtime/launch"
	"mlrun/runtime/supervise"
)

// version is set by the linker for releases.
var version = "0.1.0-dev"

// The rules of everything that mlrun writes:
//   - what was asked for goes to standard output, everything else to standard error, each line with the prefix "mlrun: "
//   - lower case, no final full stop; an error is one line and says what, where and what to do
//   - hints are added in hint, here, and nowhere else

func main() {
	inherited := inheritedFDs()
	var kept []int
	if slices.Contains(os.Args, "admit") {
		kept = openFDs()
	}
	if err := launch.CloseOnExec(); err != nil {
		fmt.Fprintln(os.Stderr, "mlrun:", err)
		os.Exit(supervise.ExitFailure)
	}
	if len(os.Args) > 1 && os.Args[1] == runtime.SuperviseArg {
		if err := runtime.Supervise(os.Args[2:]); err != nil {
			os.Exit(supervise.ExitFailure)
		}
		return
	}
	startSmall()
	if len(os.Args) > 1 && os.Args[1] == batch.WorkerArg {
		if err := batch.Work(); err != nil {
			fmt.Fprintln(os.Stderr, "mlrun:", err)
			os.Exit(supervise.ExitFailure)
		}
		return
	}
	os.Exit(run(os.Args, inherited, kept))
}

// startTime is how long mlrun runs Go code on one processor only.
const startTime = 10 * time.Millisecond

// startSmall keeps the Go runtime to one processor until startTime has passed. A start is a chain of short steps, each of which
// waits for the one before; with more processors each wake-up of a goroutine also wakes a thread that looks for work on another
// one and finds none, and every copy-on-write after the fork has to be announced to that one. It saves about a tenth of mlrun run
// /bin/true. A goroutine that blocks in a system call holds nobody up for longer than the runtime takes to see it.
func startSmall() {
	n := goruntime.GOMAXPROCS(1)
	time.AfterFunc(startTime, func() { goruntime.GOMAXPROCS(n) })
}

// detached tells whether the arguments of run ask for --detach: no signals are passed on then.
func detached(args []string) bool {
	return slices.Contains(args, "-d") || slices.Contains(args, "--detach") || slices.Contains(args, "--detach=true")
}

// inheritedFDs counts the descriptors from 3 on that the caller left open, without a gap. It must be called before CloseOnExec:
// what the Go runtime itself has opened by now is close-on-exec, and what came through execve is not.
func inheritedFDs() int {
	for n := 0; ; n++ {
		if flags, err := unix.FcntlInt(uintptr(3+n), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			return n
		}
	}
}

// openFDs lists the descriptors from 3 on that the caller left open, with all gaps. It must be called before CloseOnExec.
func openFDs() (list []int) {
	names, _ := os.ReadDir("/dev/fd")
	for _, e := range names {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < 3 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			list = append(list, fd)
		}
	}
	return list
}

// run carries out a command line and returns the exit code.
func run(argv []string, inherited int, kept []int) int {
	a := &app{inherited: inherited, kept: kept, name: "mlrun"}
	if len(argv) > 1 && (argv[1] == "run" && !detached(argv[2:]) || argv[1] == "limit") || filepath.Base(argv[0]) == "memlimit" {
		a.signals = runtime.CatchSignals()
	}
	var root *cobra.Command
	if filepath.Base(argv[0]) == "memlimit" {
		a.name = "memlimit"
		root = a.memlimitCmd()
	} else {
		root = a.rootCmd(argv[1:])
	}
	args := argv[1:]
	if len(args) > 0 && args[0] == "run" || a.signals != nil {
		args = expandVerbose(args)
	}
	if completing(args) && root.HasSubCommands() {
		a.complete(root)
		args = question(args)
	}
	root.SetArgs(args)
	err := root.Execute()
	if err != nil {
		if a.log == "" { // of an unknown command no flag was looked at
			f := root.PersistentFlags()
			f.ParseErrorsAllowlist.UnknownFlags = true
			_ = f.Parse(args)
		}
		a.report(err)
	}
	a.console.close()
	if a.interrupted {
		a.dieOfSIGINT()
	}
	return a.code(err)
}

// app is one invocation: the global flags, and what it comes to.
type app struct {
	name      string
	inherited int
	kept      []int            // descriptors from 3 on that the caller left open; of admit only
	signals   *runtime.Signals // of a foreground run
	console   console

	root, log, logFormat string
	debug                bool
	rootless             string
	systemdCgroup        bool
	cgroupManager        string

	exit        int  // of the payload
	waits       bool // for memory
	interrupted bool // the payload died of SIGINT, and so will mlrun
	lent        bool // while it had the terminal
}

// rootCmd builds the command tree; for a known command only that one, since start-up time counts.
func (a *app) rootCmd(args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "mlrun",
		Short: "run programs as containers with a memory limit, without cgroups and without root",
		Long: `mlrun runs the process of a bundle (a directory with a config.json in the style of the OCI runtime-spec) without
cgroups and without root. The memory limit is enforced by metering the whole process tree.

EXIT STATUS
  the payload's exit code, or
    1  mlrun itself failed
    2  the command line was wrong
  126  the program was found and cannot be executed
  127  the program was not found
  137  a limit was exceeded (128 + SIGKILL); the reason is on standard error, and in the verdict (--report)
128+N  the payload was ended by signal N`,
		Version:           version + "\nspec: " + specs.Version, // the form that clients of OCI runtimes parse
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true}, // completion is one of the commands
	}
	f := root.PersistentFlags()
	f.StringVar(&a.root, "root", "", "state `DIR`ectory (default "+runtime.DefaultRoot()+")")
	f.StringVar(&a.log, "log", "", "also write errors and warnings to `FILE`")
	f.StringVar(&a.logFormat, "log-format", "text", "`FORMAT` of --log: text or json")
	f.BoolVar(&a.debug, "debug", false, "accepted for compatibility")
	f.StringVar(&a.rootless, "rootless", "auto", "accepted for compatibility: mlrun needs no root")
	f.BoolVar(&a.systemdCgroup, "systemd-cgroup", false, "accepted for compatibility: mlrun uses no cgroups")
	f.StringVar(&a.cgroupManager, "cgroup-manager", "", "accepted for compatibility: mlrun uses no cgroups")
	f.Lookup("rootless").NoOptDefVal = "true"
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		return oneOf("log-format", a.logFormat, "text", "json")
	}
	commands := []struct {
		name string
		make func() *cobra.Command
	}{
		{"run", a.runCmd}, {"limit", a.limitCmd}, {"admit", a.admitCmd}, {"create", a.createCmd}, {"start", a.startCmd}, {"state", a.stateCmd},
		{"kill", a.killCmd}, {"delete", a.deleteCmd}, {"list", a.listCmd}, {"check", a.checkCmd}, {"spec", a.specCmd},
		{"features", a.featuresCmd}, {"exec", a.execCmd}, {"ps", a.psCmd}, {"events", a.eventsCmd},
		{"pause", a.pauseCmd}, {"resume", a.resumeCmd}, {"update", a.updateCmd}, {"limits", a.limitsCmd}, {"batch", a.batchCmd},
		{"group", a.groupCmd},
		{"completion", a.completionCmd},
	}
	for _, c := range commands {
		if len(args) > 0 && args[0] == c.name {
			root.AddCommand(c.make())
			return root
		}
	}
	for _, c := range commands {
		root.AddCommand(c.make())
	}
	return root
}

// usageError is a command line that is wrong.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// oneOf refuses a flag that has none of two values.
func oneOf(flag, value, a, b string) error {
	if value != a && value != b {
		return usagef("--%s %q: want %s or %s", flag, value, a, b)
	}
	return nil
}

// exactArgs wants n positional arguments.
func exactArgs(n int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("%s: %d arguments, want %s", cmd.Name(), len(args), names)
		}
		return nil
	}
}

// reported is an error that was shown already.
type reported struct{ error }

// code is the exit code of the invocation.
func (a *app) code(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return a.exit
	case errors.As(err, &usage), strings.HasPrefix(err.Error(), "unknown command"):
		return supervise.ExitUsage
	case a.exit != 0:
		return a.exit
	}
	return supervise.ExitFailure
}

// report shows an error: one line each.
func (a *app) report(err error) {
	var (
		already reported
		invalid *bundle.Error
		joined  interface{ Unwrap() []error }
	)
	switch {
	case errors.As(err, &already):
		return
	case errors.As(err, &joined):
		for _, e := range joined.Unwrap() {
			a.report(e)
		}
	case errors.As(err, &invalid):
		for _, p := range invalid.Problems {
			a.fail(invalid.File + ": " + p.String())
		}
	default:
		a.fail(err.Error() + a.hint(err))
	}
}

// fail writes an error to standard error and to the log.
func (a *app) fail(text string) {
	text = oneLine(strings.TrimSpace(text))
	a.console.printf("%s: %s\n", a.name, text)
	a.logLine("error", text)
}

// hint is what to do about an error, when that is not obvious from it.
func (a *app) hint(err error) string {
	var usage usageError
	switch {
	case errors.As(err, &usage), strings.HasPrefix(err.Error(), "unknown command"):
		return "; see " + a.name + " --help"
	case errors.Is(err, runtime.ErrExist):
		return "; mlrun delete removes it, or choose another id"
	case errors.Is(err, runtime.ErrNotExist):
		return "; mlrun list shows those that do"
	case errors.Is(err, group.ErrNotExist):
		return "; mlrun group ls shows those that there are"
	}
	return ""
}

// open opens the state directory.
func (a *app) open() (*runtime.Runtime, error) {
	return runtime.New(runtime.Options{Root: a.root, Log: a.logger()})
}
