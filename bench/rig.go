package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// rig is everything that is measured with: the programs, built for this run, and a place for their files.
type rig struct {
	ctx   context.Context
	runs  int
	dir   string // removed at the end
	tools tools

	mlrun, touch, hold, leave, nop string     // programs
	crowd, flee, honest, spawner   string     // programs for Linux
	modes                          []*limiter // mlrun limit, in each of its ways to meter
	watch                          time.Duration
	members                        int     // runs in groups, beside those that are measured
	growth                         string  // of the names of growths
	session, tag                   string  // what the processes are marked with; no tag, no mark
	count                          int     // of files and ids handed out
	problems                       []error // with clearing up
}

func newRig(ctx context.Context, runs int, watch time.Duration) (*rig, error) {
	dir, err := scratch()
	if err != nil {
		return nil, err
	}
	r := &rig{ctx: ctx, runs: runs, watch: watch, dir: dir, session: filepath.Base(dir)}
	if err := r.build(); err != nil {
		r.close()
		return nil, err
	}
	r.tools = findTools()
	r.findModes()
	return r, nil
}

func (r *rig) close() { os.RemoveAll(r.dir) }

// scratch makes a directory in memory where there is one, as the state directory of a user has it ($XDG_RUNTIME_DIR, /run).
func scratch() (string, error) {
	for _, parent := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/dev/shm"} {
		if parent == "" || !executable(parent) {
			continue
		}
		if dir, err := os.MkdirTemp(parent, "mlrun-bench-"); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp("", "mlrun-bench-")
}

// executable tells whether programs can be executed from a directory: it may be mounted noexec.
func executable(dir string) bool {
	f, err := os.CreateTemp(dir, "mlrun-bench-")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString("#!/bin/sh\nexit 0\n")
	if f.Chmod(0o700) != nil || f.Close() != nil || err != nil {
		return false
	}
	return exec.Command(f.Name()).Run() == nil
}

// build makes mlrun and the workloads, the way a release is made.
func (r *rig) build() error {
	programs := map[string]*string{"cmd/mlrun": &r.mlrun, "bench/workload/touch": &r.touch, "bench/workload/hold": &r.hold,
		"bench/workload/leave": &r.leave}
	if runtime.GOOS == "linux" {
		programs["bench/workload/crowd"] = &r.crowd
		programs["bench/workload/flee"] = &r.flee
		programs["bench/workload/honest"] = &r.honest
		programs["bench/workload/spawn"] = &r.spawner
	}
	for name, program := range programs {
		*program = r.path(filepath.Base(name))
		cmd := exec.CommandContext(r.ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", *program, "mlrun/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	var err error
	r.nop, err = exec.LookPath("true")
	return err
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// fresh is a name that was not used before.
func (r *rig) fresh(kind string) string {
	r.count++
	return fmt.Sprintf("%s-%d", kind, r.count)
}

// root is the state directory of the containers.
func (r *rig) root() string { return r.path("root") }

// bundle writes a bundle that runs args under a limit in bytes.
func (r *rig) bundle(limit int64, args ...string) (dir string, err error) {
	type object = map[string]any
	dir = r.path(r.fresh("bundle"))
	return dir, writeConfig(dir, object{
		"ociVersion": "1.0.2",
		"process":    object{"args": args, "cwd": "/", "env": []string{"PATH=" + os.Getenv("PATH"), tagName + "=" + r.tag}},
		"root":       object{"path": "/"},
		"linux":      object{"resources": object{"memory": object{"limit": limit}}},
	})
}

func writeConfig(dir string, config any) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644)
}
