package main

import (
	"fmt"
	"time"

	"mlrun/runtime"
)

// gated shows the programs that have to wait, where each one is asked to, with verbose. What is let through without memory is a warning.
func (a *app) gated(verbose bool) func(runtime.ExecNotice) {
	if !verbose {
		return nil
	}
	return func(n runtime.ExecNotice) {
		who := fmt.Sprintf("process %d, %s", n.PID, shorten(program(n.Program)))
		waited := n.Waited.Round(time.Millisecond)
		switch n.Outcome {
		case runtime.ExecHolds:
			need := ""
			if n.Need > 0 {
				need = ", which is expected to use " + size(n.Need)
			}
			a.notice("hold: %s%s; %d waiting", who, need, n.Waiting)
		case runtime.ExecLet:
			a.notice("release: %s after %v; %d waiting", who, waited, n.Waiting)
		case runtime.ExecGone:
			a.notice("gone: %s after %v; %d waiting", who, waited, n.Waiting)
		}
	}
}

// program is a name as people read it.
func program(name string) string {
	if name == "" {
		return "a program"
	}
	return name
}
