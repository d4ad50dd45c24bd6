package main

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// apart is a thread in a mount namespace of its own. What it starts is there, too, at no cost to what is measured.
type apart struct{ work chan func() }

// unified is where a hybrid hierarchy has version 2 of the cgroups (systemd: "unified_cgroup_hierarchy=0").
const unified = "/sys/fs/cgroup/unified"

// withoutUnified makes a place without version 2 of the cgroups: crun refuses to run where both versions are in use, even when it is to use
// neither. Nothing changes for the rest of the system.
func withoutUnified() (*apart, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(unified, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil, errors.ErrUnsupported
	}
	a, ready := &apart{make(chan func())}, make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := unmount(unified)
		ready <- err
		if err != nil {
			return
		}
		for f := range a.work {
			f()
		}
	}()
	return a, <-ready
}

// unmount hides a mount from this thread and from what it starts.
func unmount(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}

// do runs f on the thread.
func (a *apart) do(f func()) {
	done := make(chan struct{})
	a.work <- func() { f(); close(done) }
	<-done
}
