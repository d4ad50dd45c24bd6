package rlimit

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Numbers of the nine limits, from bsd/sys/resource.h of xnu-11417.101.15. An index other than 0 does not compile, so go vet checks them on
// every platform.
var _ = [...][1]struct{}{
	{0: [1]struct{}{}[unix.RLIMIT_CPU-0]},
	{0: [1]struct{}{}[unix.RLIMIT_FSIZE-1]},
	{0: [1]struct{}{}[unix.RLIMIT_DATA-2]},
	{0: [1]struct{}{}[unix.RLIMIT_STACK-3]},
	{0: [1]struct{}{}[unix.RLIMIT_CORE-4]},
	{0: [1]struct{}{}[unix.RLIMIT_AS-5]},
	{0: [1]struct{}{}[unix.RLIMIT_RSS-unix.RLIMIT_AS]},
	{0: [1]struct{}{}[unix.RLIMIT_MEMLOCK-6]},
	{0: [1]struct{}{}[unix.RLIMIT_NPROC-7]},
	{0: [1]struct{}{}[unix.RLIMIT_NOFILE-8]},
}

func TestNine(t *testing.T) {
	seen := map[int]bool{}
	for _, typ := range types {
		seen[typ.Resource] = true
	}
	if len(seen) != 9 { // RLIM_NLIMITS
		t.Errorf("%d numbers, want 9", len(seen))
	}
	if _, err := ParseList([]string{"as=1G", "rss=1G"}); err == nil {
		t.Error("RLIMIT_AS and RLIMIT_RSS, which are one limit, were accepted together")
	}
}

// Another process is refused, and not answered with limits of this one.
func TestOthers(t *testing.T) {
	nofile, _ := Lookup("RLIMIT_NOFILE")
	_, _, of := Of(os.Getppid(), nofile)
	_, read := Read("", os.Getppid())
	for _, err := range []error{of, read, Set(os.Getppid(), Limit{Type: nofile, Soft: 64, Hard: 64})} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("of another process: %v", err)
		}
	}
	if list, err := Read("", os.Getpid()); err != nil || len(list) != len(types) {
		t.Errorf("of its own: %+v, %v", list, err)
	}
}
