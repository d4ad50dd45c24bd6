package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"mlrun/runtime/store"
	"mlrun/runtime/supervise"
)

// socketFile is the supervisor's socket. Only the owner of the state directory can reach it.
const socketFile = "control"

// errNoSupervisor says that nobody answers.
var errNoSupervisor = errors.New("the supervisor does not answer")

// errNoSocket says that there is nothing yet, or not any more, where somebody could answer.
var errNoSocket = fmt.Errorf("%w: it has no socket", errNoSupervisor)

// answer is what a supervisor replies to a supervise.Request, both as JSON.
type answer struct {
	Snapshot supervise.Snapshot `json:"snapshot"`
	Error    string             `json:"error,omitempty"`
}

// control is the supervisor's side of the socket.
type control struct {
	requests chan supervise.Request
	done     chan struct{}
	serving  sync.WaitGroup
}

// address makes a socket address for a file of any path length: sun_path has 108 bytes, a link through an open directory is
// short. release gives the directory back.
func address(d *store.Dir) (addr *net.UnixAddr, release func(), err error) {
	f, err := os.Open(d.Path("."))
	if err != nil {
		return nil, nil, err
	}
	name := "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) + "/" + socketFile
	return &net.UnixAddr{Name: name, Net: "unix"}, func() { f.Close() }, nil
}

func newControl() *control {
	return &control{requests: make(chan supervise.Request), done: make(chan struct{})}
}

// listen makes the socket and answers on it until close.
func (c *control) listen(d *store.Dir) error {
	addr, release, err := address(d)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	defer release()
	l, err := net.ListenUnix("unix", addr)
	if err != nil {
		return fmt.Errorf("control socket in %s: %w", d.Path("."), errors.Unwrap(err))
	}
	l.SetUnlinkOnClose(false) // the name is not valid any more then; the file goes with the directory
	go c.accept(l)
	go func() {
		<-c.done
		l.Close()
	}()
	return nil
}

func (c *control) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors
			continue
		}
		c.serving.Go(func() { c.serve(conn) })
	}
}

// maxRequest is the size of the largest request.
const maxRequest = 4096

func (c *control) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-c.done:
			_ = conn.SetReadDeadline(time.Now()) // who has not asked yet is too late
		case <-over:
		}
	}()
	buf := make([]byte, maxRequest)
	n, err := conn.Read(buf)
	if err != nil {
		return
	}
	reply := make(chan answer, 1)
	var req supervise.Request
	if err := json.Unmarshal(buf[:n], &req); err != nil {
		reply <- answer{Error: "request: " + err.Error()}
	} else {
		req.Reply = func(s supervise.Snapshot, err error) {
			a := answer{Snapshot: s}
			if err != nil {
				a.Error = err.Error()
			}
			reply <- a
		}
		select {
		case c.requests <- req:
		case <-c.done:
			return
		}
	}
	var a answer
	select {
	case a = <-reply:
	case <-c.done:
		select {
		case a = <-reply: // the run's last words
		default:
			return
		}
	}
	b, _ := json.Marshal(a)
	_ = conn.SetWriteDeadline(time.Now().Add(lastWords))
	_, _ = conn.Write(b)
}

// lastWords is how long the end of a supervisor waits for those who asked it something.
const lastWords = time.Second

// close refuses further requests and waits until those that were answered have been told.
func (c *control) close() {
	close(c.done)
	told := make(chan struct{})
	go func() {
		c.serving.Wait()
		close(told)
	}()
	select {
	case <-told:
	case <-time.After(lastWords):
	}
}

// call sends a request to the supervisor of a container. errNoSupervisor means that there is none, or that it ended before it
// answered.
func call(d *store.Dir, req supervise.Request, timeout time.Duration) (supervise.Snapshot, error) {
	addr, release, err := address(d)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: %w", d.ID, ErrNotExist)
		}
		return supervise.Snapshot{}, err
	}
	defer release()
	conn, err := net.DialUnix("unix", nil, addr)
	if err != nil {
		if errors.Is(err, syscall.ENOENT) {
			return supervise.Snapshot{}, errNoSocket
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return supervise.Snapshot{}, errNoSupervisor
		}
		return supervise.Snapshot{}, fmt.Errorf("%s: control socket: %w", d.ID, err)
	}
	defer conn.Close()
	if timeout > 0 {
		_ = conn.SetDeadline(time.Now().Add(timeout))
	}
	b, err := json.Marshal(req)
	if err != nil {
		return supervise.Snapshot{}, err
	}
	if _, err := conn.Write(b); err != nil {
		return supervise.Snapshot{}, errNoSupervisor
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	if err != nil {
		return supervise.Snapshot{}, errNoSupervisor
	}
	var a answer
	if err := json.Unmarshal(buf[:n], &a); err != nil {
		return supervise.Snapshot{}, errNoSupervisor
	}
	return a.Snapshot, known(a.Error)
}

// known gives an error that came over the socket its identity back.
func known(text string) error {
	if text == "" {
		return nil
	}
	for _, e := range []error{ErrNotRunning, ErrNotCreated} {
		if e.Error() == text {
			return e
		}
	}
	return errors.New(text)
}
