package rlimit

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const fake = `Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max file size             1                    2                    bytes     
Max open files            1024                 524288               files     
Max nice priority         0                    0                    
Max realtime timeout      4611686018427387000  unlimited            us        
Max of a later kernel     7                    8                    things    
`

func TestReadFake(t *testing.T) {
	root := t.TempDir()
	write := func(pid, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(root, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, pid, "limits"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("7", fake)
	list, err := Read(root, 7)
	if err != nil || len(list) != 5 {
		t.Fatalf("%+v, %v", list, err)
	}
	for name, want := range map[string][2]uint64{
		"RLIMIT_CPU": {Infinity, Infinity}, "RLIMIT_FSIZE": {1, 2}, "RLIMIT_NOFILE": {1024, 524288}, "RLIMIT_NICE": {0, 0},
		"RLIMIT_RTTIME": {4611686018427387000, Infinity},
	} {
		if l, ok := Find(list, name); !ok || l.Soft != want[0] || l.Hard != want[1] {
			t.Errorf("%s: %+v", name, l)
		}
	}
	if l, ok := Find(list, "RLIMIT_AS"); ok {
		t.Errorf("found %+v", l)
	}
	for pid, text := range map[string]string{
		"8": "\nMax cpu time  x  unlimited seconds\n", "9": "\nMax cpu time  5\n", "10": "nothing", "11": "\nMax open files  99999999999999999999 5\n",
	} {
		write(pid, text)
	}
	for _, pid := range []int{8, 9, 10, 11} {
		if list, err := Read(root, pid); err == nil || !strings.Contains(err.Error(), "/limits: limits: ") {
			t.Errorf("%d: %+v, %v", pid, list, err)
		}
	}
	write("12", "")
	for _, pid := range []int{12, 13} {
		if _, err := Read(root, pid); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%d: %v", pid, err)
		}
	}
}

// What /proc says and what the system call says is the same, for all types.
func TestReadSelf(t *testing.T) {
	list, err := Read("/proc", os.Getpid())
	if err != nil || len(list) != len(types) {
		t.Fatalf("%d limits, %v", len(list), err)
	}
	for _, l := range list {
		soft, hard, err := Of(0, l.Type)
		if err != nil || soft != l.Soft || hard != l.Hard {
			t.Errorf("%s: %d:%d, by prlimit %d:%d, %v", l.Name, l.Soft, l.Hard, soft, hard, err)
		}
	}
}

// The limit of another process is changed, and nothing but that.
func TestSet(t *testing.T) {
	c := exec.Command("sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	before, err := Read("/proc", c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	fsize, _ := Lookup("RLIMIT_FSIZE")
	if err := Set(c.Process.Pid, Limit{Type: fsize, Soft: 5, Hard: 6}); err != nil {
		t.Fatal(err)
	}
	after, err := Read("/proc", c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range before {
		if l.Name == fsize.Name {
			l.Soft, l.Hard = 5, 6
		}
		if after[i] != l {
			t.Errorf("%+v, want %+v", after[i], l)
		}
	}
	if err := Set(c.Process.Pid, Limit{Type: fsize, Soft: 7, Hard: 6}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("soft above hard: %v", err)
	}
	if _, _, err := Of(1<<30, fsize); !errors.Is(err, unix.ESRCH) {
		t.Errorf("nobody: %v", err)
	}
}

func TestCeiling(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(root+"/sys/fs", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/sys/fs/nr_open", []byte("1048576\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	nofile, _ := Lookup("RLIMIT_NOFILE")
	core, _ := Lookup("RLIMIT_CORE")
	if n := Ceiling(root, nofile); n != 1048576 {
		t.Error(n)
	}
	if n := Ceiling(root, core); n != Infinity {
		t.Error(n)
	}
}

func FuzzParseProc(f *testing.F) {
	f.Add([]byte(fake))
	f.Add([]byte("\nMax cpu time "))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseProc(b)
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q", err)
		}
		if err == nil && len(list) == 0 {
			t.Error("nothing, and no error")
		}
	})
}
