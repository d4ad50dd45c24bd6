//go:build !linux && !darwin

package meter

// ProbeEvents tells why there are no events on this machine for the calling user.
func ProbeEvents() error { return ErrUnsupported }
