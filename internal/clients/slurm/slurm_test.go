//go:build linux

package slurm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"mlrun/internal/clients"
)

func TestMain(m *testing.M) { clients.Main(m) }

// deadline is for everything that is waited for: what takes a second on an idle machine.
const deadline = 90 * time.Second

// user is somebody whose jobs run.
type user struct {
	name string
	id   *syscall.Credential
}

var users = []user{{name: "root"}, {name: "nobody", id: &syscall.Credential{Uid: 65534, Gid: 65534}}}

// scratch returns a directory that every user can read, and a path in it where slurm-up can put a cluster.
func scratch(t *testing.T) (dir, cluster string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: slurmd starts jobs as other users")
	}
	for program, pkg := range map[string]string{
		"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "srun": "slurm-client", "setpriv": "util-linux",
	} {
		clients.Need(t, program, "Debian package "+pkg)
	}
	dir, err := os.MkdirTemp("", "mlrun-slurm-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // t.TempDir is below a directory of root's
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir, filepath.Join(dir, "cluster")
}

// slurmUp is the command that runs a cluster in dir.
func slurmUp(t *testing.T, ctx context.Context, dir string, command ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, "../../../scripts/slurm-up", append([]string{dir}, command...)...)
	cmd.Env = append(os.Environ(), "MLRUN="+clients.Mlrun(t))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // SIGKILL would leave it no time to end jobs
	cmd.WaitDelay = deadline
	return cmd
}

// cluster is a Slurm cluster that runs.
type cluster struct {
	dir   string // the directory of its files
	work  string // a directory that everybody can write to
	up    *exec.Cmd
	stdin io.Closer
	ended chan error // gets the result of up, and is closed
}

// start starts a cluster; the test has to stop it, and it is ended with the test at the latest.
func start(t *testing.T) *cluster {
	t.Helper()
	dir, sub := scratch(t)
	c := &cluster{dir: sub, work: filepath.Join(dir, "work"), up: slurmUp(t, context.Background(), sub), ended: make(chan error, 1)}
	if err := os.Mkdir(c.work, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(c.work, 0o777); err != nil {
		t.Fatal(err)
	}
	stdin, err := c.up.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = stdin // closed when this process ends, which ends the cluster
	stderr, err := c.up.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.cleanup(t) })
	ready := make(chan bool, 1)
	said := &strings.Builder{}
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(said, lines.Text())
			if strings.Contains(lines.Text(), "slurm-up: ready") {
				ready <- true
			}
		}
		err := c.up.Wait()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, said)
		}
		c.ended <- err
		close(c.ended)
	}()
	select {
	case <-ready:
	case err := <-c.ended:
		t.Fatalf("slurm-up ended: %v", err)
	case <-time.After(3 * deadline): // it has deadlines of its own
		t.Fatal("slurm-up is not ready")
	}
	return c
}

// stop ends the cluster, and fails the test if something of it is left.
func (c *cluster) stop(t *testing.T) {
	t.Helper()
	if n := len(processes(c.dir)); n < 4 {
		t.Errorf("%d processes of the cluster were found; at least slurm-up, munged, slurmctld and slurmd run", n)
	}
	c.stdin.Close()
	select {
	case err := <-c.ended:
		if err != nil {
			t.Errorf("slurm-up: %v", err)
		}
	case <-time.After(2 * deadline):
		t.Fatal("slurm-up does not end")
	}
	if left := processes(c.dir); len(left) > 0 {
		t.Errorf("slurm-up has left processes:\n%s", strings.Join(left, "\n"))
	}
}

// cleanup ends the cluster of a test that has not stopped it.
func (c *cluster) cleanup(t *testing.T) {
	if t.Failed() {
		for _, name := range []string{"slurmctld", "slurmd"} {
			log, _ := os.ReadFile(filepath.Join(c.dir, "log", name))
			t.Logf("the end of the log of %s:\n%s", name, log[max(0, len(log)-4000):])
		}
	}
	c.stdin.Close()
	select {
	case <-c.ended:
	case <-time.After(2 * deadline):
		c.up.Process.Kill() // its daemons end with it
	}
}

// processes lists the processes that have text in their command line or their environment, but not this one.
func processes(text string) (found []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if dir != fmt.Sprintf("/proc/%d", os.Getpid()) && (bytes.Contains(args, []byte(text)) || bytes.Contains(env, []byte(text))) {
			found = append(found, filepath.Base(dir)+": "+string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", deadline, what)
		}
	}
}

// gone waits until no process has text in its command line or its environment.
func gone(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(deadline); ; time.Sleep(50 * time.Millisecond) {
		left := processes(text)
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left after %v:\n%s", deadline, strings.Join(left, "\n"))
		}
	}
}

// command is a client of the cluster. Its environment is little, so that a job has what the test says.
func (c *cluster) command(t *testing.T, u user, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = c.work
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "SLURM_CONF=" + c.dir + "/slurm.conf", "WHO=the caller"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.id}
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs a client to its end.
func (c *cluster) run(t *testing.T, u user, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := c.command(t, u, name, args...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	if e := cmd.Run(); cmd.ProcessState == nil {
		t.Fatalf("%s: %v", name, e)
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// must runs a client that has to succeed, and returns its output.
func (c *cluster) must(t *testing.T, u user, name string, args ...string) string {
	t.Helper()
	out, stderr, code := c.run(t, u, name, args...)
	if code != 0 {
		t.Fatalf("%s %q: exit code %d: %s", name, args, code, stderr)
	}
	return strings.TrimSpace(out)
}

// bundle makes a bundle with a variable in its environment. The program is named by srun: Slurm replaces process.args.
func (c *cluster) bundle(t *testing.T, name, variable string) string {
	t.Helper()
	dir := filepath.Join(c.work, "bundles", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{
		"ociVersion": "1.0.2",
		"root": {"path": "rootfs"},
		"process": {"args": ["sh"], "cwd": "/", "env": ["PATH=/usr/bin:/bin", "WHO=the bundle", %q]},
		"linux": {"resources": {"memory": {"limit": %d}}}
	}`, variable, 64<<20)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(dir, "rootfs")); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	return dir
}

// empty tells whether there is no such file.
func empty(t *testing.T, pattern string) bool {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return len(found) == 0
}

// clean waits until mlrun has no container of the user: Slurm cleans up after srun has the exit code.
func (c *cluster) clean(t *testing.T, u user) {
	t.Helper()
	dir := filepath.Join(c.dir, "mlrun", u.name)
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the state directory was never used: %v", err)
	}
	until(t, "the state directory of mlrun is empty", func() bool { return empty(t, dir+"/*") })
	gone(t, dir) // it is in the command line of every mlrun
}

func TestCluster(t *testing.T) {
	c := start(t)
	t.Run("jobs", func(t *testing.T) { // returns when those of all users have
		for _, u := range users {
			t.Run(u.name, func(t *testing.T) {
				t.Parallel()
				t.Run("steps", func(t *testing.T) { testSteps(t, c, u) })
				t.Run("array", func(t *testing.T) { testArray(t, c, u) })
				t.Run("cancel", func(t *testing.T) { testCancel(t, c, u) })
			})
		}
	})
	until(t, "the bundles of slurmd are removed", func() bool { return empty(t, filepath.Join(c.dir, "slurmd", "oci-job*")) })
	c.stop(t)
}

func testSteps(t *testing.T, c *cluster, u user) {
	mark := "FROM=config.json of " + u.name
	bundle := c.bundle(t, u.name, mark)
	uid := fmt.Sprint(os.Getuid())
	if u.id != nil {
		uid = fmt.Sprint(u.id.Uid)
	}
	for _, test := range []struct {
		name, script   string
		code           int
		stdout, stderr string // the whole, and what is in it
		reason         string // in the verdict
	}{
		{name: "output", script: `echo hello from uid $(id -u)`, stdout: "hello from uid " + uid + "\n", reason: "exited"},
		{name: "exit code", script: `exit 7`, code: 7, stderr: "Exited with exit code 7", reason: "exited"},
		{name: "signal", script: `kill -USR1 $$`, code: 128 + 10, reason: "signaled"},
		{
			name: "environment", script: `echo $FROM, $WHO, ${SLURM_JOB_ID:+a job}`,
			stdout: "config.json of " + u.name + ", the caller, a job\n", reason: "exited",
		},
		{
			name: "memory limit", script: `head -c 300M /dev/zero | tail`, code: 137,
			stderr: "mlrun: memory limit exceeded: ", reason: "memory-limit",
		},
		{
			name: "daemon", script: `setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo started`, stdout: "started\n", reason: "exited",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, code := c.run(t, u, "srun", "--container="+bundle, "sh", "-c", test.script)
			if code != test.code || stdout != test.stdout || !strings.Contains(stderr, test.stderr) {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d, %q, and %q in it",
					code, stdout, stderr, test.code, test.stdout, test.stderr)
			}
			if reason := c.reason(t, u); reason != test.reason {
				t.Errorf("the verdict says %q; want %q", reason, test.reason)
			}
			if left := processes(mark); len(left) > 0 {
				t.Errorf("left when srun had ended:\n%s", strings.Join(left, "\n"))
			}
		})
	}
	c.clean(t, u)
}

// reason is that of the only verdict of the user, which is removed.
func (c *cluster) reason(t *testing.T, u user) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(c.dir, "verdict", u.name+".*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, verdicts: %q; want one", err, files)
	}
	var verdict struct{ Reason string }
	text, err := os.ReadFile(files[0])
	if err == nil {
		err = json.Unmarshal(text, &verdict)
	}
	if err == nil {
		err = os.Remove(files[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	return verdict.Reason
}

// task matches what scontrol says of one job of an array.
var task = regexp.MustCompile(`(?m)^.* ArrayTaskId=(\d+) .* ExitCode=(\d+:\d+) `)

func testArray(t *testing.T, c *cluster, u user) {
	const jobs = 20
	for i := range jobs {
		c.bundle(t, fmt.Sprint(u.name, i), fmt.Sprint("NUMBER=", i))
	}
	script := filepath.Join(c.work, u.name+".sh")
	text := fmt.Sprintf("#!/bin/sh\nexec srun --container=%s$SLURM_ARRAY_TASK_ID sh -c 'echo number $NUMBER; exit $NUMBER'\n",
		filepath.Join(c.work, "bundles", u.name))
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	id := c.must(t, u, "sbatch", "--parsable", fmt.Sprintf("--array=0-%d", jobs-1), "--output="+c.work+"/array-%A-%a", script)
	until(t, "all jobs of the array have ended", func() bool { return c.must(t, u, "squeue", "--noheader", "--job="+id) == "" })
	codes := map[string]string{}
	for _, m := range task.FindAllStringSubmatch(c.must(t, u, "scontrol", "--oneliner", "show", "job", id), -1) {
		codes[m[1]] = m[2]
	}
	for i := range jobs {
		n := fmt.Sprint(i)
		out, err := os.ReadFile(filepath.Join(c.work, "array-"+id+"-"+n))
		if codes[n] != n+":0" || err != nil || !strings.Contains(string(out), "number "+n+"\n") {
			t.Errorf("job %d of the array: exit code %q, %v, output %q", i, codes[n], err, out)
		}
	}
	c.clean(t, u)
}

func testCancel(t *testing.T, c *cluster, u user) {
	for _, test := range []struct {
		name, trap string
		code       int
	}{
		{name: "ends", code: 128 + 15},
		{name: "ignores", trap: `trap "" TERM; `, code: -1}, // srun does not wait for the SIGKILL, and its exit code is any
	} {
		t.Run(test.name, func(t *testing.T) {
			name := "cancel-" + u.name + "-" + test.name
			note := filepath.Join(c.work, name)
			script := test.trap + `setsid sleep 1000 & echo $SLURM_JOB_ID $$ >"$0.new" && mv "$0.new" "$0"; while :; do sleep 1; done`
			srun := c.command(t, u, "srun", "--container="+c.bundle(t, name, "MARK="+name), "sh", "-c", script, note)
			if err := srun.Start(); err != nil {
				t.Fatal(err)
			}
			var job, pid string
			until(t, "the job says that it runs", func() bool {
				text, err := os.ReadFile(note)
				if err == nil {
					fmt.Sscan(string(text), &job, &pid)
				}
				return err == nil
			})
			marked := processes("MARK=" + name)
			if len(marked) < 2 || !strings.Contains(strings.Join(marked, "\n"), pid+": sh -c ") {
				t.Errorf("process %s and its children were not found: %q", pid, marked)
			}
			c.must(t, u, "scancel", job)
			gone(t, "MARK="+name)
			c.clean(t, u)
			if err := srun.Wait(); test.code >= 0 && srun.ProcessState.ExitCode() != test.code {
				t.Errorf("srun: %v, want exit code %d", err, test.code)
			}
		})
	}
}

// TestCommand shows what docs/slurm.md begins with: a cluster for one command.
func TestCommand(t *testing.T) {
	dir, sub := scratch(t)
	c := &cluster{dir: sub, work: dir}
	ctx, cancel := context.WithTimeout(context.Background(), 3*deadline)
	defer cancel()
	cmd := slurmUp(t, ctx, sub, "srun", "--container="+c.bundle(t, "plain", "A=b"), "sh", "-c", "read line; echo got $line; exit 3")
	cmd.Stdin = strings.NewReader("input\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, _ := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != 3 || string(out) != "got input\n" {
		t.Errorf("exit code %d, output %q, stderr %s", code, out, &stderr)
	}
	if left := processes(dir); len(left) > 0 {
		t.Errorf("left:\n%s", strings.Join(left, "\n"))
	}
}

// TestKilled shows that no daemon outlives a slurm-up that had no time to end it.
func TestKilled(t *testing.T) {
	c := start(t)
	if err := c.up.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.stdin.Close() // the process that waits for its end is none of the daemons
	gone(t, c.dir)
}
