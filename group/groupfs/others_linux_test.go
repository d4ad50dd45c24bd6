package groupfs

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"mlrun/group"
	"mlrun/internal/asnobody"
)

// Two users beside root, who has the tree mounted for everybody.
const (
	oneUser   = asnobody.ID
	otherUser = asnobody.ID - 1
)

// as starts a shell of a user.
func (m *mount) as(t *testing.T, uid uint32) *shell {
	t.Helper()
	return m.begin(t, &shell{Cmd: exec.Command("sh")}, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}})
}

// fails has a shell do something in a shell of its own, and returns what is said of that.
func (s *shell) fails(t *testing.T, script string) string {
	t.Helper()
	return s.say(t, "sh -c '"+script+"' 2>&1 | tr '\\n' ' '; echo")
}

// TestOthers has one user look at the groups of another one, and try to change them: everybody may look; only the owner, and root, may change or join. It is root who mounts: that others
// are let in takes user_allow_other in /etc/fuse.conf otherwise.
func TestOthers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("takes root to be three users")
	}
	m := newMountFor(t, true)
	mine, theirs := m.as(t, oneUser), m.as(t, otherUser)
	n, err := m.tree.Create(group.System, group.Change{}, oneUser, true)
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprint(n)
	g := "mnt/groups/" + id
	for _, what := range []string{"label mine", "mproc 20", "mlim 1"} {
		if got := mine.say(t, "echo "+what+" >"+g+"/ctl && echo ok"); got != "ok" {
			t.Fatal(got)
		}
	}
	before := theirs.say(t, "head -n 3 "+g+"/status | tr '\\n' ' '; echo")
	if before != "mine 1 mlim 1 0 " {
		t.Errorf("the other user sees %q", before)
	}
	if got, want := theirs.say(t, "stat -c '%u %a %n' "+g+"/* | tr '\\n' ' '; echo"), strings.NewReplacer("U", fmt.Sprint(oneUser), "G", g).
		Replace("U 600 G/clone U 644 G/ctl U 444 G/error U 444 G/status U 600 G/switch "); got != want {
		t.Errorf("owners and permissions %q, want %q", got, want)
	}
	for _, c := range []struct {
		script string
		want   unix.Errno
	}{
		{"echo mproc 5 >" + g + "/ctl", unix.EPERM},
		{": <>" + g + "/switch", unix.EPERM},
		{": <>" + g + "/clone", unix.EPERM},
		{": <" + g + "/clone", unix.EPERM},
		{"chmod 666 " + g + "/ctl", unix.EPERM},
		{"rmdir " + g, unix.ENOSYS},
		{"echo mproc 5 >mnt/groups/1/ctl", unix.EPERM},
		{"echo mproc 5 >mnt/ctl", unix.EPERM}, // of the system's group
		{"echo x >" + g + "/status", unix.EACCES},
	} {
		if got := theirs.fails(t, c.script); !strings.Contains(strings.ToLower(got), c.want.Error()) {
			t.Errorf("%s: %q, want %v", c.script, got, c.want)
		}
	}
	if got := read(t, m.path("groups", id, "error")); !strings.Contains(got, "the group is not the caller's") {
		t.Errorf("the error file has %q", got)
	}
	if got := theirs.say(t, "cat mnt/ctl"); got != "1" {
		t.Errorf("who was refused is in group %s, want 1", got)
	}
	if after := mine.say(t, "head -n 3 "+g+"/status | tr '\\n' ' '; echo"); after != before {
		t.Errorf("what was refused has changed the group from %q to %q", before, after)
	}
	if got := mine.say(t, "grep mproc "+g+"/status | cut -d ' ' -f 2"); got != "20" {
		t.Errorf("mproc is %s, want 20", got)
	}

	// A descriptor that somebody else was given, and a group that is gone.
	passed, err := os.OpenFile(m.path("groups", id, "ctl"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	c := exec.Command("sh", "-c", "echo mproc 5")
	c.Stdout, c.SysProcAttr = passed, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser, Gid: otherUser}}
	if err := c.Run(); err == nil {
		t.Error("the other user writes to a descriptor that root has opened")
	}

	// The other user has a group, too.
	k, err := m.tree.Create(group.System, group.Change{}, otherUser, true)
	if err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprint(k)
	if got := mine.fails(t, "echo mlim 9 >mnt/groups/"+own+"/ctl"); !strings.Contains(got, "not permitted") {
		t.Errorf("the first user changes the group of the other one: %q", got)
	}
	if got := theirs.fails(t, "echo mlim 1 >mnt/groups/"+own+"/ctl"); got != "" {
		t.Errorf("the owner changes the group: %q", got)
	}
	if got := theirs.fails(t, "echo mlim x | dd of=mnt/groups/"+own+"/ctl"); !strings.Contains(got, "Invalid argument") {
		t.Errorf("a bad value: %q", got)
	}
	if got := theirs.fails(t, "cat mnt/groups/99/ctl"); !strings.Contains(got, "No such file") {
		t.Errorf("no such group: %q", got)
	}
	// Root may do everything.
	for _, g := range []string{id, own} {
		if err := os.WriteFile(m.path("groups", g, "ctl"), []byte("mlim 1\n"), 0); err != nil {
			t.Errorf("root: %v", err)
		}
	}
	root := m.start(t, "sh")
	if got := root.say(t, "exec 9<>"+g+"/switch; cat mnt/ctl"); got != id {
		t.Errorf("root has moved to group %s, want %s", got, id)
	}
	// To move processes of others takes CAP_SYS_RESOURCE.
	in := "mnt/groups/" + own + "/clone"
	if !capable(unix.CAP_SYS_RESOURCE) {
		if got := theirs.fails(t, ": <>"+in); !strings.Contains(got, "not permitted") {
			t.Errorf("a move by a server that may not: %q", got)
		}
		if got := read(t, m.path("groups", own, "error")); !strings.Contains(got, "CAP_SYS_RESOURCE") {
			t.Errorf("the error file has %q", got)
		}
		t.Log("no CAP_SYS_RESOURCE: nobody else is moved")
		return
	}
	made := theirs.say(t, "exec 9<>"+in+"; cat <&9")
	if got := theirs.say(t, "stat -c %u mnt/groups/"+made+"/ctl"); got != fmt.Sprint(otherUser) {
		t.Errorf("the owner of what was made is %s, want %d", got, otherUser)
	}
	if got := theirs.fails(t, ": <>"+in); !strings.Contains(got, "quota") {
		t.Errorf("more groups than mlim: %q", got)
	}
	theirs.in.Close()
	theirs.Wait()
	m.gone(t, made)
}

// capable tells whether this process has a capability.
func capable(c uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[0].Effective&(1<<c) != 0
}

// TestGone writes to a group that is gone, and makes groups in groups until there is no place.
func TestGone(t *testing.T) {
	m := newMount(t)
	s := m.start(t, "sh")
	id := s.say(t, "exec 9<>mnt/clone; cat <&9")
	fd := m.openCtl(t, id)
	s.in.Close()
	s.Wait()
	m.gone(t, id)
	if _, err := unix.Write(fd, []byte("mproc 5\n")); err != unix.ENOENT {
		t.Errorf("a write to a group that is gone: %v", err)
	}
	if _, err := os.Stat(m.path("groups", id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of a group that is gone: %v", err)
	}
	deep := m.start(t, "sh")
	if got := deep.say(t, `LC_ALL=C; n=0; while (exec 9<>mnt/clone) 2>err && exec 9<>mnt/clone; do n=$((n+1)); [ $n -lt 100 ] || break; done; grep -c "No space left" err`); got != "1" {
		b, _ := os.ReadFile(m.dir + "/../err")
		t.Errorf("groups in groups without end: %q", b)
	}
	deep.in.Close()
	deep.Wait()
	eventually(t, "no group is left", func() bool { list, err := m.tree.List(); return err == nil && len(list) == 1 })
}

// begin starts a shell with pipes.
func (m *mount) begin(t *testing.T, s *shell, attr *syscall.SysProcAttr) *shell {
	t.Helper()
	s.Dir, s.SysProcAttr = m.dir+"/..", attr
	var err error
	if s.in, err = s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.out = bufio.NewReader(out)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.in.Close()
		s.Process.Kill()
		s.Wait()
	})
	return s
}
