package bundle

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// MaxGrace is the longest grace period.
const MaxGrace = 24 * time.Hour

// The shortest and the longest limit of time: the kernel counts the CPU time of
// processes in parts of 10 ms.
const (
	MinTime = 10 * time.Millisecond
	MaxTime = 8760 * time.Hour
)

const (
	wantSize  = "a whole number greater than 0 with an optional suffix B, K, M or G (powers of 1024), such as 512M"
	wantTime  = "whole seconds (60) or a number with a unit (500ms, 2s, 1m, 1h30m), from 10ms to 8760h"
	wantGrace = "whole seconds (5) or a number with a unit (500ms, 2s, 1m), from 0 to 24h"
)

// ParseSize reads an amount of memory as it is given on the command line: a
// number of bytes in digits, with an optional suffix B, K, M or G in either
// case that multiplies it by 1, 1024, 1024² or 1024³. It is greater than 0;
// there is no word for unlimited.
func ParseSize(s string) (int64, error) {
	digits, unit := s, uint64(1)
	if s != "" {
		if shift := strings.IndexByte("bkmg", s[len(s)-1]|0x20); shift >= 0 {
			digits, unit = s[:len(s)-1], 1<<(10*shift)
		}
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, errors.New("size " + quote(s) + ": want " + wantSize)
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case err != nil || n > math.MaxInt64/unit:
		return 0, errors.New("size " + quote(s) + ": too large, want at most " +
			strconv.FormatInt(math.MaxInt64, 10) + " bytes")
	case n == 0:
		return 0, errors.New("size " + quote(s) + ": want " + wantSize)
	}
	return int64(n * unit), nil
}

// ParseGrace reads a grace period: a number of whole seconds, or a duration in
// the form of [time.ParseDuration]. It is at least 0 and at most [MaxGrace].
func ParseGrace(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err != nil || d < 0 || d > MaxGrace {
		return 0, errors.New("grace " + quote(s) + ": want " + wantGrace)
	}
	return d, nil
}

// ParseTime reads a limit of time in the form of [ParseGrace], from [MinTime]
// to [MaxTime].
func ParseTime(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err != nil || d < MinTime || d > MaxTime {
		return 0, errors.New("time " + quote(s) + ": want " + wantTime)
	}
	return d, nil
}

// parseDuration reads a number of whole seconds, or a duration.
func parseDuration(s string) (time.Duration, error) {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		n, err := strconv.ParseUint(s, 10, 32)
		return time.Duration(n) * time.Second, err
	}
	return time.ParseDuration(s)
}
