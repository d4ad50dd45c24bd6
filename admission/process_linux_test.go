package admission

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mlrun/internal/asnobody"
)

const mib_ = 1 << 20

// helperEnv makes the test binary a process that waits: the directory, the root of the host, and the criteria.
const helperEnv = "MLRUN_TEST_ADMISSION_HELPER"

func TestMain(m *testing.M) {
	if args := os.Getenv(helperEnv); args != "" {
		os.Exit(help(strings.Split(args, "\n")))
	}
	os.Exit(m.Run())
}

func TestAsNobody(t *testing.T) { asnobody.Run(t, "^Test[^A]") }

// help waits as it is told, says what happens, and does what it is told on standard input.
func help(args []string) int {
	q, err := Open(args[0], Host{Root: args[1]})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	c := Criteria{Observe: func(e Event) { fmt.Println([]string{"looked", "held", "admitted"}[e.Kind]) }}
	c.Available, _ = ParseAmount(args[2])
	c.Reserve, _ = strconv.ParseInt(args[3], 10, 64)
	c.Settle, _ = time.ParseDuration(args[4])
	t, err := q.Join(c)
	if err == nil {
		err = t.Wait(context.Background())
	}
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		word, rest, _ := strings.Cut(in.Text(), " ")
		switch word {
		case "used":
			n, _ := strconv.ParseInt(rest, 10, 64)
			t.Used(n)
		case "release":
			t.Release()
		}
		fmt.Println("done")
	}
	return 0
}

// world is a line with a machine of its own.
type world struct {
	t         *testing.T
	dir, root string
}

// newWorld has a machine with 1000 MiB, and none of them available.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "@admission"), root: t.TempDir()}
	w.available(0)
	return w
}

// available sets how many MiB are.
func (w *world) available(n int) {
	w.t.Helper()
	writeFile(w.t, filepath.Join(w.root, "meminfo"), fmt.Sprintf("MemTotal: %d kB\nMemFree: 0 kB\nMemAvailable: %d kB\nBuffers: 1 kB\n", 1000<<10, n<<10))
}

// writeFile replaces a file in one step.
func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// waiter is a process that waits.
type waiter struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	in    interface{ Write([]byte) (int, error) }
}

// start starts a process that waits for an amount, and reserves MiB for a time.
func (w *world) start(amount string, reserve int, settle time.Duration) *waiter {
	w.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"="+strings.Join([]string{w.dir, w.root, amount, strconv.Itoa(reserve * mib_), settle.String()}, "\n"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	p := &waiter{t: w.t, cmd: cmd, lines: make(chan string, 16), in: in}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	w.t.Cleanup(p.kill)
	p.says("looked")
	return p
}

// says waits for the next line.
func (p *waiter) says(want string) {
	p.t.Helper()
	select {
	case got := <-p.lines:
		if got != want {
			p.t.Fatalf("process %d says %q, want %q", p.cmd.Process.Pid, got, want)
		}
	case <-time.After(time.Minute):
		p.t.Fatalf("process %d does not say %q", p.cmd.Process.Pid, want)
	}
}

// silent tells that it has not said anything more.
func (p *waiter) silent() {
	p.t.Helper()
	select {
	case got := <-p.lines:
		p.t.Fatalf("process %d says %q, want nothing", p.cmd.Process.Pid, got)
	default:
	}
}

// do has it do something.
func (p *waiter) do(what string) {
	p.t.Helper()
	if _, err := p.in.Write([]byte(what + "\n")); err != nil {
		p.t.Fatal(err)
	}
	p.says("done")
}

// kill ends it, in the hardest way.
func (p *waiter) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// peek reads the table as it is. It makes a copy: closing a descriptor for it would take this process's locks along.
func (w *world) peek() *table {
	w.t.Helper()
	t := &table{fd: -1}
	b, err := os.ReadFile(filepath.Join("/proc/self/root", w.dir, tableFile))
	if err != nil {
		w.t.Fatal(err)
	}
	if t.head.decode(b) != version {
		return t
	}
	for i := range t.head.size {
		var r record
		if at := (1 + i) * recordSize; at+recordSize <= len(b) {
			r.decode(b[at:])
		}
		t.list = append(t.list, r)
	}
	return t
}

// looks waits until the first in the line has looked at the memory once more, from now on.
func (w *world) looks() {
	w.t.Helper()
	for range 2 {
		before := w.peek().head.beat
		eventually(w.t, "somebody looks", func() bool { return w.peek().head.beat != before })
	}
}
