package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"mlrun/bundle"
	"mlrun/runtime"
	"mlrun/runtime/supervise"
)

// createFlags are the flags of run and create.
type createFlags struct {
	bundle, id, memory, grace, group, pidFile, report string
	preserveFDs                                       int
	ignoreUnsupported                                 bool
	rlimits                                           []string
	memoryFlags
	budgetFlags
	admissionFlags
}

// memoryFlags are how a memory limit is watched, and what happens over it.
type memoryFlags struct{ onBreach, overshoot, meter string }

func (m *memoryFlags) add(f *pflag.FlagSet) {
	f.StringVar(&m.onBreach, "on-breach", "", "over the limit: kill, kill-largest, kill-newest, freeze or signal:NAME (`ACTION`; default kill)")
	f.StringVar(&m.overshoot, "overshoot", "", "by how much (`SIZE`) the limit may be exceeded before that is noticed; mlrun features has the default")
	f.StringVar(&m.meter, "meter", "", "what wakes the meter: events (of the kernel, beside deadlines), poll (deadlines), or auto (`MODE`; default auto)")
}

// set puts the flags that were given into o.
func (m *memoryFlags) set(f *pflag.FlagSet, o *runtime.CreateOptions) error {
	if err := notEmpty(f, "on-breach", "overshoot", "meter"); err != nil {
		return err
	}
	if m.onBreach != "" {
		b, err := bundle.ParseBreach(m.onBreach)
		if err != nil {
			return usagef("--%v", err)
		}
		o.OnBreach = &b
	}
	if m.overshoot != "" {
		n, err := bundle.ParseOvershoot(m.overshoot)
		if err != nil {
			return usagef("--%v", err)
		}
		o.Overshoot = n
	}
	if m.meter != "" {
		v, err := bundle.ParseMeter(m.meter)
		if err != nil {
			return usagef("--%v", err)
		}
		o.Meter = &v
	}
	return nil
}

func (c *createFlags) add(f *pflag.FlagSet) {
	f.StringVarP(&c.bundle, "bundle", "b", "", "the bundle's `DIR`ectory; the argument is the id then")
	f.StringVar(&c.id, "id", "", "`ID` of the container; the argument is the bundle then")
	f.StringVar(&c.memory, "memory", "", "memory limit in place of the bundle's: an integer with G, M, K, B or nothing (`SIZE`)")
	f.StringVar(&c.grace, "grace", "", "`TIME` between SIGTERM and SIGKILL when the limit is exceeded: seconds, or 500ms (default 5)")
	f.StringVar(&c.group, "group", "", "the limit `GROUP` that it is in, an id or a label, in place of the bundle's (mlrun group)")
	c.memoryFlags.add(f)
	c.budgetFlags.add(f)
	c.admissionFlags.add(f)
	addRlimits(f, &c.rlimits)
	f.StringVar(&c.pidFile, "pid-file", "", "write the payload's process id to `FILE`")
	f.StringVar(&c.report, "report", "", "write the verdict, a JSON object, to `FILE` at the end; - is standard output")
	f.IntVar(&c.preserveFDs, "preserve-fds", 0, "pass `N` descriptors from 3 on to the payload")
	f.BoolVar(&c.ignoreUnsupported, "ignore-unsupported", false, "warn about properties that are not supported instead of refusing them")
}

// notEmpty refuses flags that were given without a value: an unset variable in a script, most likely.
func notEmpty(f *pflag.FlagSet, names ...string) error {
	for _, name := range names {
		if flag := f.Lookup(name); flag != nil && flag.Changed && flag.Value.String() == "" {
			return usagef(`--%s: "" is no value`, name)
		}
	}
	return nil
}

// resolve finds out which argument is what: an argument that names a directory with a config.json is the bundle.
func (c *createFlags) resolve(args []string) (dir, id string, err error) {
	dir, id = c.bundle, c.id
	if len(args) > 1 {
		return "", "", usagef("%d arguments: want one bundle, or --bundle DIR and one id", len(args))
	}
	if len(args) == 0 {
		if dir == "" {
			dir = "."
		}
		return dir, id, nil
	}
	arg := args[0]
	switch {
	case arg == "":
		return "", "", usagef(`"": neither a bundle nor an id`)
	case dir != "" && id != "":
		return "", "", usagef("%q: --bundle and --id say it all", arg)
	case dir != "":
		return dir, arg, nil
	case id != "":
		return arg, id, nil
	}
	if _, err := os.Stat(filepath.Join(arg, "config.json")); err == nil || strings.Contains(arg, "/") {
		return arg, "", nil
	}
	if info, err := os.Stat(arg); err == nil && info.IsDir() {
		return arg, "", nil
	}
	if _, err := os.Stat("config.json"); err == nil {
		return ".", arg, nil
	}
	return arg, "", nil
}

// options turns the flags into options of package runtime.
func (a *app) options(f *pflag.FlagSet, c *createFlags, args []string) (o runtime.CreateOptions, err error) {
	if err := notEmpty(f, "id", "bundle", "memory", "grace", "group", "pid-file", "report"); err != nil {
		return o, err
	}
	dir, id, err := c.resolve(args)
	if err != nil {
		return o, err
	}
	if c.memory != "" {
		if o.Memory, err = bundle.ParseSize(c.memory); err != nil {
			return o, usagef("--memory: %v", err)
		}
	}
	if c.grace != "" {
		d, err := bundle.ParseGrace(c.grace)
		if err != nil {
			return o, usagef("--grace: %v", err)
		}
		o.Grace = &d
	}
	if err := c.memoryFlags.set(f, &o); err != nil {
		return o, err
	}
	if err := c.budgetFlags.set(f, &o); err != nil {
		return o, err
	}
	if err := c.admissionFlags.set(f, &o); err != nil {
		return o, err
	}
	if o.Rlimits, err = parseRlimits(c.rlimits); err != nil {
		return o, err
	}
	if err := a.checkPreserved(c.preserveFDs); err != nil {
		return o, err
	}
	if err := errors.Join(checkFile("report", c.report), checkPIDFile(c.pidFile)); err != nil {
		return o, err
	}
	o.ID, o.Group, o.PIDFile, o.Report, o.PreserveFDs = id, c.group, c.pidFile, c.report, c.preserveFDs
	o.Bundle, err = a.load(dir, c.ignoreUnsupported)
	return o, err
}

// checkFile refuses a file that cannot be written for where it is, before anything is done that is to be written there.
func checkFile(flag, path string) error {
	if path == "" || path == "-" {
		return nil
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("--%s %q: a directory; want a file", flag, path)
	}
	return nil
}

// checkPIDFile refuses, too, what is no regular file: a pid file is replaced, and removed at the end, and so would be /dev/null or /dev/stdout.
func checkPIDFile(path string) error {
	if err := checkFile("pid-file", path); err != nil {
		return err
	}
	if info, err := os.Lstat(path); path != "" && err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("--pid-file %q: not a regular file, and it would be replaced; want a new one or a regular file", path)
	}
	return nil
}

// checkPreserved refuses to pass on descriptors that are not open.
func (a *app) checkPreserved(n int) error {
	if n < 0 || n > a.inherited {
		return usagef("--preserve-fds %d: only %d descriptors from 3 on are open", n, a.inherited)
	}
	return nil
}

// load reads a bundle and shows its warnings.
func (a *app) load(dir string, ignoreUnsupported bool) (*bundle.Bundle, error) {
	b, err := bundle.Load(dir, bundle.Options{IgnoreUnsupported: ignoreUnsupported})
	if err != nil {
		return nil, err
	}
	for _, w := range b.Warnings {
		a.notice("warning: %s: %s", filepath.Join(dir, "config.json"), w.Warning())
		a.logLine("warning", w.Warning())
	}
	return b, nil
}

func (a *app) runCmd() *cobra.Command {
	var (
		c      createFlags
		detach bool
		keep   bool
		timed  bool
		v      verbose

		console string
	)
	cmd := &cobra.Command{
		Use:   "run [flags] BUNDLE",
		Short: "create and start a container, and wait for its end",
		Long: `run creates a container from a bundle, starts it, and waits until nothing of it is left.

  mlrun run BUNDLE             the id is generated
  mlrun run --id ID BUNDLE
  mlrun run --bundle DIR ID    the form of other OCI runtimes

With --detach it returns when the program runs; mlrun state, kill and delete do the rest.

EXIT STATUS
  as for mlrun; with --detach 0 when the program was started`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := a.options(cmd.Flags(), &c, args)
			if err != nil {
				return err
			}
			if detach && timed {
				return usagef("--time: a detached run prints nothing; mlrun state has what it has used when it is stopped")
			}
			if detach {
				done, err := consoleTo(&o, console)
				if err != nil {
					return err
				}
				defer done()
				return a.runDetached(o)
			}
			if console != "" {
				return usagef("--console-socket: only with --detach: mlrun run relays the terminal itself")
			}
			every, err := v.every()
			if err != nil {
				return err
			}
			return a.foreground(runtime.RunOptions{CreateOptions: o, Keep: keep, ProgressEvery: every}, func(v *runtime.Verdict) {
				if timed {
					a.console.printf("%s", usageTable(v, o.Bundle.Spec.Process.Args))
				}
			})
		},
	}
	f := cmd.Flags()
	c.add(f)
	v.add(f)
	f.BoolVarP(&detach, "detach", "d", false, "return when the program runs")
	f.BoolVar(&timed, "time", false, "print at the end what was used, in the words of time(1), on standard error")
	f.StringVar(&console, "console-socket", "", "with --detach: send the master of the terminal (process.terminal) to the unix socket `PATH`")
	f.BoolVar(&keep, "keep", false, "keep the state of the finished container until mlrun delete")
	f.BoolVarP(&a.console.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

// runDetached creates and starts.
func (a *app) runDetached(o runtime.CreateOptions) error {
	rt, err := a.open()
	if err != nil {
		return err
	}
	if o.ID == "" {
		if o.ID, err = runtime.GenerateID(o.Bundle.Dir); err != nil {
			return err
		}
	}
	if o.Report == "-" {
		return usagef("--report -: a detached container has no standard output to write to; name a file")
	}
	if err := rt.Create(o); err != nil {
		return a.launchFailed(err)
	}
	if err := rt.Start(o.ID); err != nil {
		if e := rt.Delete(o.ID, true); e != nil {
			err = errors.Join(err, e)
		}
		return a.launchFailed(err)
	}
	fmt.Println(o.ID)
	return nil
}

// launchFailed takes the exit code from an error of a supervisor.
func (a *app) launchFailed(err error) error {
	var le *runtime.LaunchError
	if errors.As(err, &le) {
		a.exit = le.ExitCode
	}
	return err
}

// foreground runs a container in this process and hands its verdict to after, which may be nil.
func (a *app) foreground(o runtime.RunOptions, after func(*runtime.Verdict)) error {
	rt, err := a.open()
	if err != nil {
		return err
	}
	if o.ProgressEvery > 0 {
		limit := o.Bundle.MemoryLimit
		if o.Memory != 0 {
			limit = o.Memory
		}
		o.Progress = func(s runtime.Snapshot) { a.progress(s, limit) }
	}
	o.Warned = func(w runtime.Warning) {
		text := fmt.Sprintf("memory at %d %% of its limit: %s", w.Percent, size(w.Memory))
		a.logLine("info", text)
		if o.ProgressEvery > 0 {
			a.notice("%s", text)
		}
	}
	if o.Admitting == nil {
		o.Admitting, o.Gated = a.admitting(o.ProgressEvery > 0), a.gated(o.ProgressEvery > 0)
	}
	o.Breached = func(n runtime.Notice) {
		text := "memory limit exceeded: " + size(n.Memory) + ": " + consequence(n, o.NoState)
		a.logLine("warning", text)
		a.notice("%s", text)
	}
	if a.signals == nil {
		a.signals = runtime.CatchSignals() // global flags before the command
	}
	o.Foreground = a.signals
	relayed, err := relay(&o.CreateOptions)
	if err != nil {
		return err
	}
	v, err := rt.Run(o)
	relayed()
	if v == nil {
		return err
	}
	a.exit = v.ExitCode
	a.explain(v)
	if after != nil {
		after(v)
	}
	a.interrupted = v.Signal == "SIGINT" && !supervise.IsLimit(v.Reason)
	a.lent = v.Terminal
	if o.Report != "" {
		if e := runtime.WriteReport(o.Report, v); e != nil {
			err = errors.Join(err, e)
			if a.exit == 0 {
				a.exit = supervise.ExitFailure
			}
		}
	}
	return err
}

// consequence says what follows from a breach that does not end the run.
func consequence(n runtime.Notice, anonymous bool) string {
	switch n.Action {
	case "freeze":
		if anonymous {
			return "stopped; Ctrl-C or a signal to mlrun ends it"
		}
		return "stopped; mlrun kill " + n.ID + " TERM ends it, CONT lets it go on"
	case "signal":
		return "sent " + n.Signal + " to the payload"
	}
	return fmt.Sprintf("killed process %d: %s, %s", n.Victim.PID, size(n.Victim.Memory), shorten(n.Victim.Command))
}

func (a *app) progress(s runtime.Snapshot, limit int64) {
	of, about := "", ""
	if limit > 0 {
		of = " of " + size(limit)
	}
	if !s.Exact {
		about = "at most "
	}
	a.notice("memory %s%s%s, %s", about, size(s.Current), of, processes(s.Processes))
}

// explain says why a run ended, unless it just ended.
func (a *app) explain(v *runtime.Verdict) {
	m := v.Memory
	if g := v.Group; g != nil {
		a.endedForGroup(v)
	} else if v.Reason == supervise.ReasonMemory {
		what, used, of := "memory", m.AtBreach, m.Limit
		if m.SwapLimit > 0 && m.AtBreach <= m.Limit {
			what, used, of = "memory and swap", m.AtBreach+m.SwapAtBreach, m.SwapLimit
		}
		a.notice("%s limit exceeded: %s of %s; ended with exit code %d", what, size(used), size(of), v.ExitCode)
		a.largest(v)
	}
	a.overBudget(v)
	if r := v.Rlimit; r != nil {
		a.notice("resource limit exceeded (%s): %s, soft %s, hard %s (%s); ended with exit code %d", r.Certainty, r.Type, r.Soft, r.Hard, r.Unit, v.ExitCode)
	}
	if m.MissedSpike > 0 {
		a.notice("warning: a process was as large as %s between two samples, over the limit of %s", size(m.MissedSpike), size(m.Limit))
	}
	for _, d := range v.Denied {
		a.notice("warning: process %d could not be ended: it has other credentials", d.PID)
	}
}

// largest names the largest processes at a breach.
func (a *app) largest(v *runtime.Verdict) {
	for _, p := range v.Top[:min(len(v.Top), 3)] {
		a.notice("  process %d: %s, %s", p.PID, size(p.Memory), shorten(p.Command))
	}
}

// endedForGroup says for which limit group a run was ended.
func (a *app) endedForGroup(v *runtime.Verdict) {
	g := v.Group
	name := "group " + strconv.FormatInt(g.ID, 10)
	if g.Label != "" {
		name += " (" + g.Label + ")"
	}
	switch g.Unit {
	case "bytes":
		a.notice("memory limit of %s exceeded: %s of %s; ended with exit code %d", name, size(g.Observed), size(g.Limit), v.ExitCode)
		a.largest(v)
	case "processes":
		a.notice("process limit of %s exceeded: %d of %d; ended with exit code %d", name, g.Observed, g.Limit, v.ExitCode)
	default:
		a.notice("ended with %s; exit code %d", name, v.ExitCode)
	}
}

// shorten makes a command line fit into a line.
func shorten(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if len(s) > 60 {
		return s[:57] + "..."
	}
	return s
}

func processes(n int) string {
	if n == 1 {
		return "1 process"
	}
	return strconv.Itoa(n) + " processes"
}

// size writes bytes with a binary unit.
func size(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size {
			s := strconv.FormatFloat(float64(n)/float64(u.size), 'f', 1, 64)
			return strings.TrimSuffix(s, ".0") + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}

// verbose is -v[N], --verbose[=N].
type verbose struct{ value string }

func (v *verbose) add(f *pflag.FlagSet) {
	f.StringVar(&v.value, "verbose", "", "print memory and process count every `N` seconds; -v[N] for short")
	f.Lookup("verbose").NoOptDefVal = "5"
}

func (v *verbose) every() (time.Duration, error) {
	if v.value == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(v.value, 64)
	if err != nil || !(n >= 0.1 && n <= 86400) {
		return 0, usagef("--verbose %q: want seconds from 0.1 to 86400", v.value)
	}
	return time.Duration(n * float64(time.Second)), nil
}

// expandVerbose rewrites -v and -vN, whose value is optional and attached, to the long form, up to the first "--".
func expandVerbose(args []string) []string {
	out := make([]string, 0, len(args))
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...)
		}
		switch rest, ok := strings.CutPrefix(arg, "-v"); {
		case arg == "-v":
			arg = "--verbose"
		case ok && rest != "" && (rest[0] >= '0' && rest[0] <= '9' || rest[0] == '.'):
			arg = "--verbose=" + rest
		}
		out = append(out, arg)
	}
	return out
}

// dieOfSIGINT ends mlrun the way the payload ended, so that a shell loop around it ends too. When the payload had the terminal,
// only its group got the Ctrl-C: the rest of the job gets it now.
func (a *app) dieOfSIGINT() {
	a.signals.Default(unix.SIGINT)
	target := os.Getpid()
	if a.lent {
		target = 0
	}
	if unix.Kill(target, unix.SIGINT) == nil {
		time.Sleep(time.Second) // not reached, unless it is ignored
	}
}
