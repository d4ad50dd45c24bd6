package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"mlrun/runtime"
	"mlrun/runtime/pty"
)

// exitExec is the exit code of exec when the process was not executed and a shell would have no code for it.
const exitExec = 255

// execFlags are the flags of exec.
type execFlags struct {
	process, cwd, user, pidFile, console string
	env, rlimits                         []string
	groups                               []uint
	detach, tty, noNewPrivs, ignored     bool
	preserveFDs                          int
	ignoreUnsupported                    bool
	text                                 string
}

func (e *execFlags) add(f *pflag.FlagSet) {
	f.SetInterspersed(false)
	f.StringVarP(&e.process, "process", "p", "", "`FILE` with the process object of the runtime-spec, in place of a command")
	f.BoolVarP(&e.detach, "detach", "d", false, "return when the program runs")
	f.BoolVarP(&e.tty, "tty", "t", false, "give it a terminal of its own")
	f.StringArrayVarP(&e.env, "env", "e", nil, "set a variable: `NAME=VALUE`; may be repeated")
	f.StringVarP(&e.user, "user", "u", "", "run as `UID[:GID]`")
	f.UintSliceVarP(&e.groups, "additional-gids", "g", nil, "supplementary group `GID`; may be repeated")
	f.StringVar(&e.cwd, "cwd", "", "working `DIR`ectory")
	f.StringVar(&e.pidFile, "pid-file", "", "write the process id to `FILE`")
	f.StringVar(&e.console, "console-socket", "", "send the master of the terminal to the unix socket `PATH`")
	f.IntVar(&e.preserveFDs, "preserve-fds", 0, "pass `N` descriptors from 3 on to the process")
	f.BoolVar(&e.noNewPrivs, "no-new-privs", false, "set no_new_privs")
	f.BoolVar(&e.ignoreUnsupported, "ignore-unsupported", false, "ignore properties of the process that are not supported instead of refusing them")
	f.StringArrayVar(&e.rlimits, "rlimit", nil, "lower a limit of the process, such as nofile=64 (`TYPE=SOFT:HARD`); may be repeated")
	f.StringVar(&e.text, "cgroup", "", "accepted for compatibility: mlrun uses no cgroups")
	f.BoolVar(&e.ignored, "ignore-paused", false, "accepted for compatibility: a paused container executes nothing")
}

func (a *app) execCmd() *cobra.Command {
	var e execFlags
	cmd := &cobra.Command{
		Use:   "exec [flags] ID COMMAND [ARG ...]",
		Short: "run one more process in a container",
		Long: `exec runs a command in a container that is created or running: under its limits, and as a part of it that ends with it. The
process is that of the container with another command and the changes that flags ask for, or the one of --process.

  mlrun exec ID ps -ef
  mlrun exec -t ID sh
  mlrun exec --process process.json ID

EXIT STATUS
  that of the command, with --detach 0 when it was started, or
    2  the command line was wrong
  126  the command was found and cannot be executed
  127  the command was not found
  255  it was not executed for another reason
128+N  it was ended by signal N`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.exec(&e, args) },
	}
	e.add(cmd.Flags())
	return cmd
}

func (a *app) exec(e *execFlags, args []string) error {
	switch {
	case len(args) == 0:
		return usagef("exec: no id: want mlrun exec ID COMMAND")
	case len(args) == 1 && e.process == "":
		return usagef("exec: no command: want mlrun exec ID COMMAND, or --process FILE")
	case len(args) > 1 && e.process != "":
		return usagef("exec: %q: --process says what to execute", args[1])
	}
	if err := a.checkPreserved(e.preserveFDs); err != nil {
		return err
	}
	changes, err := parseRlimits(e.rlimits)
	if err != nil {
		return err
	}
	a.exit = exitExec // until it runs
	rt, err := a.open()
	if err != nil {
		return err
	}
	o, tty, err := e.options(rt, args)
	if err != nil {
		return err
	}
	switch {
	case e.console != "" && !tty:
		return usagef("--console-socket: the process has no terminal; want --tty too")
	case tty && e.detach && e.console == "":
		return usagef("--detach: who has the terminal then? want --console-socket too")
	}
	if err := checkPIDFile(e.pidFile); err != nil {
		return err
	}
	o.Rlimits = changes
	o.CallerReaps = e.detach && e.pidFile != ""
	return a.execute(rt, args[0], e, o, tty)
}

// options makes the process and its files.
func (e *execFlags) options(rt *runtime.Runtime, args []string) (o runtime.ExecOptions, tty bool, err error) {
	o = runtime.ExecOptions{File: "process", Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, IgnoreUnsupported: e.ignoreUnsupported}
	for fd := 3; fd < 3+e.preserveFDs; fd++ {
		o.Files = append(o.Files, os.NewFile(uintptr(fd), "preserved"))
	}
	if e.process != "" {
		o.File = e.process
		if o.Process, err = readFile(e.process); err != nil {
			return o, false, err
		}
		var p struct {
			Terminal bool `json:"terminal"`
		}
		if !json.Valid(o.Process) {
			return o, false, errors.New(e.process + ": not JSON; want a process object of the runtime-spec")
		}
		_ = json.Unmarshal(o.Process, &p) // what is wrong with it is said by those who check it
		return o, p.Terminal || e.tty, nil
	}
	p, err := rt.Process(args[0])
	if err != nil {
		return o, false, err
	}
	p["args"] = args[1:]
	delete(p, "terminal")
	delete(p, "consoleSize")
	if len(e.env) > 0 {
		env, _ := p["env"].([]any)
		for _, v := range e.env {
			env = append(env, v) // the last one of a name wins
		}
		p["env"] = env
	}
	if e.cwd != "" {
		p["cwd"] = e.cwd
	}
	if e.noNewPrivs {
		p["noNewPrivileges"] = true
	}
	if err := e.setUser(p); err != nil {
		return o, false, err
	}
	o.Process, err = json.Marshal(p)
	return o, e.tty, err
}

// setUser applies --user UID[:GID] and --additional-gids.
func (e *execFlags) setUser(p map[string]any) error {
	if e.user == "" && len(e.groups) == 0 {
		return nil
	}
	u, _ := p["user"].(map[string]any)
	if u == nil {
		u = map[string]any{}
	}
	p["user"] = u
	if e.user != "" {
		uid, gid, both := strings.Cut(e.user, ":")
		for name, text := range map[string]string{"uid": uid, "gid": gid} {
			if name == "gid" && !both {
				continue
			}
			n, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				return usagef("--user %q: want UID or UID:GID, as numbers", e.user)
			}
			u[name] = n
		}
	}
	groups, _ := u["additionalGids"].([]any)
	for _, gid := range e.groups {
		groups = append(groups, gid)
	}
	if len(groups) > 0 {
		u["additionalGids"] = groups
	}
	return nil
}

// execute runs the process, and waits for it unless it is detached.
func (a *app) execute(rt *runtime.Runtime, id string, e *execFlags, o runtime.ExecOptions, tty bool) error {
	ctx, finish := context.Background(), func() {}
	if tty {
		t, err := pty.Open(pty.Size{})
		if err != nil {
			return err
		}
		defer t.Close()
		o.Terminal = true
		o.Files = append([]*os.File{t.Slave, t.Slave, t.Slave}, o.Files[3:]...)
		if e.console != "" {
			err = t.Send(e.console)
		} else {
			finish, err = t.Relay(os.Stdin, os.Stdout)
		}
		if err != nil {
			return err
		}
	}
	x, err := rt.Exec(ctx, id, o)
	if tty {
		o.Files[0].Close() // the process has it, or never will
	}
	if err != nil {
		finish()
		return a.launchFailed(err)
	}
	defer x.Close()
	if e.pidFile != "" {
		if err := runtime.WritePIDFile(e.pidFile, x.ID.PID); err != nil {
			_ = x.Signal(unix.SIGKILL)
			finish()
			return err
		}
	}
	if e.detach {
		a.exit = 0
		return nil
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	go func() {
		for s := range signals {
			_ = x.Signal(s.(syscall.Signal))
		}
	}()
	status, known, err := x.Wait(ctx)
	finish()
	switch {
	case err != nil:
		return err
	case !known:
		return errors.New(id + ": nobody knows how the process ended")
	case status.Signaled():
		a.exit = 128 + int(status.Signal())
	default:
		a.exit = status.ExitStatus()
	}
	return nil
}
