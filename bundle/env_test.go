package bundle

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDedup(t *testing.T) {
	tests := []struct{ env, want []string }{
		{nil, []string{}},
		{[]string{"A=1", "B=2"}, []string{"A=1", "B=2"}},
		{[]string{"A=1", "B=2", "A=3", "C=4", "A="}, []string{"A=", "B=2", "C=4"}},
		{[]string{"A", "A=1", "a=2", "AB=3", "A=b=c"}, []string{"A=b=c", "a=2", "AB=3"}},
		{[]string{"=1", "=2", ""}, []string{""}},
	}
	for _, test := range tests {
		in := append([]string(nil), test.env...)
		if diff := cmp.Diff(test.want, Dedup(test.env)); diff != "" {
			t.Errorf("Dedup(%q): (-want +got):\n%s", test.env, diff)
		}
		if diff := cmp.Diff(in, test.env); diff != "" {
			t.Errorf("Dedup has changed its argument: %s", diff)
		}
	}
}

func TestLookupEnv(t *testing.T) {
	env := []string{"A=1", "B=", "A=2=3", "C", "AB=4"}
	tests := []struct {
		name, value string
		ok          bool
	}{{"A", "2=3", true}, {"B", "", true}, {"C", "", false}, {"AB", "4", true}, {"", "", false}, {"A=2", "", false}}
	for _, test := range tests {
		if value, ok := LookupEnv(env, test.name); value != test.value || ok != test.ok {
			t.Errorf("LookupEnv(%q) = %q, %v", test.name, value, ok)
		}
	}
}
