package meter

import "golang.org/x/sys/unix"

// SwapUsed is how much the whole machine has swapped out, in bytes: a bound of what any group of processes has.
func SwapUsed() int64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0 // EFAULT, which cannot be (sysinfo(2))
	}
	return int64(uint64(si.Totalswap-si.Freeswap) * uint64(si.Unit))
}
