//go:build !linux

package supervise

// Run is not supported here.
func Run(*Config) (*Verdict, error) { return nil, ErrUnsupported }
