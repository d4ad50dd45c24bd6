package runtime

import (
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/proc"
	"mlrun/runtime/store"
	"mlrun/runtime/supervise"
)

// configFile is the copy of config.json as of create.
const configFile = "config.json"

// record is what is stored of a container: facts only.
type record struct {
	ID          string            `json:"id"`
	Bundle      string            `json:"bundle"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Created     time.Time         `json:"created"`
	Creator     proc.ID           `json:"creator"`    // the process that claimed the id
	Supervisor  proc.ID           `json:"supervisor"` // pid 0 while there is none yet
	Payload     *proc.ID          `json:"payload,omitempty"`
	Started     *time.Time        `json:"started,omitempty"`
	Limits      []Limit           `json:"limits"`
	Memory      int64             `json:"memory"`  // bytes; <= 0: unlimited
	GraceNS     int64             `json:"graceNs"` // nanoseconds
	PreserveFDs int               `json:"preserveFds,omitempty"`
	Report      string            `json:"report,omitempty"`
	// Verdict is a *Verdict, encoded: most records have none, and should not pay for its encoder.
	Verdict json.RawMessage `json:"verdict,omitempty"`
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
	memory, grace := o.effective()
	return &record{
		ID: o.ID, Bundle: o.Bundle.Dir, Annotations: o.Bundle.Spec.Annotations, Created: time.Now().UTC(), Creator: proc.Self(),
		Limits: o.limits(), Memory: memory, GraceNS: int64(grace), PreserveFDs: o.PreserveFDs, Report: o.Report,
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
	}
	return specs.StateRunning, live
}

// State is the state of a container: the properties of the runtime-spec, and mlrun's own.
type State struct {
	specs.State
	MLRun Extension `json:"mlrun"`
}

// Extension is what mlrun adds to the state of the runtime-spec.
type Extension struct {
	Created    time.Time    `json:"created"`
	Started    *time.Time   `json:"started,omitempty"`
	Supervisor int          `json:"supervisor,omitempty"` // pid, while it lives
	Memory     *MemoryState `json:"memory,omitempty"`     // while there is a payload, and of the whole run when stopped
	Processes  int          `json:"processes"`            // members alive
	Limits     []Limit      `json:"limits"`
	Reason     string       `json:"reason,omitempty"`   // why it is stopped
	ExitCode   *int         `json:"exitCode,omitempty"` // what mlrun run would exit with
	Verdict    *Verdict     `json:"verdict,omitempty"`
	Problem    string       `json:"problem,omitempty"` // the state that is stored cannot be used: why
}

// MemoryState is the memory of a container.
type MemoryState struct {
	Current int64  `json:"current"` // bytes
	Exact   bool   `json:"exact"`   // false: Current is an upper bound
	Peak    int64  `json:"peak"`    // bytes
	Limit   int64  `json:"limit"`   // bytes; -1: none
	Held    string `json:"held"`    // "sampled", "none"
}

func (r *record) state(status specs.ContainerState) *State {
	s := &State{State: specs.State{
		Version: specs.Version, ID: r.ID, Status: status, Bundle: r.Bundle, Annotations: r.Annotations,
	}}
	if r.Payload != nil && (status == specs.StateCreated || status == specs.StateRunning) {
		s.Pid = r.Payload.PID
	}
	s.MLRun = Extension{Created: r.Created, Started: r.Started, Limits: r.Limits, Verdict: r.verdict()}
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
	if r.Memory > 0 {
		return &MemoryState{Limit: r.Memory, Held: "sampled"}
	}
	return &MemoryState{Limit: -1, Held: "none"}
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
	m.Exact, m.Peak = true, v.Memory.Peak
	s.MLRun.Memory = m
}
