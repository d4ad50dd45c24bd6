package admission

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Amount is an amount of memory: a part of all memory, or a number of bytes. The zero value is nothing.
type Amount struct {
	percent float64
	bytes   int64
}

// Percent is a part of all memory, from 0 to 100.
func Percent(p float64) Amount { return Amount{percent: p} }

// Bytes is a number of bytes.
func Bytes(n int64) Amount { return Amount{bytes: n} }

// WantAmount says what ParseAmount reads.
const WantAmount = "a part of all memory from 0% to 100%, such as 10% or 2.5%, or a number of bytes with an optional suffix B, K, M or G (powers of 1024), such as 512M"

// ParseAmount reads an amount: a percentage from 0 to 100 in digits with an optional fraction ("10%", "2.5%"), or a whole number of bytes with
// an optional suffix B, K, M or G in either case, which multiplies it by 1, 1024, 1024² or 1024³ ("2G").
func ParseAmount(s string) (Amount, error) {
	if a, ok := parseAmount(s); ok {
		return a, nil
	}
	if len(s) > 40 {
		s = s[:40] + "..."
	}
	return Amount{}, errors.New("amount of memory " + strconv.Quote(s) + ": want " + WantAmount)
}

func parseAmount(s string) (Amount, bool) {
	if p, ok := strings.CutSuffix(s, "%"); ok {
		whole, fraction, point := strings.Cut(p, ".")
		if !digits(whole) || point && !digits(fraction) {
			return Amount{}, false
		}
		n, err := strconv.ParseFloat(p, 64)
		return Percent(n), err == nil && n <= 100
	}
	unit := uint64(1)
	if s != "" {
		if shift := strings.IndexByte("bkmg", s[len(s)-1]|0x20); shift >= 0 {
			s, unit = s[:len(s)-1], 1<<(10*shift)
		}
	}
	n, err := strconv.ParseUint(s, 10, 63)
	return Bytes(int64(n * unit)), err == nil && digits(s) && n <= math.MaxInt64/unit
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Of is the amount in bytes on a machine with total bytes of memory.
func (a Amount) Of(total int64) int64 {
	if a.percent > 0 {
		return int64(float64(total) / 100 * a.percent)
	}
	return a.bytes
}

// String writes the amount as ParseAmount reads it.
func (a Amount) String() string {
	if a.percent > 0 {
		return strconv.FormatFloat(a.percent, 'f', -1, 64) + "%"
	}
	return strconv.FormatInt(a.bytes, 10)
}
