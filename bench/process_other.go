//go:build !linux

package main

import (
	"errors"
	"time"
)

func awaitDeath(int) deathReport { return deathReport{err: errors.ErrUnsupported} }

func limiterTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

func cpuTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

func killMember(member) error { return errors.ErrUnsupported }

func sharesMemory(int, int) bool { return false }
