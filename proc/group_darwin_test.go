package proc

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These tests need a Mac. What a group decides is tested on every platform (lineage_test.go).

func TestSelf(t *testing.T) {
	self := Self()
	if s, err := Root.Stat(os.Getpid()); err != nil || s.ID() != self || s.PPID != os.Getppid() || s.PGRP != unix.Getpgrp() {
		t.Errorf("%+v, %v", s, err)
	}
	if !Root.Alive(self) || Root.Alive(ID{self.PID, self.Start + 1}) {
		t.Error("it is not told from another one with its number")
	}
	if Root.Command(os.Getpid()) == "" {
		t.Error("no command")
	}
	if s, err := Root.Stat(1); err != nil || s.PID != 1 { // of another user
		t.Errorf("launchd: %+v, %v", s, err)
	}
	if age := Now() - self.Start; age > uint64(time.Hour.Microseconds()) {
		t.Errorf("started %d us ago", age)
	}
}

func TestGroup(t *testing.T) {
	c := exec.Command("sh", "-c", "sleep 1000 & wait")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	g, err := NewGroup(Root, 0, c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	h, err := OpenID(Root, g.Leader())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	eventually(t, "two are members", func() bool { g.Update(time.Now()); return g.Size() == 2 })
	if f := g.Freeze(time.Second, nil); !f.Complete() {
		t.Error("they do not stop")
	} else {
		f.Thaw(true)
	}
	if n := g.Tally().Tasks; n != 2 {
		t.Errorf("%d tasks", n)
	}
	g.Kill(time.Second)
	eventually(t, "the descriptor tells of the end", func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.FD()), Events: unix.POLLIN}}, 0)
		return n == 1 && err == nil
	})
	if err := g.SignalGroup(unix.SIGTERM); err != ErrGone {
		t.Errorf("a group of zombies: %v", err)
	}
	g.Release()
	_ = c.Wait()
	eventually(t, "none is left", func() bool { g.Update(time.Now()); return g.Living() == 0 })
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen in a minute: %s", what)
		}
	}
}
