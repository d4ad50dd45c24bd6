// Package conmon has tests in which conmon, the monitor of containers that Podman and CRI-O start, uses mlrun as its OCI runtime. On other
// systems than Linux it is empty.
package conmon
