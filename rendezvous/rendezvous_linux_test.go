package rendezvous

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// fileEnv makes the test binary a process that has the lock of byte 3 of a file until its standard input ends.
const fileEnv = "MLRUN_TEST_RENDEZVOUS"

func TestMain(m *testing.M) {
	if path := os.Getenv(fileEnv); path != "" {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			panic(err)
		}
		if ok, err := Lock(int(f.Fd()), 3); !ok {
			panic(err)
		}
		os.Stdout.WriteString("locked\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The lock of a byte is another process's as long as that lives, and then anybody's.
func TestLock(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other := exec.Command("/proc/self/exe")
	other.Env = append(os.Environ(), fileEnv+"="+f.Name())
	if _, err := other.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
	fd := int(f.Fd())
	if held, pid, err := Holder(fd, 0, 10); !held || pid != other.Process.Pid || err != nil {
		t.Errorf("held %v by %d, %v; want by %d", held, pid, err, other.Process.Pid)
	}
	if held, _, err := Holder(fd, 4, 10); held || err != nil {
		t.Errorf("the other bytes are held: %v, %v", held, err)
	}
	if ok, err := LockWithin(fd, 3, 0); ok || err != nil {
		t.Errorf("locked twice: %v, %v", ok, err)
	}
	_ = other.Process.Kill()
	_ = other.Wait()
	if ok, err := LockWithin(fd, 3, time.Minute); !ok || err != nil {
		t.Errorf("after its end: %v, %v", ok, err)
	}
}

// Who is rung is woken; another file in the place of the pipe is none, and stays.
func TestRing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pipe")
	Ring(path) // nobody is there
	p, err := Pipe(path)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_ = p.SetReadDeadline(time.Now().Add(time.Minute))
	Ring(path)
	if n, err := p.Read(make([]byte, 8)); n != 1 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Pipe(plain); err == nil {
		t.Error("a regular file is taken for a pipe")
	}
	if b, err := os.ReadFile(plain); string(b) != "text" {
		t.Errorf("it was changed to %q, %v", b, err)
	}
}
