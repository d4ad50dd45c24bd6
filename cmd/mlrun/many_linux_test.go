package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mlrun/internal/asnobody"
)

// TestManyAtOnce takes 200 containers through their lives, 20 at a time. Three creators at once want every tenth of the ids, and one of them gets it.
// Lists are made meanwhile.
func TestManyAtOnce(t *testing.T) {
	containers, atOnce := 200, 20
	if raced {
		containers = 100
	}
	s := newSite(t)
	dir := s.bundle("exec sleep 1000")
	work := make(chan func())
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for do := range work {
				do()
			}
		})
	}
	var lives []*life
	for i := range containers {
		l := &life{site: s, t: t, id: fmt.Sprintf("c%d", i), dir: dir, creators: 1}
		if i%10 == 0 {
			l.creators = 3
		}
		lives = append(lives, l)
		l.created.Add(l.creators)
		for range l.creators {
			work <- l.live
		}
		if i%20 == 10 {
			work <- func() { s.must("list") }
		}
	}
	close(work)
	all.Wait()
	for _, l := range lives {
		if n := l.won.Load(); n != 1 {
			t.Errorf("%s: %d of %d created it", l.id, n, l.creators)
		}
	}
	s.clean()
}

func TestManyAtOnceAsNobody(t *testing.T) { asnobody.Run(t, "^TestManyAtOnce$") }

// life is that of one container, which several may want to create.
type life struct {
	*site
	t        *testing.T
	id, dir  string
	creators int
	created  sync.WaitGroup // all have tried
	won      atomic.Int32
}

// live creates the container and takes it to its end, if nobody else was faster. It runs beside others, and so ends no test.
func (l *life) live() {
	_, errs, code := l.try("create", "--bundle", l.dir, l.id)
	if code == 0 {
		l.won.Add(1)
	}
	l.created.Done()
	if code != 0 {
		if l.creators == 1 || code != 1 || !strings.Contains(errs, "container with given ID already exists") {
			l.t.Errorf("%s: create: exit code %d, %s", l.id, code, errs)
		}
		return
	}
	l.created.Wait()
	l.must("start", l.id)
	if st := l.state(l.id); st.Status != "running" || st.Pid <= 0 {
		l.t.Errorf("%s: after its start: %+v", l.id, st)
	}
	l.must("kill", l.id, "KILL")
	end := time.Now().Add(deadline)
	st := l.state(l.id)
	for st.Status != "stopped" && time.Now().Before(end) {
		st = l.state(l.id)
	}
	if st.MLRun.Reason != "killed" {
		l.t.Errorf("%s: after its end: %+v", l.id, st)
	}
	l.must("delete", l.id)
}
