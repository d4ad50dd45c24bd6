package batch

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"mlrun/runtime"
	"mlrun/runtime/supervise"
)

// Head is what a line of the output has before the members of the verdict (docs/verdict.md), in the same object.
type Head struct {
	Job      string `json:"job"`                // its id
	Line     int    `json:"line"`               // of the list, from 1 on
	Spec     string `json:"spec"`               // stands for the text of that line: 16 hexadecimal digits
	Attempt  int    `json:"attempt,omitempty"`  // from 1 on
	Final    bool   `json:"final"`              // false: the job is tried again, with a larger limit
	Reserved int64  `json:"reserved,omitempty"` // bytes
	LimitBy  Basis  `json:"limitBy,omitempty"`
	WaitedMS int64  `json:"waitedMs,omitempty"` // milliseconds for which it was held since the machine was short of memory
}

// end is what matters of how an attempt ended.
type end struct {
	Reason   string
	ExitCode int
	Memory   struct{ Peak int64 }
}

// attempt is one that has ended.
type attempt struct {
	end
	verdict json.RawMessage
}

// ended reads the report of a worker, nil when it did not come to one. asked tells that its end was requested.
func (j *job) ended(r *report, asked bool) attempt {
	var a attempt
	switch {
	case r == nil && asked:
		return j.without(supervise.ReasonKilled, "", supervise.ExitSignal+9)
	case r == nil:
		return j.without(supervise.ReasonLost, "the process that supervised the job was ended, and the job with it", supervise.ExitLimit)
	case r.Error != "":
		return j.without(supervise.ReasonLaunch, r.Error, supervise.ExitFailure)
	}
	if a.verdict = r.Verdict; json.Unmarshal(r.Verdict, &a.end) != nil {
		return j.without(supervise.ReasonLost, "its verdict cannot be read", supervise.ExitLimit)
	}
	return a
}

// without is an attempt that nobody has supervised to its end.
func (j *job) without(reason, why string, code int) attempt {
	now := time.Now().UTC()
	v := runtime.Verdict{Version: supervise.VerdictVersion, ID: j.id, Reason: reason, Error: why, ExitCode: code, Created: now, Ended: now}
	v.Memory = supervise.Memory{Limit: -1, SwapLimit: -1, Soft: -1, Held: "none", PeakSource: "none"}
	if j.claim.Limit > 0 {
		v.Memory.Limit, v.Memory.Held = j.claim.Limit, "sampled"
	}
	b, _ := json.Marshal(&v) // it has nothing that cannot be
	return attempt{end{Reason: reason, ExitCode: code}, b}
}

// line is the line of the output for an attempt.
func (j *job) text(a attempt, final bool) []byte {
	h := Head{Job: j.id, Line: j.line, Spec: spec(j.digest), Attempt: j.attempt, Final: final, Reserved: j.claim.Reserved, LimitBy: j.claim.Basis}
	h.WaitedMS = j.waited.Milliseconds()
	head, _ := json.Marshal(&h)
	b := append(bytes.TrimSuffix(head, []byte("}")), ',')
	return append(append(b, a.verdict[1:]...), '\n')
}

// spec writes a digest.
func spec(digest uint64) string {
	s := strconv.FormatUint(digest, 16)
	return "0000000000000000"[len(s):] + s
}
