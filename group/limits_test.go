package group

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

func TestParseCount(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "7": 7, "2147483647": MaxCount, "007": 7, "none": None} {
		if got, err := ParseCount(text); got != want || err != nil {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1", "+1", "1.5", "2147483648", "99999999999999999999", "1e3", "0x10", " 1", "1\n", "None", strings.Repeat("9", 1<<20)} {
		if got, err := ParseCount(text); !errors.Is(err, ErrInvalid) || len(err.Error()) > 200 {
			t.Errorf("%.40q: %d, %.300v", text, got, err)
		}
	}
	if n, err := ParsePages("3"); err != nil || n%3 != 0 || n < 3*4096 {
		t.Errorf("3 pages: %d, %v", n, err)
	}
	for _, text := range []string{"9223372036854775807", "-1", ""} {
		if n, err := ParsePages(text); err == nil {
			t.Errorf("%q pages: %d", text, n)
		}
	}
}

func TestCheckLabel(t *testing.T) {
	for _, good := range []string{"", "build", "a b", "größe", "7 things", strings.Repeat("x", MaxLabel)} {
		if err := CheckLabel(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"a\nb", "a\tb", "\x00", "\x1b[2J", "a\u2028b", "\xff", " a", "a ", "12", "\u202eabc", strings.Repeat("x", MaxLabel+1), strings.Repeat("x", 1<<20)} {
		if err := CheckLabel(bad); !errors.Is(err, ErrInvalid) || strings.ContainsAny(err.Error(), "\n\x00\x1b") || len(err.Error()) > 300 {
			t.Errorf("%.40q: %.400v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"0", "-1", "none", "18446744073709551616", "7\n", "kill-group", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseCount(s); err == nil && n != None {
			if n < 0 || n > MaxCount || strings.TrimLeft(s, "0") != strings.TrimLeft(strconv.FormatInt(n, 10), "0") {
				t.Errorf("%q: %d", s, n)
			}
		}
		if n, err := ParsePages(s); err == nil && n < None {
			t.Errorf("%q: %d bytes", s, n)
		}
		if v, err := ParseVictim(s); err == nil && v.String() != s {
			t.Errorf("%q: %v", s, v)
		}
		if err := CheckLabel(s); err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %q", s, err)
		}
	})
}
