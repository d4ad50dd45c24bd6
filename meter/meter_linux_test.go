package meter_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/internal/asnobody"
	"mlrun/internal/clients"
	"mlrun/meter"
	"mlrun/proc"
)

const mib = 1 << 20

// helperEnv makes the test binary a process with known memory: see helper.
const helperEnv = "MLRUN_TEST_METER"

func TestMain(m *testing.M) {
	if what := os.Getenv(helperEnv); what != "" {
		helper(strings.Fields(what))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// helper carries out commands and answers each line that it reads: private N, shared N (of descriptor 3), fork N (a child touches as much), hide.
func helper(first []string) {
	in := bufio.NewScanner(os.Stdin)
	for what := first; ; what = strings.Fields(in.Text()) {
		switch what[0] {
		case "private":
			touch(what[1], -1, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		case "shared":
			touch(what[1], 3, unix.MAP_SHARED)
		case "hide":
			if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
				panic(err)
			}
		case "fork":
			exe, _ := os.Executable()
			c := exec.Command(exe)
			c.Env = []string{helperEnv + "=private " + what[1]}
			if err := c.Run(); err != nil {
				panic(err)
			}
		case "exit":
			return
		}
		fmt.Println("done")
		if !in.Scan() {
			return
		}
	}
}

func touch(size string, fd, flags int) {
	n, err := strconv.Atoi(size)
	if err != nil {
		panic(err)
	}
	b, err := unix.Mmap(fd, 0, n*mib, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}

type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  func(string)
	out *bufio.Scanner
	id  proc.ID
}

// start runs a helper and waits until it has done its first command.
func start(t *testing.T, memfd *os.File, what string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe)
	c.Env = append(os.Environ(), helperEnv+"="+what)
	if memfd != nil {
		c.ExtraFiles = []*os.File{memfd}
	}
	in, _ := c.StdinPipe()
	out, _ := c.StdoutPipe()
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); c.Process.Kill(); c.Wait() })
	p := &process{t: t, cmd: c, out: bufio.NewScanner(out)}
	p.in = func(s string) { fmt.Fprintln(in, s) }
	p.answer()
	s, err := proc.Root.Stat(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p.id = s.ID()
	return p
}

func (p *process) answer() {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatal("the helper ended")
	}
}

func (p *process) do(what string) {
	p.t.Helper()
	p.in(what)
	p.answer()
}

func (p *process) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// stop stops the process: a Go program that has nothing to do still has page faults now and then.
func (p *process) stop() {
	p.t.Helper()
	p.signal(unix.SIGSTOP)
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if s, err := proc.Root.Stat(p.id.PID); err == nil && s.Stopped() {
			return
		}
		if time.Now().After(end) {
			p.t.Fatal("it does not stop")
		}
	}
}

func newMeter(t *testing.T, ids ...proc.ID) *meter.Meter {
	m := meter.New(proc.Root)
	t.Cleanup(m.Close)
	m.Set(ids)
	return m
}

// within checks that bytes is between want and want plus what a small Go program has besides.
func within(t *testing.T, what string, bytes, want int64, processes int) {
	t.Helper()
	if slack := int64(processes) * 24 * mib; bytes < want || bytes > want+slack {
		t.Errorf("%s: %d MiB, want %d to %d", what, bytes/mib, want/mib, (want+slack)/mib)
	}
}

func TestPrivateMemory(t *testing.T) {
	p := start(t, nil, "private 64")
	m := newMeter(t, p.id)
	p.stop()
	r := m.Exact()
	p.signal(unix.SIGCONT)
	within(t, "exact", r.Memory, 64*mib, 1)
	if r.Processes != 1 || r.Unreadable != 0 || r.Upper != r.Memory || len(r.Each) != 1 || !r.Each[0].Exact {
		t.Errorf("reading %+v", r)
	}
	bound, _ := m.Bound(time.Now(), 0)
	if bound < r.Memory {
		t.Errorf("bound %d is below the exact %d", bound, r.Memory)
	}
	p.do("private 32")
	if bound, _ = m.Bound(time.Now(), 0); bound < 96*mib {
		t.Errorf("bound %d MiB after growth to 96 MiB", bound/mib)
	}
}

func TestSharedMemoryCountsOnce(t *testing.T) {
	fd, err := unix.MemfdCreate("shared", 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "shared")
	defer f.Close()
	if err := f.Truncate(64 * mib); err != nil {
		t.Fatal(err)
	}
	const n = 4
	var ids []proc.ID
	var ps []*process
	for range n {
		p := start(t, f, "shared 64")
		ps = append(ps, p)
		ids = append(ids, p.id)
	}
	for _, p := range ps {
		p.stop()
	}
	m := newMeter(t, ids...)
	if bound, _ := m.Bound(time.Now(), 1<<40); bound < n*64*mib {
		t.Errorf("RSS bound %d MiB, want at least %d", bound/mib, n*64)
	}
	r := m.Exact()
	within(t, "PSS", r.Memory, 64*mib, n)
	// From here on the bound goes on from the exact reading, far below the sum of RSS.
	bound, _ := m.Bound(time.Now(), 0)
	within(t, "bound after the exact reading", bound, r.Memory, n)
	ps[1].signal(unix.SIGCONT)
	ps[1].do("private 40")
	bound, _ = m.Bound(time.Now(), 0)
	within(t, "bound after growth", bound, r.Memory+40*mib, n)
	// It is trusted for a second only, or a hundred times what the reading took.
	if bound, _ = m.Bound(time.Now().Add(2*time.Second+100*r.Cost), 0); bound < n*64*mib {
		t.Errorf("bound %d MiB from a reading that is too old", bound/mib)
	}
	// A process that the exact reading did not know counts with its RSS.
	p := start(t, f, "shared 64")
	r = m.Exact()
	m.Set(append(ids, p.id))
	if b, _ := m.Bound(time.Now(), 0); b < r.Memory+64*mib {
		t.Errorf("bound %d MiB with a new process", b/mib)
	}
}

func TestZombie(t *testing.T) {
	p := start(t, nil, "private 16")
	alive := start(t, nil, "private 16")
	m := newMeter(t, p.id, alive.id)
	p.in("exit")
	for end := time.Now().Add(time.Minute); proc.Root.Alive(p.id); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not end")
		}
	}
	r := m.Exact()
	if r.Zombies != 1 || r.Processes != 1 {
		t.Errorf("%d zombies and %d processes, want 1 and 1", r.Zombies, r.Processes)
	}
	within(t, "exact", r.Memory, 16*mib, 1)
	p.cmd.Wait()
	if r := m.Exact(); r.Processes != 1 {
		t.Errorf("%d processes", r.Processes)
	}
}

// TestReusedPid checks that a process is not mistaken for a later one with its number.
func TestReusedPid(t *testing.T) {
	p := start(t, nil, "private 16")
	m := newMeter(t, p.id)
	p.in("exit")
	p.cmd.Wait()
	if b, gone := m.Bound(time.Now(), 0); !gone || b >= 16*mib {
		t.Errorf("bound %d, gone %v", b, gone)
	}
	if r := m.Exact(); r.Processes != 0 || r.Memory != 0 {
		t.Errorf("reading %+v", r)
	}
}

func TestUnreadable(t *testing.T) {
	p := start(t, nil, "private 32")
	p.do("hide")
	q := start(t, nil, "private 16")
	m := newMeter(t, p.id, q.id)
	r := m.Exact()
	within(t, "exact", r.Memory, 48*mib, 2)
	if os.Geteuid() == 0 {
		return // root may read it
	}
	if r.Unreadable != 1 || r.Upper < r.Memory || r.Processes != 2 {
		t.Errorf("reading %+v", r)
	}
}

func TestAsNobody(t *testing.T) {
	asnobody.Run(t, "^(Test(Unreadable|PrivateMemory|SharedMemoryCountsOnce|Zombie)|ExampleMeter)$")
}

// TestCopyOnWrite checks that the bound sees pages that are copied without any growth of a resident set.
func TestCopyOnWrite(t *testing.T) {
	py := clients.Need(t, "python3", "to fork without exec")
	script := `
import mmap, os, sys
m = mmap.mmap(-1, 64<<20, mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS)
for i in range(0, 64<<20, 4096): m[i] = 1
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.read(r, 1)
    for i in range(0, 64<<20, 4096): m[i] = 2
    print("copied", flush=True)
    sys.stdin.read()
    os._exit(0)
print(pid, flush=True)
sys.stdin.readline()
os.write(w, b"x")
os.waitpid(pid, 0)
`
	c := exec.Command(py, "-c", script)
	in, _ := c.StdinPipe()
	out, _ := c.StdoutPipe()
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); c.Wait() })
	lines := bufio.NewScanner(out)
	lines.Scan()
	child, _ := strconv.Atoi(lines.Text())
	var ids []proc.ID
	for _, pid := range []int{c.Process.Pid, child} {
		s, err := proc.Root.Stat(pid)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID())
	}
	m := newMeter(t, ids...)
	before := m.Exact()
	within(t, "shared by fork", before.Memory, 64*mib, 2)
	fmt.Fprintln(in)
	lines.Scan()
	if lines.Text() != "copied" {
		t.Fatalf("child says %q", lines.Text())
	}
	bound, _ := m.Bound(time.Now(), 0)
	if after := m.Exact(); after.Memory < 128*mib || bound < after.Memory {
		t.Errorf("exact %d MiB, bound %d MiB, want at least 128 and the bound not below", after.Memory/mib, bound/mib)
	}
}

// tree makes a file tree like /proc with one process, PID 7.
func tree(t *testing.T, files map[string]string) proc.FS {
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return proc.FS(root)
}

const stat7 = "7 (x) S 1 7 7 0 -1 0 100 0 0 0 0 0 0 0 20 0 1 0 55 0 0"

func TestForms(t *testing.T) {
	const rollup = "00400000-7fff Rss: is no line of interest ---p 00000000 00:00 0 [rollup]\n" +
		"Rss:               2000 kB\nPss:               1000 kB\nPss_Dirty:          900 kB\nPss_Anon:           800 kB\n" +
		"Private_Hugetlb:   2048 kB\nShared_Hugetlb:    4096 kB\nSwap:               300 kB\nSwapPss:            200 kB\n"
	const smaps = "00400000-00401000 r-xp 00000000 08:01 1 /x\nRss: 4 kB\nPss:                  4 kB\nSwapPss:  1 kB\n" +
		"00600000-00601000 rw-p 00000000 08:01 1 /Pss:\nPss:                  6 kB\nSwapPss:  2 kB\n"
	for name, c := range map[string]struct {
		files        map[string]string
		memory, swap int64
	}{
		"smaps_rollup": {map[string]string{"7/smaps_rollup": rollup}, (1000 + 2048 + 4096) << 10, 200 << 10},
		"before 4.14":  {map[string]string{"7/smaps": smaps}, 10 << 10, 3 << 10},
	} {
		c.files["7/stat"], c.files["7/statm"] = stat7, "1000 500 100 1 0 5 0\n"
		m := meter.New(tree(t, c.files))
		m.Set([]proc.ID{{PID: 7, Start: 55}})
		r := m.Exact()
		if r.Memory != c.memory || r.Swap != c.swap || r.Unreadable != 0 || r.Processes != 1 {
			t.Errorf("%s: %+v, want memory %d, swap %d", name, r, c.memory, c.swap)
		}
		m.Close()
	}
}

func TestHugePagesRaiseTheBound(t *testing.T) {
	m := meter.New(tree(t, map[string]string{
		"7/stat": stat7, "7/statm": "1000 500 100 1 0 5 0\n", "7/status": "Name:\tx\nHugetlbPages:\t    4096 kB\n",
		"sys/vm/nr_hugepages": "16\n",
	}))
	defer m.Close()
	m.Set([]proc.ID{{PID: 7, Start: 55}})
	if b, _ := m.Bound(time.Now(), 0); b < 500*int64(os.Getpagesize())+4096<<10 {
		t.Errorf("bound %d", b)
	}
}

func TestFirstThreadEnded(t *testing.T) {
	m := meter.New(tree(t, map[string]string{
		"7/stat": strings.Replace(strings.Replace(stat7, " S ", " Z ", 1), "20 0 1 0", "20 0 2 0", 1), "7/statm": "0 0 0 0 0 0 0\n",
		"7/task/7/statm": "0 0 0 0 0 0 0\n", "7/task/8/statm": "1000 500 100 1 0 5 0\n", "7/task/8/smaps_rollup": "Pss: 77 kB\n",
	}))
	defer m.Close()
	m.Set([]proc.ID{{PID: 7, Start: 55}})
	if b, _ := m.Bound(time.Now(), 0); b < 500*int64(os.Getpagesize()) {
		t.Errorf("bound %d: a process whose first thread ended is overlooked", b)
	}
	if r := m.Exact(); r.Memory != 77<<10 || r.Processes != 1 {
		t.Errorf("reading %+v", r)
	}
}

// TestBackFromGone shows that a process which could not be read once is measured again when it is listed again.
func TestBackFromGone(t *testing.T) {
	fs := tree(t, map[string]string{"7/statm": "1000 500 100 1 0 100 0\n", "7/stat": "7 (a) S 1 7 7 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 99 0 0\n"})
	m := meter.New(fs)
	defer m.Close()
	ids := []proc.ID{{PID: 7, Start: 99}}
	m.Set(ids)
	before, gone := m.Bound(time.Now(), 1<<62)
	if gone {
		t.Fatal("it is there")
	}
	statm := filepath.Join(string(fs), "7/statm")
	if err := os.Truncate(statm, 0); err != nil {
		t.Fatal(err)
	}
	if bound, gone := m.Bound(time.Now(), 1<<62); !gone || bound >= before {
		t.Errorf("unreadable: bound %d, gone %v", bound, gone)
	}
	if err := os.WriteFile(statm, []byte("1000 500 100 1 0 100 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.Set(ids)
	if bound, gone := m.Bound(time.Now(), 1<<62); gone || bound != before {
		t.Errorf("listed again: bound %d, gone %v, want %d", bound, gone, before)
	}
}
