package fuse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Opcodes of enum fuse_opcode, linux/fuse.h.
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opSetattr     = 4
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatfs      = 17
	opRelease     = 18
	opFlush       = 25
	opInit        = 26
	opOpendir     = 27
	opReaddir     = 28
	opReleasedir  = 29
	opInterrupt   = 36
	opDestroy     = 38
	opBatchForget = 42
)

const (
	major, minor = 7, 31

	atomicTrunc = 1 << 3 // FUSE_ATOMIC_O_TRUNC: O_TRUNC comes with the open
	bigWrites   = 1 << 5 // FUSE_BIG_WRITES
	directIO    = 1 << 0 // FOPEN_DIRECT_IO

	// What chown(2) and chmod(2) change: FATTR_MODE, FATTR_UID, FATTR_GID.
	attrMode, attrUID, attrGID = 1 << 0, 1 << 1, 1 << 2

	inHeader  = 40 // struct fuse_in_header
	outHeader = 16 // struct fuse_out_header
	buffer    = MaxWrite + 4096
)

var order = binary.NativeEndian

// Server serves one mount.
type Server struct {
	file  *os.File
	guard guard
	fs    FS
	files map[uint64]*open
	last  uint64
}

// open is an open file or directory.
type open struct {
	dir     bool
	file    any
	content []byte
	list    []Entry
}

// request is one message of the kernel.
type request struct {
	op     uint32
	unique uint64
	node   uint64
	caller Caller
	arg    []byte
}

// errShort is a message that is shorter than its kind allows.
var errShort = errors.New("short message")

// parse takes a message apart.
func parse(b []byte) (r request, err error) {
	if len(b) < inHeader || int(order.Uint32(b)) != len(b) {
		return r, errShort
	}
	r = request{op: order.Uint32(b[4:]), unique: order.Uint64(b[8:]), node: order.Uint64(b[16:]), arg: b[inHeader:]}
	r.caller = Caller{UID: order.Uint32(b[24:]), GID: order.Uint32(b[28:]), PID: int(int32(order.Uint32(b[32:])))}
	if r.caller.PID < 0 {
		r.caller.PID = 0
	}
	return r, nil
}

// Serve answers requests until the file system is unmounted, when it returns nil, or Close was called.
func (s *Server) Serve() error {
	defer s.end()
	buf := make([]byte, buffer)
	for {
		n, err := s.file.Read(buf)
		if errno := unix.Errno(0); err != nil && !errors.As(err, &errno) && !errors.Is(err, os.ErrClosed) {
			n, err = s.readNow(buf)
		}
		switch {
		case errors.Is(err, unix.ENODEV): // unmounted
			return nil
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN): // a request was taken back
			continue
		case errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return err
		}
		r, err := parse(buf[:n])
		if err != nil {
			return err
		}
		out, answer, err := s.handle(r)
		if !answer {
			continue
		}
		s.reply(r.unique, out, err)
	}
}

// readNow reads without the poller of the Go runtime, which has an error of its own for EPOLLERR: that is what poll(2) tells of a file system that is unmounted
// (fs/fuse/dev.c, fuse_dev_poll), and the read tells ENODEV.
func (s *Server) readNow(buf []byte) (n int, err error) {
	conn, err := s.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := conn.Control(func(fd uintptr) { n, err = unix.Read(int(fd), buf) }); e != nil {
		return 0, e
	}
	return max(n, 0), err
}

// reply answers a request. ENOENT of the write means that nobody waits for the answer any more.
func (s *Server) reply(unique uint64, out []byte, err error) {
	e := errno(err)
	if e != 0 {
		out = nil
	}
	b := make([]byte, outHeader, outHeader+len(out))
	order.PutUint32(b, uint32(outHeader+len(out)))
	order.PutUint32(b[4:], uint32(-int32(e)))
	order.PutUint64(b[8:], unique)
	_, _ = s.file.Write(append(b, out...))
}

// handle does what a request asks for. Some have no answer.
func (s *Server) handle(r request) (out []byte, answer bool, err error) {
	switch r.op {
	case opForget, opBatchForget, opInterrupt:
		return nil, false, nil
	case opInit:
		out, err = s.init(r)
	case opDestroy, opFlush:
	case opLookup:
		out, err = s.lookup(r)
	case opGetattr, opSetattr:
		out, err = s.attr(r)
	case opOpen, opOpendir:
		out, err = s.open(r)
	case opRead:
		out, err = s.read(r)
	case opReaddir:
		out, err = s.readdir(r)
	case opWrite:
		out, err = s.write(r)
	case opRelease, opReleasedir:
		err = s.release(r)
	case opStatfs:
		out = make([]byte, 80) // struct fuse_kstatfs: bsize and namelen
		order.PutUint32(out[40:], 4096)
		order.PutUint32(out[44:], 255)
	default:
		err = unix.ENOSYS
	}
	return out, true, err
}

func (s *Server) init(r request) ([]byte, error) {
	if len(r.arg) < 16 {
		return nil, unix.EPROTO
	}
	out := make([]byte, 64) // struct fuse_init_out
	order.PutUint32(out, major)
	order.PutUint32(out[4:], minor)
	if order.Uint32(r.arg) != major { // a newer kernel asks again with this version
		return out, nil
	}
	if order.Uint32(r.arg[4:]) < minor {
		return nil, unix.EPROTO
	}
	order.PutUint32(out[8:], order.Uint32(r.arg[8:])) // max_readahead
	order.PutUint32(out[12:], order.Uint32(r.arg[12:])&(atomicTrunc|bigWrites))
	order.PutUint16(out[16:], 12) // max_background
	order.PutUint16(out[18:], 9)  // congestion_threshold
	order.PutUint32(out[20:], MaxWrite)
	order.PutUint32(out[24:], 1e9) // time_gran
	return out, nil
}

func putAttr(b []byte, a Attr) {
	order.PutUint64(b, a.Node)
	order.PutUint64(b[24:], uint64(a.Changed)) // atime, mtime, ctime
	order.PutUint64(b[32:], uint64(a.Changed))
	order.PutUint64(b[40:], uint64(a.Changed))
	mode, links := uint32(unix.S_IFREG), uint32(1)
	if a.Dir {
		mode, links = unix.S_IFDIR, 2
	}
	order.PutUint32(b[60:], mode|a.Perm&0o7777)
	order.PutUint32(b[64:], links)
	order.PutUint32(b[68:], a.UID)
	order.PutUint32(b[72:], a.GID)
	order.PutUint32(b[80:], 4096)
}

func (s *Server) lookup(r request) ([]byte, error) {
	name, _, ok := bytes.Cut(r.arg, []byte{0})
	if !ok {
		return nil, unix.EPROTO
	}
	a, err := s.fs.Lookup(r.caller, r.node, string(name))
	if err != nil {
		return nil, err
	}
	out := make([]byte, 128) // struct fuse_entry_out, which is valid for no time
	order.PutUint64(out, a.Node)
	putAttr(out[40:], a)
	return out, nil
}

func (s *Server) attr(r request) ([]byte, error) {
	if r.op == opSetattr {
		if len(r.arg) < 4 {
			return nil, unix.EPROTO
		}
		if order.Uint32(r.arg)&(attrMode|attrUID|attrGID) != 0 {
			return nil, unix.EPERM
		}
	}
	a, err := s.fs.Attr(r.caller, r.node)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 104) // struct fuse_attr_out
	putAttr(out[16:], a)
	return out, nil
}

func (s *Server) open(r request) ([]byte, error) {
	if len(r.arg) < 8 {
		return nil, unix.EPROTO
	}
	o := &open{dir: r.op == opOpendir}
	var err error
	if !o.dir {
		o.file, err = s.fs.Open(r.caller, r.node, int(order.Uint32(r.arg)))
	} else {
		_, err = s.fs.Attr(r.caller, r.node)
	}
	if err != nil {
		return nil, err
	}
	s.last++
	s.files[s.last] = o
	out := make([]byte, 16) // struct fuse_open_out
	order.PutUint64(out, s.last)
	if !o.dir {
		order.PutUint32(out[8:], directIO)
	}
	return out, nil
}

// at is the part of the argument that reads and writes begin with: the file or directory, and where in it.
func (s *Server) at(r request, dir bool) (o *open, offset uint64, size int, err error) {
	if len(r.arg) < 20 {
		return nil, 0, 0, unix.EPROTO
	}
	o = s.files[order.Uint64(r.arg)]
	if o == nil || o.dir != dir {
		return nil, 0, 0, unix.EBADF
	}
	return o, order.Uint64(r.arg[8:]), int(order.Uint32(r.arg[16:])), nil
}

func (s *Server) read(r request) ([]byte, error) {
	o, offset, size, err := s.at(r, false)
	if err != nil {
		return nil, err
	}
	if offset == 0 {
		if o.content, err = s.fs.Content(r.caller, o.file); err != nil {
			return nil, err
		}
	}
	if offset >= uint64(len(o.content)) {
		return nil, nil
	}
	b := o.content[offset:]
	return b[:min(len(b), size)], nil
}

func (s *Server) readdir(r request) ([]byte, error) {
	o, offset, size, err := s.at(r, true)
	if err != nil {
		return nil, err
	}
	if offset == 0 {
		list, err := s.fs.List(r.caller, r.node)
		if err != nil {
			return nil, err
		}
		o.list = append([]Entry{{Name: ".", Node: r.node, Dir: true}, {Name: "..", Node: r.node, Dir: true}}, list...)
	}
	var out []byte
	for i := offset; i < uint64(len(o.list)); i++ {
		e := o.list[i]
		b := make([]byte, (24+len(e.Name)+7)/8*8) // struct fuse_dirent
		if len(out)+len(b) > size {
			break
		}
		order.PutUint64(b, e.Node)
		order.PutUint64(b[8:], i+1)
		order.PutUint32(b[16:], uint32(len(e.Name)))
		order.PutUint32(b[20:], unix.DT_REG)
		if e.Dir {
			order.PutUint32(b[20:], unix.DT_DIR)
		}
		copy(b[24:], e.Name)
		out = append(out, b...)
	}
	return out, nil
}

func (s *Server) write(r request) ([]byte, error) {
	o, _, size, err := s.at(r, false)
	if err != nil {
		return nil, err
	}
	if len(r.arg) < 40 || len(r.arg)-40 < size {
		return nil, unix.EPROTO
	}
	if err := s.fs.Write(r.caller, o.file, r.arg[40:40+size]); err != nil {
		return nil, err
	}
	out := make([]byte, 8) // struct fuse_write_out
	order.PutUint32(out, uint32(size))
	return out, nil
}

func (s *Server) release(r request) error {
	if len(r.arg) < 8 {
		return unix.EPROTO
	}
	h := order.Uint64(r.arg)
	o := s.files[h]
	if o == nil || o.dir != (r.op == opReleasedir) {
		return unix.EBADF
	}
	delete(s.files, h)
	if !o.dir {
		s.fs.Release(o.file)
	}
	return nil
}

// end releases what is open when nobody can use it any more.
func (s *Server) end() {
	for h, o := range s.files {
		delete(s.files, h)
		if !o.dir {
			s.fs.Release(o.file)
		}
	}
}
