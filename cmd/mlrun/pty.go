package main

import (
	"os"

	"mlrun/runtime"
	"mlrun/runtime/pty"
)

// openPty makes the terminal that a bundle asks for, nil when it does not.
func openPty(o *runtime.CreateOptions) (*pty.Pty, error) {
	p := o.Bundle.Spec.Process
	if !p.Terminal {
		return nil, nil
	}
	var size pty.Size
	if s := p.ConsoleSize; s != nil {
		size = pty.Size{Width: uint16(min(s.Width, 1<<16-1)), Height: uint16(min(s.Height, 1<<16-1))}
	}
	t, err := pty.Open(size)
	if err == nil {
		o.Terminal = t.Slave
	}
	return t, err
}

// consoleTo makes the terminal of a container in the background and sends its master to a socket. done gives up what is left of it here.
func consoleTo(o *runtime.CreateOptions, socket string) (done func(), err error) {
	switch asked := o.Bundle.Spec.Process.Terminal; {
	case asked && socket == "":
		return nil, usagef("process.terminal is true in %s: want --console-socket PATH, to send the terminal to", o.Bundle.Dir)
	case !asked && socket != "":
		return nil, usagef("--console-socket: process.terminal is not true in %s", o.Bundle.Dir)
	}
	t, err := openPty(o)
	if t == nil {
		return func() {}, err
	}
	if err := t.Send(socket); err != nil {
		t.Close()
		return nil, err
	}
	return t.Close, nil
}

// relay connects the terminal of a foreground container with standard input and output. done must be called at its end.
func relay(o *runtime.CreateOptions) (done func(), err error) {
	t, err := openPty(o)
	if t == nil {
		return func() {}, err
	}
	finish, err := t.Relay(os.Stdin, os.Stdout)
	if err != nil {
		t.Close()
		return nil, err
	}
	return func() {
		t.CloseSlave() // the last one, by now
		finish()
		t.Close()
	}, nil
}
