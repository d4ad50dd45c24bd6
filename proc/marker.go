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
