// Package emulated tells tests that a program for another processor runs them (qemu-user), which passes system calls on to the kernel
// and does not know all of them.
package emulated

import (
	"os"
	"testing"
)

// Here tells whether that is so. Whoever runs tests like that says so: an error of a system call alone would be no proof.
func Here() bool { return os.Getenv("MLRUN_EMULATED") == "1" }

// Skip skips a test here that needs something which the emulator (qemu 7.2) does not have.
func Skip(t *testing.T, what string) {
	t.Helper()
	if Here() {
		t.Skip("emulated: no " + what)
	}
}
