package groupfs

import (
	"errors"
	"math"
	"strings"
	"testing"

	"mlrun/group"
)

func TestParse(t *testing.T) {
	c, err := Parse([]byte("label my group\nmlim 0\nmproc 2147483647\nmpage none\nmproc 3\n"))
	if err != nil {
		t.Fatal(err)
	}
	if *c.Label != "my group" || *c.Groups != 0 || *c.Processes != 3 || *c.Memory != group.None || c.Victim != nil {
		t.Errorf("got %+v", c)
	}
	if c, err := Parse([]byte("label")); err != nil || *c.Label != "" {
		t.Errorf("label without text: %+v, %v", c, err)
	}
}

func TestStatus(t *testing.T) {
	i := &group.Info{ID: 7, Parent: 3, Label: "a b", Limits: group.Limits{Groups: group.None, Processes: 5, Memory: 8191},
		Counts: group.Counts{Groups: 1, Processes: 2, Memory: 4097}, Runs: 2, Kernel: 2}
	if got, want := Status(i, 4096), "a b\n3\nmlim none 1\nmproc 5 2\nmpage 1 2\nheld kernel\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzParse checks that what is accepted is in range, and that errors are of one line and name no more than the beginning of what was written.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"label x\n", "mlim 1\nmproc 20", "mpage none\n", "label a\nb", "mproc -1", "mproc 99999999999999999999", "\x00", strings.Repeat("mlim 1\n", 900)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err != nil {
			if !errors.Is(err, group.ErrInvalid) || strings.ContainsAny(err.Error(), "\n\r\x00") || len(err.Error()) > 400 {
				t.Errorf("error %q", err)
			}
			if c != (group.Change{}) {
				t.Errorf("an error, and the change %+v", c)
			}
			return
		}
		for _, n := range []*int64{c.Groups, c.Processes} {
			if n != nil && (*n < group.None || *n > group.MaxCount) {
				t.Errorf("%q: limit %d", b, *n)
			}
		}
		if c.Memory != nil && (*c.Memory < group.None || *c.Memory == math.MaxInt64) {
			t.Errorf("%q: %d bytes", b, *c.Memory)
		}
		if c.Label != nil && group.CheckLabel(*c.Label) != nil {
			t.Errorf("%q: label %q", b, *c.Label)
		}
		if c == (group.Change{}) {
			t.Errorf("%q does nothing", b)
		}
	})
}
