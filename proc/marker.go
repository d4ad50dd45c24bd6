package proc

import (
	"bytes"
	"strconv"
)

// MarkerEnv is the environment variable that a payload gets, and all that it starts inherit: the runs that they belong to, outermost
// first, separated by colons. It finds processes that no ancestry leads to any more, because their supervisor and its reaper were killed
// in the same instant. A process may drop it: it is a safety net, not the definition of a run.
const MarkerEnv = "MLRUN_RUN"

// Marker is the name of the run that supervisor supervises: nobody else has its pid and start time while the machine runs.
func Marker(supervisor ID) string {
	return strconv.Itoa(supervisor.PID) + "-" + strconv.FormatUint(supervisor.Start, 10)
}

// Mark is the variable for a run inside those that outer, the value of MarkerEnv, lists.
func Mark(outer string, supervisor ID) string {
	if outer != "" {
		outer += ":"
	}
	return MarkerEnv + "=" + outer + Marker(supervisor)
}

// Seal is the second mark of a run, for processes that its reaper is not above: the value of RLIMIT_RTTIME, in microseconds, which the
// kernel hands down through every fork and execve, also to who drops its environment, and which only CAP_SYS_RESOURCE may raise. Half a
// million years and more are no limit. That of a run within another one is lower.
func Seal(supervisor ID) uint64 { return 1<<62 - (supervisor.Start<<23 | uint64(supervisor.PID)) }

// isSealed tells whether /proc/PID/limits (proc_pid_limits(5)) has the seal of a run.
func isSealed(limits []byte, seal uint64) bool {
	_, rest, ok := bytes.Cut(limits, []byte("\nMax realtime timeout "))
	if !ok {
		return false
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	f := bytes.Fields(line)
	return len(f) > 1 && string(f[1]) == strconv.FormatUint(seal, 10)
}

// isMarked tells whether an environment, NUL-terminated strings, names a run.
func isMarked(environ []byte, marker string) bool {
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		value, ok := bytes.CutPrefix(entry, []byte(MarkerEnv+"="))
		if !ok {
			continue
		}
		for run := range bytes.SplitSeq(value, []byte{':'}) {
			if string(run) == marker {
				return true
			}
		}
	}
	return false
}
