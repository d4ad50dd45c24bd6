package main

import (
	"errors"

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
