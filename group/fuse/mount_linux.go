package fuse

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Program is what mounts for users that may not.
const Program = "fusermount3"

// ErrNoProgram is wrapped by errors of Mount when there is no fusermount3.
var ErrNoProgram = errors.New(Program + ": not found; install fuse3")

// guard is a shell that waits for the end of the server.
type guard struct {
	pipe    *os.File // closed by the end of this process too
	lock    *os.File // of the directory, which the guard has as well; nil: there is none
	process *os.Process
	program string
	dir     string
}

// watch is what the guard does. Unmounting while files are open takes -z. What it executes inherits the lock.
const watch = `read -r line; exec "$0" -u -q -z -- "$1"`

// Mount mounts fs on a directory. What a server that was killed may have left there is unmounted before. When this process ends, its guard
// unmounts it; whatever still uses a file there gets ENOTCONN. The errors say what fusermount3 says, in one line.
//
// The guard is a process of its own (/bin/sh), since auto_unmount of fusermount3 unmounts for root only: it looks whether the server answers, which it
// may not where AllowOther is not set (libfuse 3.14, util/fusermount.c).
func Mount(dir string, fs FS, o Options) (*Server, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(dir, o.Lock)
	if err != nil {
		return nil, err
	}
	program, err := check(dir, o.Path)
	g := guard{program: program, dir: dir, lock: lock}
	if err == nil && Dead(dir) {
		if err = g.unmount(); err != nil {
			err = fmt.Errorf("%s: unmount what a server has left: %w", dir, err)
		}
	}
	if err == nil {
		err = g.start()
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	file, err := g.mount(o)
	if err != nil {
		g.end()
		return nil, err
	}
	return &Server{file: file, guard: g, fs: fs, files: map[uint64]*open{}}, nil
}

// Check tells why Mount would not even try.
func Check(dir string, o Options) error {
	_, err := check(dir, o.Path)
	return err
}

func check(dir, path string) (program string, err error) {
	if !Dead(dir) {
		st, err := os.Stat(dir)
		if err != nil {
			return "", err
		}
		if !st.IsDir() {
			return "", fmt.Errorf("%s: %w", dir, unix.ENOTDIR)
		}
	}
	return find(path)
}

// start starts the guard, in a session of its own: Ctrl-C, which ends the server, is not to end the guard.
func (g *guard) start() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err == nil {
		attr := &os.ProcAttr{Dir: "/", Env: []string{}, Files: []*os.File{r, null, null, g.lock}, Sys: &unix.SysProcAttr{Setsid: true}}
		g.process, err = os.StartProcess("/bin/sh", []string{"sh", "-c", watch, g.program, g.dir}, attr)
		null.Close()
	}
	r.Close()
	if err != nil {
		w.Close()
		return fmt.Errorf("guard of the mount: %w", err)
	}
	g.pipe = w
	return nil
}

// end ends the guard when there is nothing to guard any more.
func (g *guard) end() {
	_ = g.process.Kill()
	_, _ = g.process.Wait()
	g.pipe.Close()
	g.lock.Close()
}

// unmount unmounts the directory. Should this process be killed meanwhile, the lock is held until that is done.
func (g *guard) unmount() error {
	return run(g.program, []string{}, []*os.File{g.lock}, "-u", "-q", "-z", "--", g.dir)
}

// Dead tells whether dir is a mount whose server is gone.
func Dead(dir string) bool {
	var st unix.Stat_t
	err := unix.Stat(dir, &st)
	return err == unix.ENOTCONN || err == unix.ECONNABORTED
}

func find(path string) (string, error) {
	for _, dir := range append(filepath.SplitList(path), "/usr/bin", "/bin") {
		name := filepath.Join(dir, Program)
		if filepath.IsAbs(name) && unix.Access(name, unix.X_OK) == nil {
			return name, nil
		}
	}
	return "", ErrNoProgram
}

// run runs fusermount3 to its end, with descriptors from 3 on, and makes an error of what it says.
func run(program string, env []string, extra []*os.File, args ...string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	files := append([]*os.File{w, w, w}, extra...)
	p, err := os.StartProcess(program, append([]string{program}, args...), &os.ProcAttr{Env: env, Files: files})
	w.Close()
	if err != nil {
		return err
	}
	text, _ := io.ReadAll(io.LimitReader(r, 4096))
	st, err := p.Wait()
	if err == nil && !st.Success() {
		err = said(text, st.String())
	}
	return err
}

// said is an error with the first line of what fusermount3 has said.
func said(text []byte, otherwise string) error {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if line = strings.TrimPrefix(line, Program+": "); line == "" {
		line = otherwise
	}
	return fmt.Errorf("%s: %s", Program, line)
}

// mount runs fusermount3, which mounts, and sends the descriptor for the requests (fuse(4)) over a socket. It has the pipe of the guard, too: should this process be killed
// meanwhile, the guard unmounts what has been mounted since.
func (g *guard) mount(o Options) (*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	near, far := os.NewFile(uintptr(pair[0]), "socket"), os.NewFile(uintptr(pair[1]), "socket")
	defer near.Close()
	options := "nosuid,nodev,noexec,fsname=" + o.Name + ",subtype=" + o.Name
	if o.AllowOther {
		options += ",allow_other"
	}
	err = run(g.program, []string{"_FUSE_COMMFD=3"}, []*os.File{far, g.pipe, g.lock}, "-o", options, "--", g.dir)
	far.Close()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.dir, err)
	}
	f, err := receive(near)
	if err != nil {
		_ = g.unmount()
		return nil, fmt.Errorf("%s: %s sent no descriptor: %w", g.dir, Program, err)
	}
	return f, nil
}

// receive waits for a descriptor.
func receive(socket *os.File) (*os.File, error) {
	oob, b := make([]byte, unix.CmsgSpace(4)), make([]byte, 4)
	for {
		_, oobn, _, _, err := unix.Recvmsg(int(socket.Fd()), b, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		list, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(list) != 1 {
			return nil, io.ErrUnexpectedEOF
		}
		fds, err := unix.ParseUnixRights(&list[0])
		if err != nil || len(fds) != 1 {
			return nil, io.ErrUnexpectedEOF
		}
		_ = unix.SetNonblock(fds[0], true) // so that Close ends a read
		return os.NewFile(uintptr(fds[0]), "/dev/fuse"), nil
	}
}

// Close unmounts, after which Serve returns; who still uses a file gets ENOTCONN. It may be called while Serve runs, and after it.
func (s *Server) Close() error {
	err := s.guard.unmount()
	s.file.Close()
	s.guard.end()
	if err != nil && !Dead(s.guard.dir) {
		err = nil // somebody else was faster
	}
	return err
}
