package meter

import (
	"testing"
	"time"

	"mlrun/proc"
)

// These tests need a Mac. What a meter counts is tested on every platform (footprint_test.go).

var held []byte

func TestGrowth(t *testing.T) {
	m := New(proc.Root)
	defer m.Close()
	m.Set([]proc.ID{proc.Self()})
	before := m.Exact()
	if before.Memory <= 0 || before.Unreadable != 0 || before.Processes != 1 {
		t.Fatalf("%+v", before)
	}
	const size = 64 << 20
	held = make([]byte, size)
	for i := 0; i < size; i += 4096 {
		held[i] = 1
	}
	if after := m.Exact(); after.Memory-before.Memory < size*9/10 || after.Memory-before.Memory > size*2 {
		t.Errorf("%d bytes more, want about %d", after.Memory-before.Memory, size)
	}
	if m.Lifetime() < size {
		t.Errorf("lifetime maximum %d", m.Lifetime())
	}
}

func TestPoke(t *testing.T) {
	w, err := NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.Poke()
	if w.Wait(time.Minute, 0) != Poked {
		t.Error("it was poked before")
	}
	go w.Poke()
	if w.Wait(time.Minute, 0) != Poked {
		t.Error("it was poked meanwhile")
	}
	if w.Wait(time.Millisecond, 0) != 0 {
		t.Error("nobody has poked it")
	}
}
