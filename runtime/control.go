package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/proc"
	"mlrun/runtime/launch"
	"mlrun/runtime/sockpath"
	"mlrun/runtime/store"
	"mlrun/runtime/supervise"
)

// socketFile is the supervisor's socket. Only the owner of the state directory can reach it.
const socketFile = "control"

// errNoSupervisor says that nobody answers.
var errNoSupervisor = errors.New("the supervisor does not answer")

// errNoSocket says that there is nothing yet, or not any more, where somebody could answer.
var errNoSocket = fmt.Errorf("%w: it has no socket", errNoSupervisor)

// message is what a client sends.
type message struct {
	supervise.Request
	Exec *execMessage `json:"exec,omitempty"` // with OpExec; the descriptors of the process come along
}

// execMessage is the process that is to be executed.
type execMessage struct {
	Config   json.RawMessage `json:"config"` // of the container, with this process in place of its own
	Terminal bool            `json:"terminal,omitempty"`
	PID      int             `json:"pid,omitempty"` // in place of Config: a child of the client's that waits at its gate
}

// answer is what a supervisor replies, as JSON. To OpExec there are two: when the program was executed, and when it has ended.
type answer struct {
	Snapshot *supervise.Snapshot `json:"snapshot,omitempty"`
	Error    string              `json:"error,omitempty"`
	ExitCode int                 `json:"exitCode,omitempty"` // with Error: what a shell would make of it; 0: nothing special
	Process  *proc.ID            `json:"process,omitempty"`
	Ended    *ending             `json:"ended,omitempty"`
}

// ending is how a process ended.
type ending struct {
	Status syscall.WaitStatus `json:"status"`
	Known  bool               `json:"known"`
}

// control is the supervisor's side of the socket.
type control struct {
	requests chan supervise.Request
	done     chan struct{}
	serving  sync.WaitGroup
	process  func(*execMessage, []int) (launch.Config, error) // for OpExec
	listener func([]int) error                                // for opListen, takes the descriptors over
}

// opListen hands over a listener for the execs of a process that the client has made.
const opListen supervise.Op = "listen"

// address makes an address for the socket of a container. The error wraps fs.ErrNotExist when that has no directory. release is to be called when the
// address was used.
func address(d *store.Dir) (addr *net.UnixAddr, release func(), err error) {
	if _, err := os.Lstat(d.Path(".")); err != nil {
		return nil, nil, err
	}
	name, release, err := sockpath.For(d.Path(socketFile))
	if err != nil {
		return nil, nil, err
	}
	return &net.UnixAddr{Name: name, Net: "unix"}, release, nil
}

func newControl(process func(*execMessage, []int) (launch.Config, error), listener func([]int) error) *control {
	return &control{requests: make(chan supervise.Request), done: make(chan struct{}), process: process, listener: listener}
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

func (c *control) accept(l *net.UnixListener) {
	for {
		conn, err := l.AcceptUnix()
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

const (
	maxRequest = 4 << 20 // bytes of the largest request: a process may have an environment of megabytes
	maxFiles   = 253     // descriptors that one message can carry (SCM_MAX_FD)
)

func (c *control) serve(conn *net.UnixConn) {
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
	var req message
	files, err := receive(conn, &req)
	defer func() { closeAll(files) }() // those that are open by then: the numbers of others may be somebody else's
	replies := make(chan answer, 2)
	switch {
	case err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded):
		return
	case err != nil:
		replies <- answer{Error: "request: " + err.Error()}
	case req.Op == supervise.OpWatch:
		c.watch(conn, req.Request)
		return
	case req.Op == supervise.OpExec:
		if !c.exec(&req, peer(conn), files, replies) {
			return
		}
	case req.Op == opListen:
		replies <- refused(answer{}, c.listener(files))
		files = nil
	default:
		if req.Op == supervise.OpStart {
			req.Gone = end(conn)
		}
		req.Reply = func(s supervise.Snapshot, err error) { replies <- refused(answer{Snapshot: &s}, err) }
		if !c.ask(req.Request) {
			return
		}
	}
	for more := true; more; {
		var a answer
		select {
		case a = <-replies:
		case <-c.done:
			select {
			case a = <-replies: // the run's last words
			default:
				return
			}
		}
		more = a.Process != nil && a.Error == ""
		b, _ := json.Marshal(a)
		_ = conn.SetWriteDeadline(time.Now().Add(lastWords))
		if _, err := conn.Write(append(b, '\n')); err != nil {
			return
		}
		closeAll(files)
		files = nil
	}
}

// ask hands a request to the run; false: that is over.
func (c *control) ask(r supervise.Request) bool {
	select {
	case c.requests <- r:
		return true
	case <-c.done:
		return false
	}
}

// exec asks for one more process; false: the run is over.
func (c *control) exec(req *message, client int, files []int, replies chan answer) bool {
	config, err := launch.Config{}, error(nil)
	switch {
	case req.Exec == nil:
		err = errors.New("request: exec without a process")
	case req.Exec.PID == 0:
		config, err = c.process(req.Exec, files)
	}
	if err != nil {
		replies <- refused(answer{}, err)
		return true
	}
	r := req.Request
	r.Exec = &supervise.Exec{
		Launch: config, PID: req.Exec.PID, Parent: client,
		Started: func(id proc.ID, err error) {
			if err != nil {
				replies <- refused(answer{}, err)
				return
			}
			replies <- answer{Process: &id}
		},
		Ended: func(status syscall.WaitStatus, known bool) { replies <- answer{Ended: &ending{status, known}} },
	}
	r.Reply = func(_ supervise.Snapshot, err error) {
		if err != nil {
			replies <- refused(answer{}, err)
		}
	}
	return c.ask(r)
}

// watch sends what happens, until the client is gone or the run is over.
func (c *control) watch(conn *net.UnixConn, r supervise.Request) {
	happened := make(chan supervise.Occurrence, 64)
	r.Watch = func(o supervise.Occurrence) {
		select {
		case happened <- o:
		default: // a client that does not read misses some
		}
	}
	r.Reply = func(supervise.Snapshot, error) {}
	if !c.ask(r) {
		return
	}
	gone := end(conn)
	for over := false; !over; {
		var o supervise.Occurrence
		select {
		case o = <-happened:
		case <-gone:
			return
		case <-c.done:
			select {
			case o = <-happened:
			default:
				return
			}
		}
		over = o.Ended != nil
		b, _ := json.Marshal(o)
		_ = conn.SetWriteDeadline(time.Now().Add(lastWords))
		if _, err := conn.Write(append(b, '\n')); err != nil {
			return
		}
	}
}

// end is closed when a client that says nothing more is gone.
func end(conn *net.UnixConn) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		_ = conn.SetReadDeadline(time.Time{})
		_, _ = conn.Read(make([]byte, 1))
		close(gone)
	}()
	return gone
}

// refused adds an error to an answer.
func refused(a answer, err error) answer {
	if err != nil {
		a.Error, a.ExitCode = err.Error(), supervise.LaunchCode(err)
	}
	return a
}

// receive reads one JSON value and the descriptors that come with its first bytes.
func receive(conn *net.UnixConn, v any) (files []int, err error) {
	first, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, _, _, err := conn.ReadMsgUnix(first, oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	list, err := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range list {
		fds, _ := unix.ParseUnixRights(&list[i])
		files = append(files, fds...)
	}
	for _, fd := range files {
		unix.CloseOnExec(fd)
	}
	if err != nil {
		return files, err
	}
	rest := io.LimitReader(conn, maxRequest)
	return files, json.NewDecoder(io.MultiReader(bytes.NewReader(first[:n]), rest)).Decode(v)
}

func closeAll(files []int) {
	for _, fd := range files {
		unix.Close(fd)
	}
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

// dial connects to the supervisor of a container. errNoSupervisor means that there is none.
func dial(d *store.Dir) (*net.UnixConn, error) {
	addr, release, err := address(d)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: %w", d.ID, ErrNotExist)
		}
		return nil, err
	}
	defer release()
	conn, err := net.DialUnix("unix", nil, addr)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED): // the latter between bind and listen, too
		return nil, errNoSocket
	case err != nil:
		return nil, fmt.Errorf("%s: control socket: %w", d.ID, err)
	}
	return conn, nil
}

// send sends a message, with descriptors.
func send(conn *net.UnixConn, m *message, files []int) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(b) > maxRequest {
		return fmt.Errorf("the request has %d bytes, at most %d are possible", len(b), maxRequest)
	}
	var oob []byte
	if len(files) > 0 {
		oob = unix.UnixRights(files...)
	}
	n, _, err := conn.WriteMsgUnix(b, oob, nil)
	if err == nil && n < len(b) {
		_, err = conn.Write(b[n:])
	}
	if err != nil {
		return errNoSupervisor
	}
	return nil
}

// call sends a request to the supervisor of a container. errNoSupervisor means that there is none, or that it ended before it
// answered.
func call(d *store.Dir, req supervise.Request, timeout time.Duration) (supervise.Snapshot, error) {
	conn, err := dial(d)
	if err != nil {
		return supervise.Snapshot{}, err
	}
	defer conn.Close()
	if timeout > 0 {
		_ = conn.SetDeadline(time.Now().Add(timeout))
	}
	if err := send(conn, &message{Request: req}, nil); err != nil {
		return supervise.Snapshot{}, err
	}
	var a answer
	if json.NewDecoder(conn).Decode(&a) != nil {
		return supervise.Snapshot{}, errNoSupervisor
	}
	if a.Snapshot == nil {
		a.Snapshot = &supervise.Snapshot{}
	}
	if a.ExitCode == supervise.ExitTempFail {
		return *a.Snapshot, &LaunchError{Message: a.Error, ExitCode: a.ExitCode}
	}
	return *a.Snapshot, known(a.Error)
}

// known gives an error that came over the socket its identity back.
func known(text string) error {
	if text == "" {
		return nil
	}
	for _, e := range []error{ErrNotRunning, ErrNotCreated, ErrPaused, ErrNotPaused} {
		if e.Error() == text {
			return e
		}
	}
	return errors.New(text)
}
