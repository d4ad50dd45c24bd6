package bundle

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"mlrun/admission"
	"mlrun/signame"
)

// Annotations by which a bundle configures mlrun itself. Those that begin with
// annotationPrefix and are not known here are refused.
const (
	annotationPrefix = "dev.mlrun."

	// MemoryLimitAnnotation is what linux.resources.memory.limit is, in the form
	// of [ParseSize]: for who writes a bundle for every platform.
	MemoryLimitAnnotation = annotationPrefix + "memory.limit"

	// MemoryGraceAnnotation is the time between asking a program which is over
	// its memory limit to end, and killing it, in the form of [ParseGrace].
	MemoryGraceAnnotation = annotationPrefix + "memory.grace"

	// MemoryOnBreachAnnotation is what happens to a program which is over its
	// memory limit, in the form of [ParseBreach].
	MemoryOnBreachAnnotation = annotationPrefix + "memory.on-breach"

	// MemoryOvershootAnnotation is how far the program may get over its memory
	// limit before that is noticed, in the form of [ParseOvershoot].
	MemoryOvershootAnnotation = annotationPrefix + "memory.overshoot"

	// MemoryMeterAnnotation is what wakes the meter, in the form of
	// [ParseMeter].
	MemoryMeterAnnotation = annotationPrefix + "memory.meter"

	// PidsModeAnnotation is what holds the limit of tasks, in the form of
	// [ParsePidsMode].
	PidsModeAnnotation = annotationPrefix + "pids.mode"

	// CPUTimeAnnotation is how much CPU time the program and all that it
	// starts may use together, in the form of [ParseTime].
	CPUTimeAnnotation = annotationPrefix + "cpu.time"

	// WallTimeAnnotation is how long the program may run, in the form of
	// [ParseTime].
	WallTimeAnnotation = annotationPrefix + "wall.time"

	// HangTimeAnnotation is how long the program may go without using any CPU
	// time, in the form of [ParseTime].
	HangTimeAnnotation = annotationPrefix + "hang.time"

	// AdmissionAvailableAnnotation is how much memory of the machine is to be
	// available before the program is executed, in the form of
	// [ParseAvailable].
	AdmissionAvailableAnnotation = annotationPrefix + "admission.available"

	// AdmissionReserveAnnotation is how much memory the program is expected to
	// use, in the form of [ParseSize].
	AdmissionReserveAnnotation = annotationPrefix + "admission.reserve"

	// AdmissionPressureAnnotation is what the pressure of memory is to be
	// below before the program is executed, in the form of [ParsePressure].
	AdmissionPressureAnnotation = annotationPrefix + "admission.pressure"

	// AdmissionTimeoutAnnotation is how long that is waited for, in the form
	// of [ParseTime].
	AdmissionTimeoutAnnotation = annotationPrefix + "admission.timeout"

	// AdmissionSettleAnnotation is how long a reservation holds, in the form
	// of [ParseTime].
	AdmissionSettleAnnotation = annotationPrefix + "admission.settle"

	// AdmissionScopeAnnotation is what waits: the start of the program, or
	// each program that it and all that it starts execute, in the form of
	// [ParseScope].
	AdmissionScopeAnnotation = annotationPrefix + "admission.scope"

	// GroupAnnotation is the limit group that the program and all that it
	// starts are in, in the form of [ParseGroup].
	GroupAnnotation = annotationPrefix + "group"
)

// Settings are what a bundle sets of mlrun itself. The zero value is that of a
// bundle which sets nothing.
type Settings struct {
	// MemoryLimit is from MemoryLimitAnnotation in bytes; 0 if it is absent. What
	// holds is Bundle.MemoryLimit.
	MemoryLimit int64

	MemoryGrace    time.Duration // from MemoryGraceAnnotation
	MemoryGraceSet bool          // whether it is present

	// OnBreach is from MemoryOnBreachAnnotation, or BreachFreeze if
	// linux.resources.memory.disableOOMKiller is true.
	OnBreach Breach

	// Overshoot is from MemoryOvershootAnnotation in bytes, from MinOvershoot
	// to MaxOvershoot; 0 if it is absent.
	Overshoot int64

	Meter Meter // from MemoryMeterAnnotation

	PidsMode PidsMode // from PidsModeAnnotation

	// CPUTime, WallTime and HangTime are from the annotations of these names;
	// 0 is no limit.
	CPUTime, WallTime, HangTime time.Duration

	Admission Admission

	Group string // from GroupAnnotation; "" if it is absent
}

// Admission is what has to be true before the program is executed.
type Admission struct {
	Available *admission.Amount // from AdmissionAvailableAnnotation; nil if it is absent
	Reserve   int64             // from AdmissionReserveAnnotation in bytes; 0 if it is absent
	Pressure  float64           // from AdmissionPressureAnnotation in percent; 0 if it is absent

	// Timeout and Settle are from the annotations of these names; 0 if they
	// are absent.
	Timeout, Settle time.Duration

	Scope Scope // from AdmissionScopeAnnotation
}

// Scope is what waits for memory.
type Scope uint8

const (
	ScopeStart Scope = iota // the start of the program
	ScopeTree               // each execve(2) of the program and of all that it starts, too
)

// scopes are the words for them.
var scopes = [...]string{ScopeStart: "start", ScopeTree: "tree"}

// String returns s as [ParseScope] reads it.
func (s Scope) String() string { return scopes[s] }

// ParseScope reads what is to wait for memory: start or tree.
func ParseScope(s string) (Scope, error) {
	for scope, word := range scopes {
		if s == word {
			return Scope(scope), nil
		}
	}
	return 0, errors.New("scope " + quote(s) + ": want " + wantScope)
}

// ParseGroup reads the name of a limit group: its id or its label. Whether there
// is one is known when it is run.
func ParseGroup(s string) (string, error) {
	const most = 120 // bytes of a label
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if s == "" || len(s) > most || !utf8.ValidString(s) || strings.ContainsFunc(s, unprintable) {
		return "", errors.New("group " + quote(s) + ": want " + wantGroup)
	}
	return s, nil
}

// ParseAvailable reads how much memory is to be available, in the form of
// [admission.ParseAmount], and less than all of it.
func ParseAvailable(s string) (admission.Amount, error) {
	a, err := admission.ParseAmount(s)
	if err != nil || a == admission.Percent(100) {
		return a, errors.New("available memory " + quote(s) + ": want " + wantAvailable)
	}
	return a, nil
}

// ParsePressure reads what the pressure is to be below: a percentage more than
// 0, and at most 100, with or without a percent sign.
func ParsePressure(s string) (float64, error) {
	text := strings.TrimSuffix(s, "%")
	p, err := strconv.ParseFloat(text, 64)
	if err != nil || strings.Trim(text, "0123456789.") != "" || p <= 0 || p > 100 {
		return 0, errors.New("pressure " + quote(s) + ": want " + wantPressure)
	}
	return p, nil
}

// Breach is what happens to a program that is over its memory limit. The zero
// value is the default: all of it is killed.
type Breach struct {
	Action BreachAction
	Signal syscall.Signal // of BreachSignal, never SIGKILL or SIGSTOP; else 0
}

// BreachAction is the kind of a [Breach].
type BreachAction uint8

const (
	BreachKill        BreachAction = iota // end all processes: SIGTERM, the grace period, SIGKILL
	BreachKillLargest                     // end the process that holds the most memory
	BreachKillNewest                      // end the process that was started last
	BreachFreeze                          // stop all processes until somebody decides
	BreachSignal                          // send Breach.Signal, and let them go on
)

// breachSignal is what comes before the name of the signal of BreachSignal.
const breachSignal = "signal:"

// breachActions are the words for those that need no signal.
var breachActions = [...]string{
	BreachKill:        "kill",
	BreachKillLargest: "kill-largest",
	BreachKillNewest:  "kill-newest",
	BreachFreeze:      "freeze",
}

// String returns b as [ParseBreach] reads it: "kill", "signal:SIGUSR1".
func (b Breach) String() string {
	if b.Action == BreachSignal {
		return breachSignal + signame.Name(b.Signal)
	}
	return breachActions[b.Action]
}

// ParseBreach reads what is to happen over the memory limit: kill,
// kill-largest, kill-newest, freeze or signal:NAME, where NAME is a signal in
// the form of [signame.Parse] (USR1, SIGUSR1, 10). The signals that a program
// can not catch are refused, because kill and freeze do what they are for.
func ParseBreach(s string) (Breach, error) {
	b, want := parseBreach(s)
	if want != "" {
		return Breach{}, errors.New("on-breach " + quote(s) + ": want " + want)
	}
	return b, nil
}

// parseBreach is ParseBreach with what is wanted in place of an error.
func parseBreach(s string) (b Breach, want string) {
	for action, word := range breachActions {
		if s == word {
			return Breach{Action: BreachAction(action)}, ""
		}
	}
	name, isSignal := strings.CutPrefix(s, breachSignal)
	if !isSignal {
		return b, wantBreach
	}
	sig, err := signame.Parse(name)
	switch {
	case err != nil:
		return b, wantBreach
	case sig == syscall.SIGKILL:
		return b, "kill: SIGKILL can not be caught, and kill leaves nothing behind"
	case sig == syscall.SIGSTOP:
		return b, "freeze: SIGSTOP can not be caught, and freeze stops every process"
	}
	return Breach{Action: BreachSignal, Signal: sig}, ""
}

// Meter is what wakes the meter.
type Meter uint8

const (
	MeterAuto   Meter = iota // MeterEvents where the host allows it, else MeterPoll
	MeterEvents              // events of the kernel beside the deadlines; refused where the host does not allow it
	MeterPoll                // deadlines alone
)

// meters are the words for them.
var meters = [...]string{MeterAuto: "auto", MeterEvents: "events", MeterPoll: "poll"}

// String returns m as [ParseMeter] reads it.
func (m Meter) String() string { return meters[m] }

// ParseMeter reads what is to wake the meter: auto, events or poll.
func ParseMeter(s string) (Meter, error) {
	for m, word := range meters {
		if s == word {
			return Meter(m), nil
		}
	}
	return 0, errors.New("meter " + quote(s) + ": want " + wantMeter)
}

// PidsMode is what holds the limit of tasks.
type PidsMode uint8

const (
	PidsAuto    PidsMode = iota // PidsKernel where that is possible, else PidsSampled
	PidsKernel                  // the kernel, in a user namespace of the program's own; refused where there can be none
	PidsSampled                 // looks at the number of tasks
)

// pidsModes are the words for them.
var pidsModes = [...]string{PidsAuto: "auto", PidsKernel: "kernel", PidsSampled: "sampled"}

// String returns m as [ParsePidsMode] reads it.
func (m PidsMode) String() string { return pidsModes[m] }

// ParsePidsMode reads what is to hold the limit of tasks: auto, kernel or
// sampled.
func ParsePidsMode(s string) (PidsMode, error) {
	for m, word := range pidsModes {
		if s == word {
			return PidsMode(m), nil
		}
	}
	return 0, errors.New("pids mode " + quote(s) + ": want " + wantPidsMode)
}

// What an overshoot can be, in bytes. Less than the least could not be kept:
// the kernel's own counters of resident pages lag by 32 pages and more for each
// CPU (percpu_counter, since Linux 6.2).
const (
	MinOvershoot = 1 << 20
	MaxOvershoot = 1 << 40
)

// ParseOvershoot reads how far a memory limit may be exceeded, in the form of
// [ParseSize], from [MinOvershoot] to [MaxOvershoot].
func ParseOvershoot(s string) (int64, error) {
	n, err := ParseSize(s)
	if err != nil || n < MinOvershoot || n > MaxOvershoot {
		return 0, errors.New("overshoot " + quote(s) + ": want " + wantOvershoot)
	}
	return n, nil
}

const (
	wantBreach = "kill, kill-largest, kill-newest, freeze, or signal:NAME with a name such as USR1 or a number from 1 to 64"
	wantMeter  = "auto, events or poll"

	wantPidsMode = "auto, kernel or sampled"

	wantAvailable = admission.WantAmount + ", and less than 100%, which is never available"
	wantPressure  = "a percentage more than 0 and at most 100, such as 10%"
	wantScope     = "start or tree"

	wantGroup = "the id or the label of a limit group: 1 to 120 characters that can be printed"

	wantOvershoot = "a number of bytes, or one with a suffix such as 16M, from 1M to 1024G"
)

// annotation is one that mlrun knows. take sets what it is for and returns "",
// or else what is wanted.
type annotation struct {
	name string
	take func(s *Settings, value string) (want string)
}

var annotations = [...]annotation{
	{MemoryLimitAnnotation, func(s *Settings, value string) (want string) {
		var err error
		s.MemoryLimit, err = ParseSize(value)
		return wantIf(err, wantSize)
	}},
	{MemoryGraceAnnotation, func(s *Settings, value string) string {
		grace, err := ParseGrace(value)
		s.MemoryGrace, s.MemoryGraceSet = grace, true
		return wantIf(err, wantGrace)
	}},
	{MemoryOnBreachAnnotation, func(s *Settings, value string) (want string) {
		s.OnBreach, want = parseBreach(value)
		return want
	}},
	{MemoryOvershootAnnotation, func(s *Settings, value string) (want string) {
		var err error
		s.Overshoot, err = ParseOvershoot(value)
		return wantIf(err, wantOvershoot)
	}},
	{MemoryMeterAnnotation, func(s *Settings, value string) (want string) {
		var err error
		s.Meter, err = ParseMeter(value)
		return wantIf(err, wantMeter)
	}},
	{PidsModeAnnotation, func(s *Settings, value string) (want string) {
		var err error
		s.PidsMode, err = ParsePidsMode(value)
		return wantIf(err, wantPidsMode)
	}},
	{CPUTimeAnnotation, func(s *Settings, value string) string { return takeTime(&s.CPUTime, value) }},
	{WallTimeAnnotation, func(s *Settings, value string) string { return takeTime(&s.WallTime, value) }},
	{HangTimeAnnotation, func(s *Settings, value string) string { return takeTime(&s.HangTime, value) }},
	{AdmissionAvailableAnnotation, func(s *Settings, value string) string {
		a, err := ParseAvailable(value)
		s.Admission.Available = &a
		return wantIf(err, wantAvailable)
	}},
	{AdmissionReserveAnnotation, func(s *Settings, value string) (want string) {
		var err error
		s.Admission.Reserve, err = ParseSize(value)
		return wantIf(err, wantSize)
	}},
	{AdmissionPressureAnnotation, func(s *Settings, value string) (want string) {
		var err error
		s.Admission.Pressure, err = ParsePressure(value)
		return wantIf(err, wantPressure)
	}},
	{AdmissionScopeAnnotation, func(s *Settings, value string) (want string) {
		var err error
		s.Admission.Scope, err = ParseScope(value)
		return wantIf(err, wantScope)
	}},
	{AdmissionTimeoutAnnotation, func(s *Settings, value string) string { return takeTime(&s.Admission.Timeout, value) }},
	{AdmissionSettleAnnotation, func(s *Settings, value string) string { return takeTime(&s.Admission.Settle, value) }},
	{GroupAnnotation, func(s *Settings, value string) (want string) {
		var err error
		s.Group, err = ParseGroup(value)
		return wantIf(err, wantGroup)
	}},
}

// takeTime sets a limit of time.
func takeTime(to *time.Duration, value string) string {
	d, err := ParseTime(value)
	*to = d
	return wantIf(err, wantTime)
}

// wantIf returns what is wanted if there was an error.
func wantIf(err error, want string) string {
	if err == nil {
		return ""
	}
	return want
}

// annotations checks annotations, and takes the settings from those of mlrun.
func (c *checker) annotations() {
	for _, e := range c.entries(c.member(0, "annotations")) {
		switch {
		case e.name == "":
			c.wrong(e.value, "")
		case strings.HasPrefix(e.name, annotationPrefix):
			c.setting(e)
		}
	}
}

// setting takes one annotation of mlrun.
func (c *checker) setting(e entry) {
	names := make([]string, len(annotations))
	for i := range annotations {
		a := &annotations[i]
		if a.name == e.name {
			if want := a.take(&c.bundle.Settings, c.bundle.Spec.Annotations[e.name]); want != "" {
				c.wrongHere(e.value, "a string: "+want)
			}
			return
		}
		names[i] = a.name
	}
	c.refuse(e.value, "of "+annotationPrefix+"* mlrun knows only "+strings.Join(names, ", "))
}
