package runtime

import (
	"encoding/json"
	goruntime "runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"mlrun/limit"
	"mlrun/meter"
	"mlrun/rlimit"
)

// Features is what this mlrun can do on this machine: the document of the runtime-spec (features.md), and mlrun's own part.
type Features struct {
	features.Features
	MLRun FeaturesMLRun `json:"mlrun"`
}

// FeaturesMLRun says how limits are held.
type FeaturesMLRun struct {
	Memory     MemoryFeatures `json:"memory"`
	Limits     []HeldLimit    `json:"limits"`
	Mechanisms []Mechanism    `json:"mechanisms"`
}

// HeldLimit is a limit that a bundle can have, and how it is held on this machine.
type HeldLimit struct {
	Path string  `json:"path"`           // "process.rlimits"
	Name string  `json:"name,omitempty"` // "RLIMIT_NOFILE"
	Held string  `json:"held"`           // "kernel", "sampled", "advisory" or "none"
	By   string  `json:"by,omitempty"`
	Hard *uint64 `json:"hard,omitempty"` // the most that it can be without CAP_SYS_RESOURCE
}

// Mechanism is something of the kernel's, which was tried.
type Mechanism struct {
	Name  string `json:"name"`
	For   string `json:"for"`
	Works bool   `json:"works"`
	Why   string `json:"why,omitempty"` // it does not
}

// MarshalJSON also writes the lists that are empty: without them they would be unknown (features.md), and that they are not.
func (f *Features) MarshalJSON() ([]byte, error) {
	type linux struct {
		*features.Linux
		Namespaces []string `json:"namespaces"`
	}
	type spec struct {
		features.Features
		MountOptions []string      `json:"mountOptions"`
		Linux        linux         `json:"linux"`
		MLRun        FeaturesMLRun `json:"mlrun"`
	}
	return json.Marshal(spec{f.Features, f.MountOptions, linux{f.Linux, f.Linux.Namespaces}, f.MLRun})
}

// MemoryFeatures says how closely a memory limit is watched here. Package limit has the formula.
type MemoryFeatures struct {
	Held          string   `json:"held"`               // "sampled"
	Meter         string   `json:"meter"`              // what "auto" is here: "events" or "poll"
	NoEvents      string   `json:"noEvents,omitempty"` // why there are no events
	OnBreach      []string `json:"onBreach"`           // what dev.mlrun.memory.on-breach can be
	CPUs          int      `json:"cpus"`               // of this machine
	Rate          int64    `json:"rateBytesPerSecond"` // growth that is assumed of a group here
	Overshoot     int64    `json:"overshootBytes"`     // by how much the limit may be exceeded at that rate
	OvershootMin  int64    `json:"overshootMinBytes"`  // the least that dev.mlrun.memory.overshoot can be here
	ReactionUS    int64    `json:"reactionUs"`         // microseconds that a sample and a stop are taken to last
	IntervalMinUS int64    `json:"intervalMinUs"`      // shortest time between samples, in microseconds
	IntervalMaxUS int64    `json:"intervalMaxUs"`      // longest
	Interval      string   `json:"interval"`           // the formula
}

// GetFeatures finds out what can be done here.
func GetFeatures() *Features {
	no := false
	f := &Features{Features: features.Features{
		OCIVersionMin: "1.0.0", OCIVersionMax: specs.Version,
		Annotations:  map[string]string{"dev.mlrun.cgroups": "none"},
		Hooks:        []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions: []string{},
		Linux: &features.Linux{
			Namespaces: []string{}, Capabilities: []string{},
			Cgroup:   &features.Cgroup{V1: &no, V2: &no, Systemd: &no, SystemdUser: &no},
			Seccomp:  &features.Seccomp{Enabled: &no},
			Apparmor: &features.Apparmor{Enabled: &no},
			Selinux:  &features.Selinux{Enabled: &no},
		},
	}}
	cpus := goruntime.NumCPU()
	p, least := limit.New(limit.Config{Limit: 1 << 40, CPUs: cpus}), limit.New(limit.Config{Limit: 1 << 40, Overshoot: 1, CPUs: cpus})
	m := &f.MLRun.Memory
	*m = MemoryFeatures{
		Held: "sampled", Meter: string(meter.Events), CPUs: cpus, Rate: p.Rate, Overshoot: p.Bound, OvershootMin: least.Bound,
		ReactionUS: limit.Reaction.Microseconds(), IntervalMinUS: p.Min.Microseconds(), IntervalMaxUS: p.Max.Microseconds(),
		Interval: "clamp((limit - bound + overshoot) / rate - reaction, intervalMin, intervalMax)",
	}
	for a := limit.Kill; a <= limit.Signal; a++ {
		m.OnBreach = append(m.OnBreach, a.String())
	}
	if err := meter.ProbeEvents(); err != nil {
		m.Meter, m.NoEvents = string(meter.Poll), err.Error()
	}
	f.host()
	return f
}

// heldRlimits lists the limits of setrlimit(2).
func heldRlimits() (list []HeldLimit) {
	for _, name := range rlimit.Names() {
		l := HeldLimit{Path: "process.rlimits", Name: name, Held: "kernel"}
		t, _ := rlimit.Lookup(name)
		_, hard, err := rlimit.Get(t)
		if err != nil {
			l.Held, l.By = "none", err.Error()
		} else {
			l.Hard = &hard
		}
		list = append(list, l)
	}
	return list
}
