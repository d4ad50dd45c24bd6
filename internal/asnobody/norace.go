//go:build !race

package asnobody

// raced tells that the race detector is at work.
const raced = false
