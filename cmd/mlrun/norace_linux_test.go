//go:build !race

package main

// raced tells that the race detector is at work: a command takes five times as long with it.
const raced = false
