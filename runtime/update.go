package runtime

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"mlrun/bundle"
	"mlrun/runtime/supervise"
)

// update is what the options come to for a container.
func (o *UpdateOptions) update(rec *record) (*supervise.Update, error) {
	u := &supervise.Update{Limit: o.Memory, Swap: o.Swap, High: o.Reservation, Quota: o.Quota, Period: o.Period, Place: o.place(), Rlimits: o.Rlimits}
	if o.Quota != nil && o.Period == nil && rec.Budget.Period == 0 {
		p := defaultPeriod
		u.Period = &p
	}
	if o.Pids != nil {
		return u, rec.Budget.Tasks.update(*o.Pids, u)
	}
	return u, nil
}

// place is where and how eagerly the threads are to run; nil when that stays.
func (o *UpdateOptions) place() *supervise.Place {
	p := supervise.Place{Idle: o.Idle, CPUs: o.CPUs, Weight: o.Weight, IOWeight: o.IOWeight}
	if o.Weight != nil {
		n := niceFor(*o.Weight)
		p.Nice = &n
	}
	if o.IOWeight != nil {
		p.IOPriority = ioPriority(specs.IOPRIO_CLASS_BE, ioLevel(*o.IOWeight))
	}
	if p.Nice == nil && p.Idle == nil && len(p.CPUs) == 0 && p.IOPriority == nil {
		return nil
	}
	return &p
}

// update puts other limits in place. What the record points to is replaced, not changed.
func (r *record) update(u supervise.Update) {
	for _, v := range []struct{ from, to *int64 }{{u.Limit, &r.Memory.Limit}, {u.Swap, &r.Memory.Swap}, {u.High, &r.Memory.Soft}} {
		if v.from != nil {
			*v.to = max(*v.from, 0)
		}
	}
	list := r.Memory.limits()
	for _, l := range r.Limits {
		if !strings.HasPrefix(l.Path, memoryPath) {
			list = append(list, l)
		}
	}
	r.Limits = list
	r.relimit(u.Held)
	r.retask(u.Tasks)
	if u.Period != nil {
		r.Budget.Period = *u.Period
	}
	if u.Quota != nil {
		r.Budget.Quota = max(*u.Quota, 0)
	}
	if u.Quota != nil || u.Period != nil {
		r.replace(r.Budget.quota(""))
	}
	if u.Place != nil {
		p := supervise.Place{}
		if r.Place != nil {
			p = *r.Place
		}
		p.Add(u.Place)
		r.Place = &p
		if p.Idle != nil && !*p.Idle {
			r.replace(Limit{Name: idleName})
		}
		r.replace(placement(r.placed(bundle.Resources{}))...)
	}
}

// replace puts limits in the place of those of the same names, and takes away those that are none any more.
func (r *record) replace(limits ...Limit) {
	for _, l := range limits {
		i := slices.IndexFunc(r.Limits, func(have Limit) bool { return have.Name == l.Name })
		switch {
		case i >= 0 && l.Soft == 0:
			r.Limits = slices.Delete(r.Limits, i, i+1)
		case i >= 0:
			r.Limits[i] = l
		case l.Soft > 0:
			r.Limits = append(r.Limits, l)
		}
	}
}

// placed is in with what updates have changed of where and how eagerly processes run.
func (r *record) placed(in bundle.Resources) bundle.Resources {
	p := r.Place
	if p == nil {
		return in
	}
	if p.Weight != nil {
		in.Weight, in.WeightPath = *p.Weight, "linux.resources.cpu.shares"
	}
	if p.Idle != nil {
		in.Idle = *p.Idle
	}
	if len(p.CPUs) > 0 {
		in.CPUs = p.CPUs
	}
	if p.IOWeight != nil {
		in.IOWeight = *p.IOWeight
	}
	return in
}
