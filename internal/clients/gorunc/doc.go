// Package gorunc has tests that drive mlrun with github.com/containerd/go-runc, the library through which containerd calls an OCI
// runtime. On other systems than Linux it is empty.
package gorunc
