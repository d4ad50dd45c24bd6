package clients

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// Output is what was read from somewhere so far. It may be written to, too.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
	done chan struct{}
}

// Collect reads to the end, or to an error.
func Collect(r io.Reader) *Output {
	o := &Output{done: make(chan struct{})}
	go func() {
		defer close(o.done)
		io.Copy(o, r)
	}()
	return o
}

func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Expect waits for a text.
func (o *Output) Expect(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(Deadline); !strings.Contains(o.String(), text); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q in %q", text, o)
		}
	}
}

// All waits for the end: nobody has the other side open any more.
func (o *Output) All(t *testing.T) string {
	t.Helper()
	select {
	case <-o.done:
	case <-time.After(Deadline):
		t.Fatalf("the output does not end; so far it is %q", o)
	}
	return o.String()
}
