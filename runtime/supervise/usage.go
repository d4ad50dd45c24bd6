package supervise

import "mlrun/proc"

// readRusage is what /proc has shown.
func readRusage(u proc.Usage) *Rusage {
	return &Rusage{
		UTimeUS: u.User.Microseconds(), STimeUS: u.System.Microseconds(), MaxRSS: u.MaxRSS,
		MinFlt: u.MinFlt, MajFlt: u.MajFlt, InBlock: u.InBlock, OuBlock: u.OuBlock, NVCSw: u.NVCSw, NIvCSw: u.NIvCSw,
		Unmaintained: unmaintained(),
		UnwaitedUS:   u.Unwaited.Microseconds(), Sampled: true, Unread: u.Unread,
	}
}
