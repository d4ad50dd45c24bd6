//go:build !portable

package runtime

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/group/userns"
)

// TestNamespacesLock has somebody keep the lock under which namespaces are made, as who was stopped does: the next one does not wait for ever, and waits no more when it is given back.
func TestNamespacesLock(t *testing.T) {
	defer func(d time.Duration) { lockWait = d }(lockWait)
	n := &namespaces{dir: userns.Directory(filepath.Join(t.TempDir(), "userns"))}
	unlock, err := n.lock()
	if err != nil {
		t.Fatal(err)
	}
	lockWait = time.Millisecond
	other := &namespaces{dir: n.dir}
	if _, err := other.lock(); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("while somebody has the lock: %v", err)
	}
	lockWait = time.Minute
	got := make(chan error, 1)
	go func() {
		again, err := other.lock()
		if err == nil {
			again()
		}
		got <- err
	}()
	unlock()
	if err := <-got; err != nil {
		t.Errorf("after it was given back: %v", err)
	}
}
