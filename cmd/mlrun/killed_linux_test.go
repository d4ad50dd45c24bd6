package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mlrun/internal/asnobody"
	"mlrun/proc"
)

// clientRow is a command that is killed.
type clientRow struct {
	args string // fields: ID is the container, BUNDLE a bundle that runs until it is ended, FILE a file to write
	from string // the state of the container before: "" when there is none
	// to is what the container may be afterwards, once nothing of the command is under way any more; "none" is no container.
	to []string
}

var clientRows = []clientRow{
	{"run --id ID BUNDLE", "", []string{"none", "stopped"}},
	{"run --detach --id ID BUNDLE", "", []string{"none", "stopped", "created", "running"}},
	{"run --detach --pid-file FILE --id ID BUNDLE", "", []string{"none", "stopped", "created", "running"}},
	{"create --pid-file FILE --bundle BUNDLE ID", "", []string{"none", "stopped", "created"}},
	{"start ID", "created", []string{"created", "running"}},
	{"kill ID KILL", "running", []string{"running", "stopped"}},
	{"kill --all ID TERM", "running", []string{"running", "stopped"}},
	{"delete ID", "created", []string{"none", "stopped", "created"}},
	{"delete ID", "stopped", []string{"none", "stopped"}},
	{"delete --force ID", "running", []string{"none", "stopped", "running"}},
	{"exec ID sleep 1000", "running", []string{"running"}},
	{"exec --detach ID sleep 1000", "running", []string{"running"}},
	{"exec --detach --pid-file FILE ID sleep 1000", "running", []string{"running"}},
	{"pause ID", "running", []string{"running", "paused"}},
	{"resume ID", "paused", []string{"running", "paused"}},
	{"update --memory 1G ID", "running", []string{"running"}},
	{"ps ID", "running", []string{"running"}},
	{"events --interval 10ms ID", "running", []string{"running"}},
	{"events --stats ID", "running", []string{"running"}},
	{"state ID", "running", []string{"running"}},
	{"list", "running", []string{"running"}},
}

// TestClientKilled kills each command at moments spread over its life. The container is then what it was or what the command makes of it; it goes
// through the rest of its life; and at the end no process and no file of it is left.
func TestClientKilled(t *testing.T) {
	for _, row := range clientRows {
		t.Run(row.from+" "+row.args, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			dir := s.bundle("exec sleep 1000")
			life := s.killed(row, "c", dir, time.Hour) // ends by itself, or would live for ever
			moments := 8
			if raced {
				moments = 3
			}
			for i := range moments {
				// Where it is by then does not matter: all of it must work.
				s.killed(row, "c"+strconv.Itoa(i), dir, life*time.Duration(i)/time.Duration(moments-1))
			}
			s.clean()
		})
	}
}

// killed makes a container, kills a command after some time, and takes the container to its end. It returns how long the command lived, or would
// have if it were not one that lives as long as the container.
func (s *site) killed(row clientRow, id, dir string, after time.Duration) time.Duration {
	s.t.Helper()
	switch row.from {
	case "created", "stopped":
		s.must("create", "--bundle", dir, id)
	case "running", "paused":
		s.must("run", "--detach", "--id", id, dir)
	}
	switch row.from {
	case "paused":
		s.must("pause", id)
	case "stopped":
		s.must("kill", id, "KILL")
		eventually(s.t, id+" is stopped", func() bool { return s.state(id).Status == "stopped" })
	}
	pid := s.state(id).Pid
	args := strings.Fields(strings.NewReplacer("ID", id, "BUNDLE", dir, "FILE", filepath.Join(s.t.TempDir(), "pid")).Replace(row.args))
	begin := time.Now()
	c := s.command(args...)
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { c.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(min(after, longest)):
		c.Process.Kill()
		<-ended
	}
	life := time.Since(begin)
	s.survived(row, id, pid)
	s.used(row, id)
	if row.from == "" || slices.Contains(row.to, "none") {
		s.must("create", "--bundle", dir, id)
		s.must("delete", id)
	}
	return min(life, longest)
}

// longest is how long a command lives at most before it is killed: some live as long as the container.
const longest = 100 * time.Millisecond

// survived checks what a killed command has left of a container: one of the states that it may be in, with the process that it had.
func (s *site) survived(row clientRow, id string, pid int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s is one of %v", id, row.to), func() bool {
		st := s.state(id)
		if st.Pid != 0 && pid != 0 && st.Pid != pid {
			s.t.Errorf("%s has another process: %d, not %d", id, st.Pid, pid)
		}
		if st.Status == "" {
			st.Status = "none"
		}
		return slices.Contains(row.to, st.Status)
	})
}

// used takes a container through the rest of its life. What the killed command has asked for may come in between.
func (s *site) used(row clientRow, id string) {
	s.t.Helper()
	may := func(status string) bool { return slices.Contains(row.to, status) }
	eventually(s.t, id+" can be used", func() bool {
		switch s.state(id).Status {
		case "":
			return may("none")
		case "stopped":
			return may("stopped")
		case "created":
			s.try("start", id)
		case "paused":
			s.try("resume", id)
		case "running":
			_, _, code := s.try("exec", id, "true")
			return code == 0
		}
		return false
	})
	eventually(s.t, id+" can be ended", func() bool {
		if status := s.state(id).Status; status == "" || status == "stopped" {
			return true
		}
		s.try("kill", id, "KILL")
		return false
	})
	eventually(s.t, id+" can be deleted", func() bool {
		_, errs, code := s.try("delete", id)
		return code == 0 || strings.Contains(errs, "container does not exist")
	})
	s.must("delete", "--force", id)
}

// clean checks that nothing is left of any container: no process, and nothing in the state directory.
func (s *site) clean() {
	s.t.Helper()
	var left []string
	end := time.Now().Add(deadline)
	for left = s.processes(); len(left) > 0 && time.Now().Before(end); left = s.processes() {
		time.Sleep(10 * time.Millisecond)
	}
	if len(left) > 0 {
		s.t.Errorf("processes are left: %q", left)
	}
	entries, err := os.ReadDir(s.dir + "/mlrun")
	if err != nil || len(entries) > 0 {
		s.t.Errorf("in the state directory: %v, %v", entries, err)
	}
}

// processes lists what mlrun has started here, and mlrun itself: what works below the directory of the site, or has it in its environment.
func (s *site) processes() (left []string) {
	pids, err := proc.Root.PIDs()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, pid := range pids {
		wd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if strings.HasPrefix(wd, s.dir) || strings.Contains(string(env), s.dir) {
			left = append(left, fmt.Sprintf("%d: %s", pid, proc.Root.Command(pid)))
		}
	}
	return left
}

func TestClientKilledAsNobody(t *testing.T) { asnobody.Run(t, "^TestClientKilled$") }
