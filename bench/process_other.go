//go:build !linux

package main

import (
	"errors"
	"time"
)

func awaitDeath(int) deathReport { return deathReport{err: errors.ErrUnsupported} }

func cpuTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
