package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	limit time.Duration
	done  *time.Timer // kills it when it takes too long
}

// ended is what became of a child.
type ended struct {
	took  time.Duration // from before the fork to its end
	at    time.Time     // its end
	state *os.ProcessState
}

// spawn starts a program by its path with nothing but /dev/null open: package os does it with vfork semantics, like posix_spawn.
func (r *rig) spawn(args ...string) (*child, error) { return r.spawnFor(patience, args...) }

// spawnFor starts a program that may take so long.
func (r *rig) spawnFor(limit time.Duration, args ...string) (*child, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	attr := &os.ProcAttr{Files: []*os.File{null, null, null}, Env: os.Environ(), Dir: r.dir}
	if r.tag != "" {
		attr.Env = append(attr.Env, tagName+"="+r.tag)
	}
	c := &child{args: args, limit: limit, start: time.Now()}
	start := func() { c.proc, err = os.StartProcess(args[0], args, attr) }
	if a := r.tools.apart[args[0]]; a != nil {
		a.do(start)
	} else {
		start()
	}
	if err != nil {
		return nil, err
	}
	c.done = time.AfterFunc(limit, func() { _ = c.proc.Kill() })
	return c, nil
}

func (c *child) wait() (ended, error) {
	st, err := c.proc.Wait()
	e := ended{at: time.Now(), state: st}
	e.took = e.at.Sub(c.start)
	if !c.done.Stop() && err == nil {
		err = fmt.Errorf("%s: not done after %v", c.args[0], c.limit)
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

// note makes a note for a workload.
func (r *rig) note() (n *note.Note, file string, err error) {
	file = r.path("note")
	n, err = note.Create(file)
	return n, file, err
}

// await polls until a workload has noted something. Only what is measured must not poll.
func (r *rig) await(what func() int64) (int64, error) { return r.awaitFor(patience, what) }

func (r *rig) awaitFor(limit time.Duration, what func() int64) (int64, error) {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if v := what(); v != 0 {
			return v, nil
		}
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("the workload is not ready after %v", limit)
}
