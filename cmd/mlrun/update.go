package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mlrun/bundle"
	"mlrun/runtime"
)

// updateFlags are the flags of update, as they were given.
type updateFlags struct {
	file, memory, reservation, swap, pids string
	cpus, quota, period, share, set, idle string
	weight                                string
	limits                                []string
	refused                               string
}

// notUpdated are flags that other runtimes have and mlrun refuses, with the reason.
var notUpdated = []struct{ name, why string }{
	{"cpuset-mems", "a process can change its memory policy only by itself"},
	{"cpu-burst", "mlrun uses no cgroups; --cpu-quota and --cpu-period are held without it"},
	{"cpu-rt-period", "mlrun uses no cgroups"},
	{"cpu-rt-runtime", "mlrun uses no cgroups"},
	{"kernel-memory", "mlrun uses no cgroups"},
	{"kernel-memory-tcp", "mlrun uses no cgroups"},
	{"l3-cache-schema", "mlrun does not use resctrl"},
	{"mem-bw-schema", "mlrun does not use resctrl"},
}

func (u *updateFlags) add(f *pflag.FlagSet) {
	f.StringVarP(&u.file, "resources", "r", "", "read linux.resources of the runtime-spec from `FILE`, - is standard input")
	f.StringVar(&u.memory, "memory", "", "memory limit (`SIZE`), -1 for none")
	f.StringVar(&u.reservation, "memory-reservation", "", "soft limit of memory (`SIZE`), -1 for none")
	f.StringVar(&u.swap, "memory-swap", "", "limit of memory and swap together (`SIZE`), -1 for none")
	f.StringArrayVar(&u.limits, "rlimit", nil, "limit of each process, such as nofile=1024:4096 (`TYPE=SOFT:HARD`); may be repeated")
	f.StringVar(&u.pids, "pids-limit", "", "processes and threads at once (`N`), -1 for no limit, 0 to leave it; one that the kernel holds can be lowered only")
	f.StringVar(&u.cpus, "cpus", "", "how many processors' time (`N`, such as 1.5) may be used, -1 for no limit")
	f.StringVar(&u.quota, "cpu-quota", "", "CPU time (`USEC`) that may be used in each period, -1 for no limit")
	f.StringVar(&u.period, "cpu-period", "", "that period (`USEC`)")
	f.StringVar(&u.share, "cpu-share", "", "weight of the CPU (`N` from 2 to 262144): the nice value of each thread")
	f.StringVar(&u.idle, "cpu-idle", "", "1: run only when nobody else wants to, 0: as others (`N`)")
	f.StringVar(&u.set, "cpuset-cpus", "", "processors to use (`LIST`, such as 0-3,7)")
	f.StringVar(&u.weight, "blkio-weight", "", "weight of the disks (`N` from 10 to 1000): the I/O priority of each thread")
	for _, r := range notUpdated {
		f.StringVar(&u.refused, r.name, "", r.why)
		_ = f.MarkHidden(r.name)
	}
}

func (a *app) updateCmd() *cobra.Command {
	u := &updateFlags{}
	cmd := &cobra.Command{
		Use:   "update [flags] ID",
		Short: "change the limits of a container",
		Long: `update changes limits while a container runs. A limit that it is over already is a breach, with all that follows, unless
memory.checkBeforeUpdate of the resources asks to refuse it.

What the kernel keeps of processes (--rlimit, --cpu-share, --cpu-idle, --cpuset-cpus, --blkio-weight) is set of each of them, and of
what mlrun exec starts later. To have more of the CPU than before takes CAP_SYS_NICE or RLIMIT_NICE.

Flags are added to what --resources has.

  mlrun update --memory 2G --cpus 1.5 ID
  mlrun update --rlimit nofile=1024 --rlimit cpu=:3600 ID
  echo '{"memory":{"limit":2147483648}}' | mlrun update --resources - ID

EXIT STATUS
  0 when the limits are changed, 2 for a wrong command line, else 1 and nothing is, but when the error names processes that have
  other credentials: then all others are changed`,
		Args: exactArgs(1, "the id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := u.options(cmd.Flags())
			if err != nil {
				return err
			}
			return a.with(func(rt *runtime.Runtime) error { return rt.Update(args[0], *o) })
		},
	}
	u.add(cmd.Flags())
	return cmd
}

// options is what the flags ask for.
func (u *updateFlags) options(f *pflag.FlagSet) (*runtime.UpdateOptions, error) {
	for _, r := range notUpdated {
		if f.Changed(r.name) {
			return nil, usagef("--%s: not supported: %s", r.name, r.why)
		}
	}
	if err := notEmpty(f, "resources", "memory", "memory-reservation", "memory-swap", "pids-limit", "cpus", "cpu-quota", "cpu-period", "cpu-share",
		"cpu-idle", "cpuset-cpus", "blkio-weight"); err != nil {
		return nil, err
	}
	o := &runtime.UpdateOptions{}
	if u.file != "" {
		b, err := readInput(u.file)
		if err != nil {
			return nil, err
		}
		r, err := bundle.ParseUpdate(b, u.file)
		if err != nil {
			return nil, err
		}
		o.Update = *r
	}
	for _, set := range []func(*runtime.UpdateOptions) error{u.setMemory, u.setPids, u.setQuota, u.setPlace} {
		if err := set(o); err != nil {
			return nil, err
		}
	}
	var err error
	if o.Rlimits, err = parseRlimits(u.limits); err != nil {
		return nil, err
	}
	if o.Empty() && len(o.Rlimits) == 0 && u.pids == "" && u.file == "" {
		return nil, usagef("update: nothing to change: want --memory, --memory-reservation, --memory-swap, --pids-limit, --cpus, --cpu-quota, --cpu-period, " +
			"--cpu-share, --cpu-idle, --cpuset-cpus, --blkio-weight, --rlimit or --resources")
	}
	return o, nil
}

func (u *updateFlags) setMemory(o *runtime.UpdateOptions) error {
	for _, v := range []struct {
		name, text string
		to         **int64
	}{{"memory", u.memory, &o.Memory}, {"memory-reservation", u.reservation, &o.Reservation}, {"memory-swap", u.swap, &o.Swap}} {
		if v.text == "" {
			continue
		}
		n, err := amount(v.name, v.text)
		if err != nil {
			return err
		}
		*v.to = &n
	}
	return nil
}

func (u *updateFlags) setPids(o *runtime.UpdateOptions) error {
	if u.pids == "" {
		return nil
	}
	n, err := strconv.ParseInt(u.pids, 10, 64)
	if err != nil || n < -1 {
		return usagef("--pids-limit %q: want a number from 1 on, -1 for no limit, or 0 to leave it", u.pids)
	}
	if n != 0 { // which other runtimes take for no change
		o.Pids = &n
	}
	return nil
}

// setQuota sets the quota of CPU time.
func (u *updateFlags) setQuota(o *runtime.UpdateOptions) error {
	unlimited := time.Duration(-1)
	if u.cpus != "" && (u.quota != "" || u.period != "") {
		return usagef("--cpus: beside --cpu-quota or --cpu-period; they say the same")
	}
	switch u.cpus {
	case "":
	case "-1":
		o.Quota = &unlimited
	default:
		n, err := parseCPUs(u.cpus, ", or -1 for no limit")
		if err != nil {
			return err
		}
		quota, period := runtime.Quota(n)
		o.Quota, o.Period = &quota, &period
	}
	if err := u.micros("cpu-period", u.period, "from 1000 to 1000000", time.Millisecond, time.Second, &o.Period); err != nil {
		return err
	}
	if u.quota == "-1" {
		o.Quota = &unlimited
		return nil
	}
	return u.micros("cpu-quota", u.quota, "from 1000 on, or -1 for no limit", time.Millisecond, time.Duration(bundle.MaxCPU)*time.Second, &o.Quota)
}

// micros reads a number of microseconds; none and 0 leave to as it is.
func (u *updateFlags) micros(name, text, want string, least, most time.Duration, to **time.Duration) error {
	if text == "" || text == "0" {
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if d := time.Duration(n) * time.Microsecond; err == nil && n <= uint64(most/time.Microsecond) && d >= least {
		*to = &d
		return nil
	}
	return usagef("--%s %q: want a number of microseconds %s", name, text, want)
}

// setPlace sets where and how eagerly processes run.
func (u *updateFlags) setPlace(o *runtime.UpdateOptions) error {
	number := func(name, text string, least, most int, zero string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || (n < least || n > most) && (n != 0 || zero == "") || strings.HasPrefix(text, "+") {
			return 0, usagef("--%s %q: want a number from %d to %d%s", name, text, least, most, zero)
		}
		return n, nil
	}
	const leave = ", or 0 to leave it"
	if u.share != "" {
		n, err := number("cpu-share", u.share, bundle.MinShares, bundle.MaxShares, leave)
		if err != nil {
			return err
		}
		if n != 0 {
			w := bundle.WeightOfShares(uint64(n))
			o.Weight = &w
		}
	}
	if u.idle != "" {
		n, err := number("cpu-idle", u.idle, 0, 1, "")
		if err != nil {
			return err
		}
		idle := n == 1
		o.Idle = &idle
	}
	if u.weight != "" {
		n, err := number("blkio-weight", u.weight, bundle.MinIOWeight, bundle.MaxIOWeight, leave)
		if err != nil {
			return err
		}
		if n != 0 {
			o.IOWeight = &n
		}
	}
	if u.set != "" {
		list, err := bundle.ParseList(u.set, bundle.MaxCPU)
		if err != nil {
			return usagef("--cpuset-cpus: %w", err)
		}
		if len(list) == 0 {
			return usagef("--cpuset-cpus %q: want processors such as 0-3,7", u.set)
		}
		o.CPUs = list
	}
	return nil
}

// amount is a size, or -1.
func amount(name, text string) (int64, error) {
	if text == "-1" {
		return -1, nil
	}
	n, err := bundle.ParseSize(text)
	if err != nil {
		return 0, usagef("--%s: %v", name, err)
	}
	return n, nil
}

// readInput reads a file, or standard input for "-".
func readInput(name string) ([]byte, error) {
	if name == "-" {
		return readAtMost(os.Stdin, name)
	}
	return readFile(name)
}
