// Package pty is the terminal of a container whose process asks for one: a pseudo-terminal pair (pty(7)), whose slave the process gets. The
// master goes to somebody else through a socket, as OCI runtimes do it (--console-socket), or is relayed to the terminal of the caller.
//
// It does not start processes and does not make the slave a controlling terminal: package launch does.
package pty

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	"mlrun/runtime/sockpath"
)

// Pty is a pseudo-terminal pair. Close it.
type Pty struct {
	Slave  *os.File
	master console.Console
	name   string
}

// Size is that of a terminal, in characters.
type Size struct{ Width, Height uint16 }

// Open makes a pair. A size of 0 is left as the kernel makes it.
func Open(size Size) (*Pty, error) {
	master, name, err := console.NewPty()
	if err != nil {
		return nil, fmt.Errorf("pseudo-terminal: %w", err)
	}
	p := &Pty{master: master, name: name}
	if size != (Size{}) {
		err = master.Resize(console.WinSize{Width: size.Width, Height: size.Height})
	}
	if err == nil {
		p.Slave, err = os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, fmt.Errorf("pseudo-terminal: %w", err)
	}
	return p, nil
}

// CloseSlave closes the slave, which the process has by now: the master reads its end when nobody has it any more.
func (p *Pty) CloseSlave() {
	p.Slave.Close()
}

// Close closes both sides.
func (p *Pty) Close() {
	p.Slave.Close()
	p.master.Close()
}

// Send sends the master to whoever listens on a unix socket: its name, with the descriptor beside it (SCM_RIGHTS), in one message. ONLCR is
// switched off, as others expect of a container's terminal.
func (p *Pty) Send(socket string) error {
	if err := console.ClearONLCR(p.master.Fd()); err != nil {
		return fmt.Errorf("pseudo-terminal: %w", err)
	}
	path, release, err := sockpath.For(socket)
	if err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	defer release()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
		defer unix.Close(fd)
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Sendmsg(fd, []byte(p.name), unix.UnixRights(int(p.master.Fd())), nil, 0)
	}
	if err != nil {
		return fmt.Errorf("console socket %s: %w", socket, err)
	}
	return nil
}

// drainTime is how long the rest of what was written is waited for when a process that is left keeps the terminal open.
const drainTime = 500 * time.Millisecond

// Relay connects the master with in and out. A terminal at in is made raw, and its size is passed on whenever it changes. finish waits until
// everything that was written has gone out, and puts the terminal back as it was; it must be called.
func (p *Pty) Relay(in, out *os.File) (finish func(), err error) {
	restore := func() {}
	if current, err := console.ConsoleFromFile(in); err == nil {
		if err := current.SetRaw(); err != nil {
			return nil, fmt.Errorf("terminal: %w", err)
		}
		changed := make(chan os.Signal, 1)
		signal.Notify(changed, unix.SIGWINCH)
		_ = p.master.ResizeFrom(current)
		go func() {
			for range changed {
				_ = p.master.ResizeFrom(current)
			}
		}()
		restore = func() {
			signal.Stop(changed)
			close(changed)
			_ = current.Reset()
		}
	}
	go func() { _, _ = io.Copy(p.master, in) }()
	drained := make(chan struct{})
	go func() {
		_, _ = io.Copy(out, p.master) // EIO at the end
		close(drained)
	}()
	return func() {
		select {
		case <-drained:
		case <-time.After(drainTime):
		}
		restore()
	}, nil
}
