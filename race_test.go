//go:build race

package mlrun_test

// raced tells that the race detector is at work.
const raced = true
