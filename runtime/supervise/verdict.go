package supervise

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"mlrun/limit"
	"mlrun/proc"
	"mlrun/runtime/launch"
)

// VerdictVersion is the version of the verdict's form. Fields are added without a new version; one whose meaning changes
// gets a new name or a new version.
const VerdictVersion = 1

// Reasons of a verdict.
const (
	ReasonExited    = "exited"       // the payload ended by itself
	ReasonSignaled  = "signaled"     // the payload was ended by a signal that mlrun did not send
	ReasonMemory    = "memory-limit" // the memory limit was exceeded
	ReasonPids      = "pids-limit"   // there were more tasks than the limit
	ReasonHuge      = "hugepages-limit"
	ReasonCPU       = "cpu-limit"         // all processes together used more CPU time than the limit
	ReasonWall      = "wall-limit"        // it ran for longer than the limit
	ReasonHang      = "hang"              // it used no CPU time for as long as the limit
	ReasonKilled    = "killed"            // ended on request: mlrun kill, mlrun delete --force, or a signal that was passed on
	ReasonLaunch    = "launch-failed"     // the program was never executed
	ReasonAdmission = "admission-timeout" // there was not enough memory in time, so the program was never executed
	ReasonHook      = "hook-failed"       // a hook failed, so everything was stopped
	ReasonLost      = "lost"              // the supervisor was killed, and the run with it; only derived, never written
)

// Verdict is the account of a finished run. docs/verdict.md documents it field by field.
type Verdict struct {
	Version  int    `json:"version"`
	ID       string `json:"id"`
	Reason   string `json:"reason"`
	Error    string `json:"error,omitempty"`
	ExitCode int    `json:"exitCode"` // what mlrun run exits with

	Exited     bool   `json:"exited"`           // the payload called exit
	Code       *int   `json:"code,omitempty"`   // with which code
	Signal     string `json:"signal,omitempty"` // or was ended by this signal: "SIGKILL"
	CoreDumped bool   `json:"coreDumped,omitempty"`

	Exceeded *Exceeded `json:"exceeded,omitempty"` // the limit, when Reason is one of those besides memory
	Group    *InGroup  `json:"group,omitempty"`    // the limit group that ended the run, when it was no limit of the run's own
	Throttle *Throttle `json:"throttle,omitempty"` // with a quota of CPU time
	Rlimit   *Rlimited `json:"rlimit,omitempty"`   // the limit of setrlimit(2) that ended it

	Admission *Admission `json:"admission,omitempty"` // the wait for memory before the start
	ExecGate  *Gated     `json:"execGate,omitempty"`  // the programs that had to wait for memory, where every one is asked to

	Memory  Memory     `json:"memory"`
	Top     []Victim   `json:"top,omitempty"`
	Killed  []Victim   `json:"killed,omitempty"`
	Escaped int        `json:"escaped"`
	Left    int        `json:"left"`
	Denied  []proc.ID  `json:"denied,omitempty"`
	Rusage  *Rusage    `json:"rusage,omitempty"`
	Created time.Time  `json:"created"`
	Started *time.Time `json:"started,omitempty"`
	Ended   time.Time  `json:"ended"`

	Terminal bool `json:"-"` // the payload had the terminal
}

// Memory is what the meter saw.
type Memory struct {
	Limit            int64   `json:"limit"`                      // bytes; -1: none
	SwapLimit        int64   `json:"swapLimit"`                  // bytes of memory and swap together; -1: none
	OnBreach         string  `json:"onBreach,omitempty"`         // what exceeding the limit leads to
	Soft             int64   `json:"soft"`                       // bytes: over it the group is slowed down; -1: none
	Held             string  `json:"held"`                       // "sampled", or "none" without a limit
	Meter            string  `json:"meter,omitempty"`            // "events" or "poll": how growth was noticed between samples
	Overshoot        int64   `json:"overshoot,omitempty"`        // bytes: by how much the limit may be exceeded at the rate that package limit assumes
	Bound            int64   `json:"-"`                          // bytes: the newest upper bound
	Peak             int64   `json:"peak"`                       // bytes: the most that was measured
	PeakSource       string  `json:"peakSource"`                 // "pss", or "maxrss" when no sample saw more than one process, or "none"
	PeakUpper        int64   `json:"peakUpper"`                  // bytes: the most that it can have been at any sample
	SwapPeak         int64   `json:"swapPeak,omitempty"`         // bytes: the most that was swapped out at an exact reading
	Breaches         int     `json:"breaches,omitempty"`         // how often the limit was exceeded
	AtBreach         int64   `json:"atBreach,omitempty"`         // bytes at the newest breach, measured with the group stopped
	SwapAtBreach     int64   `json:"swapAtBreach,omitempty"`     // bytes swapped out at the newest breach
	DetectionDelayUS int64   `json:"detectionDelayUs,omitempty"` // microseconds from the last sample under the limit to the newest breach
	Throttled        int64   `json:"throttled,omitempty"`        // how often the group was stopped for being over its soft limit
	ThrottledMS      int64   `json:"throttledMs,omitempty"`      // milliseconds in total
	Samples          int64   `json:"samples"`
	Looks            int64   `json:"looks,omitempty"` // looks at the memory of the machine that stood for samples
	ExactReads       int64   `json:"exactReads"`
	Unreadable       int     `json:"unreadable"`            // most processes at once whose PSS could not be read
	Uncertain        int64   `json:"uncertain,omitempty"`   // bytes: the most by which an exact reading may have been too low for them
	MissedSpike      int64   `json:"missedSpike,omitempty"` // bytes: a process was this large, over the limit, and no sample saw it
	MonitorCPUMS     float64 `json:"monitorCpuMs"`          // CPU time that mlrun itself used, in milliseconds

	Warnings []Warning `json:"warnings,omitempty"` // 80 and 95 percent of the limit
}

// limits fills in what was asked for.
func (m *Memory) limits(p limit.Policy) {
	none := func(n int64) int64 {
		if n <= 0 {
			return -1
		}
		return n
	}
	m.Limit, m.SwapLimit, m.Soft, m.Held = none(p.Limit), none(p.Swap), none(p.High), "none"
	if p.Limit > 0 || p.Swap > 0 {
		m.Held, m.Overshoot, m.OnBreach = "sampled", p.Bound, p.OnBreach.String()
	}
}

// InGroup is the limit of a group of runs, which this one was ended for.
type InGroup struct {
	ID       int64  `json:"id"`
	Label    string `json:"label,omitempty"`
	Limit    int64  `json:"limit"`
	Observed int64  `json:"observed"`       // of all runs of the group together
	Unit     string `json:"unit,omitempty"` // "bytes", "processes"; none: it was asked to end
}

// Exceeded is a limit other than that of memory.
type Exceeded struct {
	Limit    int64  `json:"limit"`
	Observed int64  `json:"observed"` // when it was found to be exceeded
	Unit     string `json:"unit"`     // "tasks", "bytes" or "microseconds"
}

// Throttle tells how often, and for how long in all, everything was stopped to keep the quota of CPU time.
type Throttle struct {
	Periods int64 `json:"periods"`
	TimeUS  int64 `json:"timeUs"` // microseconds
}

// reasons are those of limits.
var reasons = [...]string{
	limit.OverTasks: ReasonPids, limit.OverHuge: ReasonHuge, limit.OverCPU: ReasonCPU, limit.OverWall: ReasonWall, limit.Hung: ReasonHang,
}

// exceeded is what of b was exceeded by s.
func exceeded(b limit.Budget, what limit.Excess, s limit.Spent) *Exceeded {
	switch what {
	case limit.OverTasks:
		return &Exceeded{b.Tasks, s.Tasks, "tasks"}
	case limit.OverCPU:
		return &Exceeded{b.CPU.Microseconds(), s.CPU.Microseconds(), "microseconds"}
	case limit.OverWall:
		return &Exceeded{b.Wall.Microseconds(), s.Wall.Microseconds(), "microseconds"}
	case limit.Hung:
		return &Exceeded{b.Hang.Microseconds(), s.Idle.Microseconds(), "microseconds"}
	}
	for i, h := range b.Huge {
		if s.Huge[i] > h.Limit {
			return &Exceeded{h.Limit, s.Huge[i], "bytes"}
		}
	}
	return nil
}

// IsLimit tells whether a reason is a limit that was exceeded.
func IsLimit(reason string) bool {
	return reason == ReasonMemory || slices.Contains(reasons[limit.OverTasks:], reason)
}

// Admission is the wait for memory before a start: what was there at the newest look. Amounts are in bytes.
type Admission struct {
	Waiting     bool    `json:"waiting,omitempty"` // it still waits
	Admitted    bool    `json:"admitted"`
	WaitedUS    int64   `json:"waitedUs"`           // microseconds
	Required    int64   `json:"required"`           // of memory that had to be available, beyond what is reserved
	Reserved    int64   `json:"reserved"`           // for the start itself
	Available   int64   `json:"available"`          // on the machine
	Total       int64   `json:"total"`              // on the machine
	Outstanding int64   `json:"outstanding"`        // reserved by others, and not used by them yet
	Pressure    float64 `json:"pressure,omitempty"` // percent, if it was asked for
}

// Gated is what became of the programs that a run has executed where each waits until there is memory for it.
type Gated struct {
	Execs     int64 `json:"execs"`     // execve calls that went on, those of a search for the program as one
	Held      int64 `json:"held"`      // that had to wait, also those that were killed meanwhile
	Forced    int64 `json:"forced"`    // that were let through since nothing but the run itself could have made room
	WaitedUS  int64 `json:"waitedUs"`  // microseconds, by all of them together
	LongestUS int64 `json:"longestUs"` // microseconds, by one of them
}

// Warning tells that a part of the limit was in use.
type Warning struct {
	Percent int       `json:"percent"`
	Memory  int64     `json:"memory"` // bytes
	Swap    int64     `json:"swap"`   // bytes
	At      time.Time `json:"at"`
}

// Victim is a process at the moment of the breach.
type Victim struct {
	proc.ID
	Command string `json:"command"`
	Memory  int64  `json:"memory"` // bytes
	Swap    int64  `json:"swap"`   // bytes
	Exact   bool   `json:"exact"`
}

// Rusage is getrusage(2) of all processes. Linux does not maintain the fields in Unmaintained, which are therefore absent.
type Rusage struct {
	UTimeUS      int64    `json:"utimeUs"` // microseconds of user CPU time
	STimeUS      int64    `json:"stimeUs"` // microseconds of system CPU time
	MaxRSS       int64    `json:"maxrss"`  // bytes: largest resident set of a single process
	MinFlt       int64    `json:"minflt"`  // page faults without I/O
	MajFlt       int64    `json:"majflt"`  // page faults with I/O
	InBlock      int64    `json:"inblock"` // blocks of 512 bytes read
	OuBlock      int64    `json:"oublock"` // blocks of 512 bytes written
	NVCSw        int64    `json:"nvcsw"`   // voluntary context switches
	NIvCSw       int64    `json:"nivcsw"`  // involuntary context switches
	Unmaintained []string `json:"unmaintained"`

	UnwaitedUS int64 `json:"unwaitedUs,omitempty"` // microseconds of utime and stime: of processes that nobody waited for, as they were last seen
	Sampled    bool  `json:"sampled,omitempty"`    // as /proc has shown it, not as wait4(2) has told it
	Unread     int   `json:"unread,omitempty"`     // processes whose block I/O could not be read
}

// unmaintained are the fields of getrusage(2) that Linux leaves 0.
func unmaintained() []string {
	return []string{"ixrss", "idrss", "isrss", "nswap", "msgsnd", "msgrcv", "nsignals"}
}

func newRusage(r syscall.Rusage) *Rusage {
	us := func(t syscall.Timeval) int64 { return int64(t.Sec)*1e6 + int64(t.Usec) }
	return &Rusage{
		UTimeUS: us(r.Utime), STimeUS: us(r.Stime), MaxRSS: int64(r.Maxrss) << rssShift,
		MinFlt: int64(r.Minflt), MajFlt: int64(r.Majflt), InBlock: int64(r.Inblock), OuBlock: int64(r.Oublock),
		NVCSw: int64(r.Nvcsw), NIvCSw: int64(r.Nivcsw),
		Unmaintained: unmaintained(),
	}
}

// Exit codes of mlrun run, besides the payload's own. See exit statuses in POSIX XCU 2.8.2.
const (
	ExitFailure       = 1   // mlrun itself
	ExitUsage         = 2   // the command line
	ExitNotExecutable = 126 // the program was found and cannot be executed
	ExitNotFound      = 127 // the program was not found
	ExitTempFail      = 75  // there was not enough memory in time (EX_TEMPFAIL of sysexits.h)
	ExitLimit         = 137 // a limit was exceeded (128 + SIGKILL)
	ExitSignal        = 128 // plus the number of the signal
)

// exitCode is what mlrun run exits with.
func (s state) exitCode(launch int) int {
	if IsLimit(s.reason) {
		return ExitLimit
	}
	switch s.reason {
	case ReasonLaunch, ReasonAdmission:
		return launch
	case ReasonHook:
		return ExitFailure
	}
	switch {
	case s.known && s.status.Exited():
		return s.status.ExitStatus()
	case s.known && s.status.Signaled():
		return ExitSignal + int(s.status.Signal())
	}
	return ExitSignal + int(syscall.SIGKILL)
}

// LaunchCode is the exit code of a shell for a program that was not executed for the reason err, ExitTempFail when it was not admitted, 0 when err is another
// error.
func LaunchCode(err error) int {
	var e *launch.ExecError
	switch {
	case errors.Is(err, ErrNotAdmitted):
		return ExitTempFail
	case !errors.As(err, &e):
		return 0
	case e.NotFound():
		return ExitNotFound
	}
	return ExitNotExecutable
}
