package admission

import (
	"context"
	"testing"
	"time"
)

// Who is first in the line sees the end of a holder, and does not watch any more afterwards.
func TestVigil(t *testing.T) {
	w := newWorld(t)
	w.available(150)
	holder := w.start("10M", 100, time.Hour)
	holder.says("admitted")
	q, err := Open(w.dir, Host{Root: w.root})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	ticket, err := q.Join(Criteria{Available: Bytes(10 * mib_), Reserve: 100 * mib_})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- ticket.Wait(context.Background()) }()
	pid := holder.cmd.Process.Pid
	watched := func() (n int, holder bool) {
		q.line.mu.Lock()
		defer q.line.mu.Unlock()
		return len(q.line.vigil.watched), q.line.vigil.watched[pid] != nil
	}
	eventually(t, "the holder is watched", func() bool { n, ok := watched(); return n == 1 && ok })
	holder.kill()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	eventually(t, "nobody is watched", func() bool { n, _ := watched(); return n == 0 })
}

// What was used is told when the table can be had again: Used does not wait for it.
func TestUsedDoesNotWait(t *testing.T) {
	w := newWorld(t)
	w.available(500)
	q, err := Open(w.dir, Host{Root: w.root})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	ticket, err := q.Join(Criteria{Reserve: 100 * mib_})
	if err != nil {
		t.Fatal(err)
	}
	if !ticket.TryNow() {
		t.Fatal("not admitted")
	}
	other := w.start("1M", 1, time.Hour) // has a ticket, so that there are two in the table
	other.says("admitted")
	q.line.mu.Lock()
	ticket.Used(100 * mib_) // it would never return if it waited
	if n := ticket.Outstanding(); n != 100*mib_ {
		t.Errorf("outstanding: %d", n)
	}
	q.line.mu.Unlock()
	eventually(t, "it is told", func() bool { ticket.Used(100 * mib_); return ticket.Outstanding() == 0 })
	for _, r := range w.peek().list {
		if r.reserve == 100*mib_ && r.used != r.reserve {
			t.Errorf("the record has %d used", r.used)
		}
	}
}
