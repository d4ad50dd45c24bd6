package runtime

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/group"
	"mlrun/proc"
	"mlrun/rlimit"
	"mlrun/runtime/store"
	"mlrun/runtime/supervise"
)

// configFile is the copy of config.json as of create.
const configFile = "config.json"

// record is what is stored of a container: facts only.
type record struct {
	ID          string               `json:"id"`
	Bundle      string               `json:"bundle"`
	Annotations map[string]string    `json:"annotations,omitempty"`
	Created     time.Time            `json:"created"`
	Creator     proc.ID              `json:"creator"`    // the process that claimed the id
	Supervisor  proc.ID              `json:"supervisor"` // pid 0 while there is none yet
	Payload     *proc.ID             `json:"payload,omitempty"`
	Started     *time.Time           `json:"started,omitempty"`
	Limits      []Limit              `json:"limits"`
	Memory      memory               `json:"memory"`
	Budget      budget               `json:"budget,omitzero"`
	Place       *supervise.Place     `json:"place,omitempty"`     // by updates
	Gate        *gate                `json:"gate,omitempty"`      // before the program is executed; nil: none
	Admission   *supervise.Admission `json:"admission,omitempty"` // how that stands
	Group       group.ID             `json:"group,omitempty"`     // limit group; 0: none
	Nested      uint64               `json:"nested,omitempty"`    // limit of processes of the namespace of a group that the payload is in; 0: in none
	PreserveFDs int                  `json:"preserveFds,omitempty"`
	Paused      bool                 `json:"paused,omitempty"`
	Terminal    bool                 `json:"terminal,omitempty"` // the payload has one of its own
	CallerReaps bool                 `json:"callerReaps,omitempty"`
	Report      string               `json:"report,omitempty"`
	// Verdict is a *Verdict, encoded: most records have none, and should not pay for its encoder.
	Verdict json.RawMessage `json:"verdict,omitempty"`
}

// StatePaused is the status of a container whose processes were stopped by Pause. The runtime-spec leaves it to runtimes.
const StatePaused specs.ContainerState = "paused"

// hasPayload tells of a status whether there is a process that waits for its start, runs or is stopped.
func hasPayload(status specs.ContainerState) bool {
	return status == specs.StateCreated || status == specs.StateRunning || status == StatePaused
}

// verdict decodes the verdict; nil when there is none.
func (r *record) verdict() *Verdict {
	var v Verdict
	if len(r.Verdict) == 0 || json.Unmarshal(r.Verdict, &v) != nil {
		return nil
	}
	return &v
}

func (o *CreateOptions) record() *record {
	b := o.budget()
	b.Tasks.decide(o.Bundle)
	return &record{
		ID: o.ID, Bundle: o.Bundle.Dir, Annotations: o.Bundle.Spec.Annotations, Created: time.Now().UTC(), Creator: proc.Self(),
		Limits: o.limits(&b), Memory: o.memory(), Budget: b, Gate: o.gate(), Group: o.group, PreserveFDs: o.PreserveFDs, Report: o.Report, Terminal: o.Terminal != nil,
	}
}

// status derives the status from the facts and from which processes live now. live tells about the supervisor.
func (r *record) status() (status specs.ContainerState, live bool) {
	live = proc.Root.Alive(r.Supervisor)
	switch {
	case r.Verdict != nil:
		return specs.StateStopped, live
	case r.Payload == nil && (live || r.Supervisor.PID == 0 && proc.Root.Alive(r.Creator)):
		return specs.StateCreating, live
	case r.Payload == nil, !proc.Root.Alive(*r.Payload):
		return specs.StateStopped, live
	case r.Started == nil:
		return specs.StateCreated, live
	case r.Paused && live:
		return StatePaused, live
	}
	return specs.StateRunning, live
}

// State is the state of a container: the properties of the runtime-spec, and mlrun's own.
type State struct {
	specs.State
	Rootfs  string    `json:"rootfs"`  // "/": as Created in the place where runc has it
	Created time.Time `json:"created"` // that of MLRun
	MLRun   Extension `json:"mlrun"`
}

// Extension is what mlrun adds to the state of the runtime-spec.
type Extension struct {
	Created    time.Time            `json:"created"`
	Started    *time.Time           `json:"started,omitempty"`
	Supervisor int                  `json:"supervisor,omitempty"` // pid, while it lives
	Memory     *MemoryState         `json:"memory,omitempty"`     // while there is a payload, and of the whole run when stopped
	Processes  int                  `json:"processes"`            // members alive
	Limits     []Limit              `json:"limits"`
	Admission  *supervise.Admission `json:"admission,omitempty"` // the wait for memory before the start
	Group      group.ID             `json:"group,omitempty"`     // limit group that it is in, as of its start
	Reason     string               `json:"reason,omitempty"`    // why it is stopped
	ExitCode   *int                 `json:"exitCode,omitempty"`  // what mlrun run would exit with
	Verdict    *Verdict             `json:"verdict,omitempty"`
	Problem    string               `json:"problem,omitempty"` // the state that is stored cannot be used: why
}

// MemoryState is the memory of a container.
type MemoryState struct {
	Current int64  `json:"current"` // bytes
	Exact   bool   `json:"exact"`   // false: Current is an upper bound
	Peak    int64  `json:"peak"`    // bytes
	Limit   int64  `json:"limit"`   // bytes; -1: none
	Held    string `json:"held"`    // "sampled", "none"

	Swap       int64  `json:"swap"`                // bytes swapped out
	SwapLimit  int64  `json:"swapLimit"`           // bytes of memory and swap together; -1: none
	Soft       int64  `json:"soft"`                // bytes: over it the group is slowed down; -1: none
	Overshoot  int64  `json:"overshoot,omitempty"` // bytes: by how much the limit may be exceeded (package limit)
	OnBreach   string `json:"onBreach"`            // what happens then
	Meter      string `json:"meter,omitempty"`     // "events" or "poll"
	Unreadable int    `json:"unreadable"`          // processes whose PSS cannot be read
	Uncertain  int64  `json:"uncertain"`           // bytes: by how much Current may be too low for them
	Throttled  bool   `json:"throttled"`           // stopped for a moment, over the soft limit
	Frozen     bool   `json:"frozen"`              // stopped over the limit, until it is continued or ended
}

func (r *record) state(status specs.ContainerState) *State {
	s := &State{Rootfs: "/", Created: r.Created, State: specs.State{
		Version: specs.Version, ID: r.ID, Status: status, Bundle: r.Bundle, Annotations: r.Annotations,
	}}
	if r.Payload != nil && hasPayload(status) {
		s.Pid = r.Payload.PID
	}
	s.MLRun = Extension{Created: r.Created, Started: r.Started, Limits: r.Limits, Admission: r.Admission, Group: r.Group, Verdict: r.verdict()}
	if r.Limits == nil {
		s.MLRun.Limits = []Limit{}
	}
	return s
}

// now is the state as of now, with the pid of the supervisor if that lives.
func (r *record) now() (s *State, status specs.ContainerState, live bool) {
	status, live = r.status()
	s = r.state(status)
	if live {
		s.MLRun.Supervisor = r.Supervisor.PID
	}
	return s, status, live
}

// memory starts the memory part of a state.
func (r *record) memory() *MemoryState {
	p := r.Memory.policy()
	m := &MemoryState{Limit: -1, SwapLimit: -1, Soft: -1, Held: "none", OnBreach: p.OnBreach.String()}
	for _, l := range []struct {
		asked int64
		shown *int64
	}{{p.Limit, &m.Limit}, {p.Swap, &m.SwapLimit}, {p.High, &m.Soft}} {
		if l.asked > 0 {
			*l.shown, m.Held = l.asked, "sampled"
		}
	}
	if p.Limit > 0 || p.Swap > 0 {
		m.Overshoot = p.Bound
	}
	return m
}

// load reads the record of a container. One that was claimed but never written is empty, and stopped.
func load(d *store.Dir) (*record, error) {
	r := &record{}
	err := d.Read(r)
	if errors.Is(err, fs.ErrNotExist) {
		return &record{ID: d.ID}, nil
	}
	return r, err
}

// finished fills in what is known of a run that ended.
func (s *State) finished(r *record) {
	v := s.MLRun.Verdict
	if v == nil {
		s.MLRun.Reason = supervise.ReasonLost
		return
	}
	s.MLRun.Reason, s.MLRun.ExitCode = v.Reason, &v.ExitCode
	m := r.memory()
	m.Exact, m.Peak, m.Meter = true, v.Memory.Peak, v.Memory.Meter
	s.MLRun.Memory = m
}

// retask puts another limit of tasks in place; -1 is none.
func (r *record) retask(n *int64) {
	if n == nil {
		return
	}
	i := slices.IndexFunc(r.Limits, func(l Limit) bool { return l.Name == pidsName })
	switch t := r.Budget.Tasks; {
	case *n < 0:
		r.Budget.Tasks = nil
		if i >= 0 {
			r.Limits = slices.Delete(r.Limits, i, i+1)
		}
		return
	case t == nil:
		r.Budget.Tasks = &tasks{Max: *n}
	default:
		changed := *t
		changed.Max = *n
		r.Budget.Tasks = &changed
	}
	if i < 0 {
		r.Limits = append(r.Limits, Limit{Path: pidsPath, Name: pidsName, Unit: "tasks", Held: heldSampled})
		i = len(r.Limits) - 1
	}
	r.Limits[i].Soft, r.Limits[i].Hard = uint64(*n), uint64(*n)
}

// relimit puts resource limits in the place of those of the same type.
func (r *record) relimit(limits []rlimit.Limit) {
	for _, l := range limits {
		i := slices.IndexFunc(r.Limits, func(have Limit) bool { return have.Name == l.Name && have.Held == heldKernel })
		if i < 0 {
			i = len(r.Limits)
			r.Limits = append(r.Limits, Limit{Path: rlimitsPath, Name: l.Name, Held: heldKernel})
		}
		r.Limits[i].Soft, r.Limits[i].Hard = l.Soft, l.Hard
	}
}
