package admission

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// thisMemory is what the system says of itself: its level is the part of all memory that is free or can be freed without swapping, in percent, which
// memory_pressure(1) prints as "System-wide memory free percentage" (xnu, bsd/kern/kern_memorystatus.c, since OS X 10.9).
func thisMemory() (Memory, error) {
	total, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return Memory{}, fmt.Errorf("sysctl hw.memsize: %w", err)
	}
	level, err := unix.SysctlUint32("kern.memorystatus_level")
	if err != nil {
		return Memory{}, fmt.Errorf("sysctl kern.memorystatus_level: %w", err)
	}
	return Memory{Total: int64(total), Available: int64(total) / 100 * int64(min(level, 100))}, nil
}
