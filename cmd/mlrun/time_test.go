package main

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0:00.00", 1239 * time.Millisecond: "0:01.23", 61 * time.Second: "1:01.00",
		59*time.Minute + 59*time.Second + 999*time.Millisecond: "59:59.99", 25*time.Hour + 61*time.Second: "25:01:01",
	} {
		if got := clock(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
