package supervise

import (
	"syscall"
	"time"

	"mlrun/rlimit"
)

// Reasons of a verdict that are limits of setrlimit(2).
const (
	ReasonRlimitCPU    = "rlimit-cpu"    // RLIMIT_CPU
	ReasonRlimitFsize  = "rlimit-fsize"  // RLIMIT_FSIZE
	ReasonRlimitRttime = "rlimit-rttime" // RLIMIT_RTTIME
	ReasonRlimitStack  = "rlimit-stack"  // RLIMIT_STACK
)

// How sure it is that a limit ended a run: others can send the same signals.
const (
	Certain  = "certain"  // the kernel has left a trace that nothing else leaves
	Likely   = "likely"   // the kernel sends the signal for this alone, or what was measured fits
	Possible = "possible" // the signal has other causes, too
)

// Rlimited is the limit of setrlimit(2) that ended a payload.
type Rlimited struct {
	Type      string        `json:"type"` // "RLIMIT_CPU"
	Soft      rlimit.Amount `json:"soft"` // in Unit
	Hard      rlimit.Amount `json:"hard"`
	Unit      string        `json:"unit"`
	Certainty string        `json:"certainty"` // Certain, Likely or Possible
}

// death is what is known of a payload that was ended by a signal which mlrun did not send.
type death struct {
	signal   syscall.Signal
	cpu      time.Duration   // CPU time of the process as it is compared with RLIMIT_CPU (proc.FS.LimitedCPU); -1: unknown
	maxrss   int64           // bytes: the largest process of the run
	realtime bool            // it had a real-time policy
	asked    []rlimit.Limit  // the limits that it was given or has inherited,
	explicit map[string]bool // those of them that it was given
	now      []rlimit.Limit  // and those that it had at its end
}

// noLimit is from where on a value is none: it takes in the marks of proc.Seal, which are about 2^62.
const noLimit = 1 << 60

// rlimited finds the limit that ended the payload; "" when there is none.
//
// At the soft limits of RLIMIT_CPU and RLIMIT_RTTIME the kernel sends SIGXCPU, and raises the soft limit by a second
// (kernel/time/posix-cpu-timers.c, check_process_timers and check_thread_timers): that is a trace. It can only be seen where the process has not set
// the limit itself.
func rlimited(d death) (reason string, r *Rlimited) {
	switch d.signal {
	case syscall.SIGXCPU:
		switch cpu, rt := d.xcpu("RLIMIT_CPU"), d.xcpu("RLIMIT_RTTIME"); {
		case cpu == Certain || cpu == Likely && rt != Certain:
			return ReasonRlimitCPU, d.limit("RLIMIT_CPU", cpu)
		case rt != "":
			return ReasonRlimitRttime, d.limit("RLIMIT_RTTIME", rt)
		}
	case syscall.SIGKILL:
		cpu, _ := rlimit.Find(d.now, "RLIMIT_CPU")
		rt, _ := rlimit.Find(d.now, "RLIMIT_RTTIME")
		switch {
		case is(cpu.Hard, cpu.Name) && d.cpu >= seconds(max(cpu.Hard, 1)):
			return ReasonRlimitCPU, d.limit("RLIMIT_CPU", Likely)
		case is(rt.Hard, rt.Name) && d.realtime:
			return ReasonRlimitRttime, d.limit("RLIMIT_RTTIME", Possible)
		}
	case syscall.SIGXFSZ:
		if l, ok := rlimit.Find(d.now, "RLIMIT_FSIZE"); ok && is(l.Soft, l.Name) {
			return ReasonRlimitFsize, d.limit("RLIMIT_FSIZE", Likely)
		}
	case syscall.SIGSEGV:
		l, ok := rlimit.Find(d.now, "RLIMIT_STACK")
		if ok && d.explicit["RLIMIT_STACK"] && is(l.Soft, l.Name) && d.maxrss >= int64(l.Soft) {
			return ReasonRlimitStack, d.limit("RLIMIT_STACK", Possible)
		}
	}
	return "", nil
}

// is tells whether a value of a type limits anything.
func is(v uint64, name string) bool { return name != "" && v < noLimit }

func seconds(n uint64) time.Duration { return time.Duration(min(n, 1<<33)) * time.Second }

// xcpu tells how sure it is that SIGXCPU came for the soft limit of a type; "" when it did not.
func (d *death) xcpu(name string) string {
	now, ok := rlimit.Find(d.now, name)
	if !ok || !is(now.Soft, now.Name) {
		return ""
	}
	asked, _ := rlimit.Find(d.asked, name)
	own := asked.Hard != now.Hard || asked.Soft > now.Soft // it has set the limit itself
	switch {
	case !own && now.Soft > asked.Soft:
		return Certain
	case !own && d.cpu >= 0: // no trace: the signal came from elsewhere
		return ""
	case name == "RLIMIT_RTTIME":
		if d.realtime {
			return Likely
		}
		return ""
	case d.cpu < 0 || d.cpu >= seconds(max(now.Soft, 1)-1):
		return Likely
	}
	return ""
}

// limit is a limit with its values before the kernel changed them.
func (d *death) limit(name, certainty string) *Rlimited {
	l, _ := rlimit.Find(d.now, name)
	if asked, ok := rlimit.Find(d.asked, name); ok && certainty == Certain {
		l = asked
	}
	return &Rlimited{Type: name, Soft: rlimit.Amount(l.Soft), Hard: rlimit.Amount(l.Hard), Unit: l.Unit, Certainty: certainty}
}
