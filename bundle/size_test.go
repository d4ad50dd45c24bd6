package bundle

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"1": 1, "1b": 1, "1B": 1, "1k": 1 << 10, "2K": 2 << 10, "3m": 3 << 20, "512M": 512 << 20, "1g": 1 << 30, "8G": 8 << 30,
		"007": 7, "0000000000000000000000000000001": 1,
		"9223372036854775807": math.MaxInt64, "9223372036854775807B": math.MaxInt64, "8589934591G": 8589934591 << 30,
	} {
		if got, err := ParseSize(s); got != want || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	const large = ": too large, want at most 9223372036854775807 bytes"
	for s, want := range map[string]string{
		"": ": want " + wantSize, "0": ": want " + wantSize, "0G": ": want " + wantSize, "G": ": want " + wantSize,
		"-1": ": want " + wantSize, "+1": ": want " + wantSize, "1.5G": ": want " + wantSize, "1GB": ": want " + wantSize,
		"1GiB": ": want " + wantSize, "1T": ": want " + wantSize, " 1": ": want " + wantSize, "1 G": ": want " + wantSize,
		"1e3": ": want " + wantSize, "0x10": ": want " + wantSize, "1_000": ": want " + wantSize, "max": ": want " + wantSize,
		"unlimited": ": want " + wantSize, "1\n": ": want " + wantSize, "١": ": want " + wantSize, "1\v": ": want " + wantSize,
		"9223372036854775808": large, "8589934592G": large, "99999999999G": large, "18446744073709551617": large,
		"99999999999999999999999": large,
	} {
		got, err := ParseSize(s)
		if got != 0 || err == nil {
			t.Errorf("ParseSize(%q) = %d, %v, want an error", s, got, err)
			continue
		}
		if diff := cmp.Diff("size "+quote(s)+want, err.Error()); diff != "" {
			t.Error(diff)
		}
	}
	_, err := ParseSize(strings.Repeat("é", 1000))
	if want := "size \"" + strings.Repeat("é", 28) + "...\": want " + wantSize; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestParseGrace(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "5": 5 * time.Second, "86400": 24 * time.Hour, "0s": 0, "500ms": 500 * time.Millisecond, "1.5s": 1500 * time.Millisecond,
		"2s": 2 * time.Second, "1h30m": 90 * time.Minute, "24h": 24 * time.Hour,
	} {
		if got, err := ParseGrace(s); got != want || err != nil {
			t.Errorf("ParseGrace(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "1.5", "-1", "-1s", "-0.1ms", "86401", "24h1ns", "25h", "5 s", "5S", "s", "x", "inf", "1e3", "99999999999999999999", "9999999999999h", "1\n",
	} {
		got, err := ParseGrace(s)
		if want := "grace " + quote(s) + ": want " + wantGrace; got != 0 || err == nil || err.Error() != want {
			t.Errorf("ParseGrace(%q) = %v, %v, want %s", s, got, err, want)
		}
	}
}
