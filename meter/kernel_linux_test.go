package meter_test

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mlrun/internal/clients"
	"mlrun/meter"
	"mlrun/proc"
)

// prelude is what the scripts have: they answer each step with the pids of the set.
const prelude = `
import ctypes, mmap, os, signal, sys, tempfile
M = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)
def private(n, advice=None):
    m = mmap.mmap(-1, n*M, mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS)
    if advice: m.madvise(advice)
    return m
def touch(m, n, value=1):
    for i in range(0, n*M, 4096): m[i] = value
def read(m, n):
    for i in range(0, n*M, 4096): m[i]
def step(*pids):
    print(os.getpid(), *pids, flush=True)
    if not sys.stdin.readline(): os._exit(0)
def fork(f):
    "starts a child; tell() makes it go on and waits until it has"
    a, b = os.pipe(); c, d = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(b); os.close(c)
        def wait():
            os.write(d, b"x")
            if not os.read(a, 1): os._exit(0)
        try:
            f(wait)
            wait()
        finally:
            os._exit(0)
    os.close(a); os.close(d)
    os.read(c, 1)
    def tell(wait=True):
        os.write(b, b"x")
        if wait: os.read(c, 1)
    return pid, tell
`

// scripts are what programs do between an exact reading and the next bound; the first step is the base.
var scripts = map[string]string{
	"private memory": `
m = private(32)
step()
touch(m, 32)
step()`,
	"copy on write": `
m = private(32); touch(m, 32)
pid, tell = fork(lambda wait: (wait(), touch(m, 32, 2)))
step(pid)
tell()
step(pid)`,
	"copy on write in a child that is new": `
m = private(32); touch(m, 32)
step()
pid, tell = fork(lambda wait: (wait(), touch(m, 32, 2)))
step(pid)
tell()
step(pid)`,
	"only the child has it": `
step()
m = private(32); touch(m, 32)
pid, tell = fork(lambda wait: wait())
m.close()
step(pid)`,
	"only a grandchild has it": `
libc.prctl(36, 1, 0, 0, 0) # PR_SET_CHILD_SUBREAPER
a, b = os.pipe()
step()
def middle(wait):
    m = private(32); touch(m, 32)
    pid, _ = fork(lambda wait: wait())
    os.write(b, b"%d\n" % pid)
pid, tell = fork(middle)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
step(int(os.read(a, 20)))`,
	"huge pages": `
m = private(32, 14) # MADV_HUGEPAGE
n = private(32, 14)
touch(n, 32)
step()
n.close()
touch(m, 32)
step()`,
	"unmapped and mapped": `
m = private(32); touch(m, 32)
pid, tell = fork(lambda wait: wait())
step(pid)
m.close()
m = private(32); touch(m, 32)
step(pid)`,
	"a file instead of another": `
f = tempfile.TemporaryFile(dir="."); f.write(b"x" * 16*M); f.flush()
g = tempfile.TemporaryFile(dir="."); g.write(b"x" * 16*M); g.flush()
m = mmap.mmap(f.fileno(), 16*M, mmap.MAP_SHARED, mmap.PROT_READ); read(m, 16)
n = mmap.mmap(g.fileno(), 16*M, mmap.MAP_SHARED, mmap.PROT_READ)
pid, tell = fork(lambda wait: (read(m, 16), wait()))
step(pid)
m.close()
read(n, 16)
step(pid)`,
	"shared memory": `
m = mmap.mmap(-1, 32*M)
pid, tell = fork(lambda wait: (wait(), touch(m, 16)))
step(pid)
tell()
touch(m, 32)
step(pid)`,
	"a member ends": `
m = mmap.mmap(-1, 32*M); touch(m, 32)
def child(wait):
    touch(m, 32)
    wait()
one, tell = fork(child)
two, _ = fork(child)
step(one, two)
os.kill(one, signal.SIGKILL)
os.waitpid(one, 0)
step(two)`,
	"a program is executed": `
m = private(32); touch(m, 32)
r, w = os.pipe()
pid, tell = fork(lambda wait: (wait(), os.dup2(w, 1), os.execvp("sh", ["sh", "-c", "echo; exec sleep 100"])))
step(pid)
tell(False)
os.read(r, 1)
step(pid)
os.kill(pid, signal.SIGKILL)`,
	"populated at once": `
step()
m = mmap.mmap(-1, 32*M, mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS|0x8000)
step()`,
}

// outsiders is what other processes that end meanwhile can add, which the bound does not promise to see: a Python that ends
// leaves 0.9 MiB of its libraries to another one. Each script moves sixteen times that at least.
const outsiders = 1 * mib

// runScript starts a program that writes a line with its processes at each step, and goes on when it reads one.
func runScript(t *testing.T, py, script string) (in io.Writer, lines *bufio.Scanner) {
	t.Helper()
	c := exec.Command(py, "-c", prelude+script)
	c.Dir = t.TempDir()
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, _ := c.StdinPipe()
	stdout, _ := c.StdoutPipe()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); c.Process.Kill(); c.Wait() })
	return stdin, bufio.NewScanner(stdout)
}

// TestBoundHolds lets programs do what changes memory without anybody seeing it in resident sizes.
func TestBoundHolds(t *testing.T) {
	py := clients.Need(t, "python3", "to fork without exec")
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			in, lines := runScript(t, py, script)
			m := newMeter(t)
			var base meter.Reading
			for n := 0; lines.Scan(); n++ {
				m.Set(identify(t, lines.Text()))
				if n > 0 {
					bound, _ := m.Bound(base.At.Add(time.Second/2), 0)
					exact := meter.New(proc.Root)
					exact.Set(identify(t, lines.Text()))
					if r := exact.Exact(); bound < r.Memory-outsiders {
						t.Errorf("step %d: bound %d KiB, but the processes have %d (base %d)", n, bound>>10, r.Memory>>10, base.Memory>>10)
					}
					exact.Close()
				} else {
					base = m.Exact()
				}
				fmt.Fprintln(in)
			}
			if base.Processes == 0 {
				t.Error("the script did nothing")
			}
		})
	}
}

// identify looks up the processes of a list.
func identify(t *testing.T, pids string) (ids []proc.ID) {
	t.Helper()
	for _, f := range strings.Fields(pids) {
		pid, _ := strconv.Atoi(f)
		s, err := proc.Root.Stat(pid)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID())
	}
	return ids
}

// TestForkIsNoGrowth checks that a bound above the sum of RSS is none of a server that forks: the child has a copy of nothing.
func TestForkIsNoGrowth(t *testing.T) {
	py := clients.Need(t, "python3", "to fork without exec")
	in, lines := runScript(t, py, `
m = private(128); touch(m, 128)
step()
pid, _ = fork(lambda wait: wait())
step(pid)`)
	lines.Scan()
	m := newMeter(t)
	m.Set(identify(t, lines.Text()))
	base := m.Exact()
	// A process that starts in the same tick as the reading ends (1/100 s) is not known to be newer.
	for end := time.Now().Add(time.Minute); time.Since(base.At) < base.Cost+20*time.Millisecond && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	fmt.Fprintln(in)
	lines.Scan()
	m.Set(identify(t, lines.Text()))
	if bound, _ := m.Bound(time.Now(), 0); bound > base.Upper+64*mib {
		t.Errorf("bound %d MiB after a fork, %d before", bound/mib, base.Upper/mib)
	}
}

// TestExactUntil checks that a reading ends when the answer is known, and that what it says holds.
func TestExactUntil(t *testing.T) {
	large, small := start(t, nil, "private 64"), start(t, nil, "private 8")
	m := newMeter(t, small.id, large.id)
	r := m.ExactUntil(32 * mib)
	if !r.Partial || r.Memory < 64*mib || r.Upper < r.Memory+8*mib || r.Processes != 2 || len(r.Each) != 2 || !r.Each[0].Exact || r.Each[1].Exact {
		t.Errorf("above the limit: %+v", r)
	}
	if r = m.ExactUntil(1 << 40); !r.Partial || r.Upper < 72*mib || r.Upper > 1<<30 {
		t.Errorf("far below the limit: %+v", r)
	}
	if bound, _ := m.Bound(time.Now(), 0); bound < 72*mib {
		t.Errorf("bound %d MiB from a reading that ended early", bound/mib)
	}
	if r = m.Exact(); r.Partial || r.Memory < 72*mib {
		t.Errorf("without a limit: %+v", r)
	}
}

// BenchmarkBound measures each way to a bound for one process: this one.
func BenchmarkBound(b *testing.B) {
	s, err := proc.Root.Stat(syscall.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	m := meter.New(proc.Root)
	defer m.Close()
	m.Set([]proc.ID{s.ID()})
	at := m.Exact().At
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"RSS", func() { m.Bound(at, 1<<50) }},
		{"base", func() { m.Bound(at, 0) }},
		{"exact", func() { at = m.Exact().At }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.f()
			}
		})
	}
}
