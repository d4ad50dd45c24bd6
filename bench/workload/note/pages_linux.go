package note

import "golang.org/x/sys/unix"

// advise fails with EINVAL on a kernel without transparent huge pages (madvise(2)), where there is nothing to choose.
func advise(m []byte, huge bool) error {
	advice := unix.MADV_NOHUGEPAGE
	if huge {
		advice = unix.MADV_HUGEPAGE
	}
	if err := unix.Madvise(m, advice); err != nil && (huge || err != unix.EINVAL) {
		return err
	}
	return nil
}
