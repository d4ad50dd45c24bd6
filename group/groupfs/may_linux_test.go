package groupfs

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"mlrun/group"
	"mlrun/group/fuse"
)

// TestMay has the owner of a group, root and somebody else, who want to change or join it, and the system's group.
func TestMay(t *testing.T) {
	own, system := &group.Info{ID: 2, Owner: 1000}, &group.Info{ID: group.System}
	for _, c := range []struct {
		uid          uint32
		info         *group.Info
		change, join bool
	}{
		{1000, own, true, true}, {0, own, true, true}, {1001, own, false, false},
		{1000, system, false, true}, {0, system, false, true},
	} {
		caller := fuse.Caller{UID: c.uid}
		if err := change(caller, c.info); (err == nil) != c.change || err != nil && errno(err) != error(unix.EPERM) {
			t.Errorf("user %d changes group %d: %v", c.uid, c.info.ID, err)
		}
		if err := enter(caller, c.info, false); (err == nil) != c.join || err != nil && !errors.Is(err, unix.EPERM) {
			t.Errorf("user %d joins group %d: %v", c.uid, c.info.ID, err)
		}
	}
}
