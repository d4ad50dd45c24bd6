//go:build !portable

package proc_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mlrun/proc"
)

// unwaited is a process that ignores SIGCHLD, and each of whose children uses CPU time until told to end by a line.
const unwaited = `
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.makedirs(sys.argv[1], exist_ok=True)
for i in range(3):
    pid = os.fork()
    if pid == 0:
        while not os.path.exists(f"{sys.argv[1]}/end{i}"): sum(range(10000))
        os._exit(0)
    open(f"{sys.argv[1]}/tmp", "w").write(str(pid)); os.rename(f"{sys.argv[1]}/tmp", f"{sys.argv[1]}/pid{i}")
    try: os.wait()
    except ChildProcessError: pass
open(f"{sys.argv[1]}/all", "w")
signal.pause()
`

// TestUnwaited loses three children, each of which has used CPU time and page faults that nobody is told of.
func TestUnwaited(t *testing.T) {
	python := python(t)
	dir := t.TempDir()
	_, g := run(t, nil, python, "-c", unwaited, dir)
	var seen time.Duration
	var faults int64
	for i := range 3 {
		n := strconv.Itoa(i)
		var pid int
		eventually(t, "child "+n, func() bool {
			b, err := os.ReadFile(filepath.Join(dir, "pid"+n))
			pid, _ = strconv.Atoi(string(b))
			return err == nil
		})
		eventually(t, "child "+n+" uses CPU time", func() bool {
			s, err := proc.Root.Stat(pid)
			return err == nil && s.UTime+s.STime >= 10
		})
		// What those had that are gone is known when it can be no lag of their parent any more, and counts beside what this one has used.
		eventually(t, "all of it counts while child "+n+" lives", func() bool {
			s, err := proc.Root.Stat(pid)
			return err == nil && g.Tally().CPU >= seen+time.Duration(s.UTime+s.STime)*(time.Second/100)
		})
		faults = g.Usage().MinFlt
		s, err := proc.Root.Stat(pid)
		if err != nil {
			t.Fatal(err)
		}
		seen += 100 * time.Millisecond
		if err := os.WriteFile(filepath.Join(dir, "end"+n), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		eventually(t, "child "+n+" is gone", func() bool { return !proc.Root.Alive(proc.ID{PID: pid, Start: s.Start}) })
	}
	eventually(t, "all are known to be lost", func() bool { return g.Tally().Unwaited >= seen })
	if u := g.Usage(); u.User+u.System < seen-50*time.Millisecond || u.MinFlt < faults {
		t.Errorf("%v and %d faults; want %v and %d or more", u.User+u.System, u.MinFlt, seen, faults)
	}
}

// TestWaited has children that are waited for, one after the other: nothing is lost, and no sum shrinks.
func TestWaited(t *testing.T) {
	_, g := sh(t, `for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'; done; exec sleep 1000`)
	var last proc.Usage
	eventually(t, "they have ended", func() bool {
		u := g.Usage()
		if u.User < last.User || u.System < last.System || u.MinFlt < last.MinFlt || u.NVCSw < last.NVCSw || u.NIvCSw < last.NIvCSw || u.MaxRSS < last.MaxRSS ||
			u.InBlock < last.InBlock || u.OuBlock < last.OuBlock {
			t.Errorf("%+v after %+v", u, last)
		}
		last = u
		return proc.Root.Name(g.Leader().PID) == "[sleep]"
	})
	if u := g.Usage(); u.Unwaited > 0 || u.User+u.System == 0 || u.MinFlt < 12*20 || u.MaxRSS == 0 || u.NVCSw == 0 || len(u.Top) != 1 || u.Top[0].Comm != "sleep" {
		t.Errorf("%+v; want all of it, and none of it unwaited for", u)
	}
}

// TestUsageOfThreads adds the context switches of threads.
func TestUsageOfThreads(t *testing.T) {
	python := python(t)
	_, g := run(t, nil, python, "-c", "import threading, time\nfor i in range(4): threading.Thread(target=lambda: [time.sleep(0.001) for i in range(10**9)]).start()")
	eventually(t, "the other threads switch more often than the first", func() bool {
		u := g.Usage()
		f, err := os.Open("/proc/" + strconv.Itoa(g.Leader().PID) + "/status")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if n, ok := strings.CutPrefix(sc.Text(), "voluntary_ctxt_switches:\t"); ok {
				first, _ := strconv.ParseInt(n, 10, 64)
				return u.NVCSw > 2*first+20
			}
		}
		return false
	})
}

func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	return path
}
