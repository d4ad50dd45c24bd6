package catch

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addresses are those of the two functions in assembly that only the kernel calls.
func addresses() (handler, restorer uintptr)

// pipe is the descriptor that the handler writes to; 0: it is not installed.
var pipe int32

// sigaction is struct sigaction of the kernel (rt_sigaction(2)).
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const (
	saOnStack  = 0x08000000 // the Go runtime wants it of every handler (os/signal, "Non-Go programs that call Go code")
	saRestart  = 0x10000000
	saRestorer = 0x04000000
)

// install makes the handler write to a pipe, and passes on what comes through it.
func install(list []syscall.Signal, c chan<- os.Signal) bool {
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return false
	}
	pipe = int32(fds[1])
	h, r := addresses()
	act := sigaction{handler: h, flags: saOnStack | saRestart | saRestorer, restorer: r, mask: ^uint64(0)}
	for _, sig := range list {
		if set(sig, &act) != nil {
			return false
		}
	}
	go pump(os.NewFile(uintptr(fds[0]), "signals"), c)
	return true
}

// pump passes on what the handler wrote.
func pump(f *os.File, c chan<- os.Signal) {
	var buf [64]byte
	for {
		n, err := f.Read(buf[:])
		for _, b := range buf[:n] {
			select {
			case c <- syscall.Signal(b):
			default: // as signal.Notify
			}
		}
		if err != nil {
			return
		}
	}
}

// Default gives sig its default action back.
func Default(sig syscall.Signal) error {
	if pipe == 0 { // os/signal's
		signal.Reset(sig)
		return nil
	}
	return set(sig, &sigaction{})
}

func set(sig syscall.Signal, act *sigaction) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(act)), 0, unsafe.Sizeof(act.mask), 0, 0)
	if e != 0 {
		return fmt.Errorf("rt_sigaction %v: %w", sig, e)
	}
	return nil
}
