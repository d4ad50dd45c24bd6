//go:build !portable

package main

import "testing"

// portable tells that mlrun is built with what macOS has, and without what only Linux has (package proc).
const portable = false

// reaperOf is the reaper of a process that mlrun has started, as a payload or by exec.
func reaperOf(t *testing.T, pid int) int { return parentOf(t, pid) }

// supervisorOf is the mlrun that has started it.
func supervisorOf(t *testing.T, pid int) int { return parentOf(t, parentOf(t, pid)) }
