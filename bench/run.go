package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mlrun/bench/workload/note"
)

// patience is how long anything that is measured may take.
const patience = time.Minute

// child is a process that this program started and has not waited for yet.
type child struct {
	args  []string
	proc  *os.Process
	start time.Time
	done  *time.Timer // kills it when it takes too long
}

// ended is what became of a child.
type ended struct {
	took  time.Duration // from before the fork to its end
	at    time.Time     // its end
	state *os.ProcessState
}

// spawn starts a program by its path with nothing but /dev/null open: package os does it with vfork semantics, like posix_spawn.
func (r *rig) spawn(args ...string) (*child, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	attr := &os.ProcAttr{Files: []*os.File{null, null, null}, Env: os.Environ(), Dir: r.dir}
	c := &child{args: args, start: time.Now()}
	if c.proc, err = os.StartProcess(args[0], args, attr); err != nil {
		return nil, err
	}
	c.done = time.AfterFunc(patience, func() { _ = c.proc.Kill() })
	return c, nil
}

func (c *child) wait() (ended, error) {
	st, err := c.proc.Wait()
	e := ended{at: time.Now(), state: st}
	e.took = e.at.Sub(c.start)
	if !c.done.Stop() && err == nil {
		err = fmt.Errorf("%s: not done after %v", c.args[0], patience)
	}
	return e, err
}

// end asks the child to end and waits for it.
func (c *child) end() (ended, error) {
	_ = c.proc.Signal(syscall.SIGTERM)
	return c.wait()
}

// run starts a program and waits for it.
func (r *rig) run(args ...string) (ended, error) {
	if err := r.ctx.Err(); err != nil {
		return ended{}, err
	}
	c, err := r.spawn(args...)
	if err != nil {
		return ended{}, err
	}
	return c.wait()
}

// time is how long a program takes that must succeed.
func (r *rig) time(args ...string) (time.Duration, error) {
	e, err := r.run(args...)
	if err == nil && !e.state.Success() {
		err = fmt.Errorf("%s: %v", strings.Join(args, " "), e.state)
	}
	return e.took, err
}

// output is what a program prints that must succeed.
func (r *rig) output(args ...string) ([]byte, error) {
	cmd := exec.CommandContext(r.ctx, args[0], args[1:]...)
	cmd.Dir = r.dir
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(failed.Stderr)))
	}
	return out, err
}

// verdict is the part of mlrun's verdict that is used here; docs/verdict.md has all of it.
type verdict struct {
	Reason string
	Memory struct {
		AtBreach, Peak, Samples int64
		MonitorCPUMS            float64
	}
}

// limiter is a program that limits the memory of a command.
type limiter struct {
	name   string
	args   []string // before the limit
	report string   // file of the verdict, set by a flag that command adds; "" for a limiter without one
}

// limiters are mlrun, and the other one if it is there.
func (r *rig) limiters() []*limiter {
	list := []*limiter{{name: "mlrun limit", args: []string{r.mlrun, "limit", "--quiet"}, report: r.path(r.fresh("verdict"))}}
	if r.tools.memlimit != "" {
		list = append(list, &limiter{name: filepath.Base(r.tools.memlimit), args: []string{r.tools.memlimit}})
	}
	return list
}

// command is the command line that runs command under a limit in bytes.
func (l *limiter) command(limit int64, command ...string) []string {
	args := slices.Clone(l.args)
	if l.report != "" {
		args = append(args, "--report", l.report)
	}
	return append(append(args, strconv.FormatInt(limit, 10), "--"), command...)
}

// verdict reads the verdict of the last run; the zero verdict when the limiter writes none.
func (l *limiter) verdict() (v verdict, err error) {
	if l.report == "" {
		return v, nil
	}
	b, err := os.ReadFile(l.report)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(b, &v)
}

// note makes a note for a workload.
func (r *rig) note() (n *note.Note, file string, err error) {
	file = r.path("note")
	n, err = note.Create(file)
	return n, file, err
}

// await polls until a workload has noted something. Only what is measured must not poll.
func (r *rig) await(what func() int64) (int64, error) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if v := what(); v != 0 {
			return v, nil
		}
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("the workload is not ready after %v", patience)
}
