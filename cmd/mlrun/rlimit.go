package main

import (
	"errors"

	"github.com/spf13/pflag"

	"mlrun/rlimit"
)

// parseRlimits reads the values of --rlimit. The error has all that is wrong with them.
func parseRlimits(list []string) ([]rlimit.Change, error) {
	changes, err := rlimit.ParseList(list)
	if err == nil {
		return changes, nil
	}
	wrong := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		wrong = joined.Unwrap()
	}
	for i, e := range wrong {
		wrong[i] = usagef("--rlimit: %w", e)
	}
	return nil, errors.Join(wrong...)
}

// addRlimits adds the flag for limits of each process.
func addRlimits(f *pflag.FlagSet, to *[]string) {
	f.StringArrayVar(to, "rlimit", nil, "limit of each process in place of the bundle's, such as nofile=1024:4096 (`TYPE=SOFT:HARD`); may be repeated")
}
