package admission

import (
	"encoding/binary"
	"hash/fnv"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/rendezvous"
)

// The history is a file of entries of a fixed size, in sets: the key says in which set its entry is, and in a full set the one that was used longest ago makes
// room. So the file has 32 KiB at most, and finding an entry is one read. Each entry is written in one piece, and a checksum tells those that are none: nothing is
// locked, and what a crash or somebody else leaves is nothing on record.
const (
	peaksFile = "peaks"
	entrySize = 32 // hash of the key (16), peak (8), when in seconds (4), checksum (4)
	entryWays = 8
	entrySets = 128 // 1,024 entries
	// A peak that is lower than the one on record brings that down by this part of the difference: one short run is not what to expect of the next.
	peakDecay = 4
)

// peaks is what starts have peaked at, by their kind.
type peaks struct {
	dir string
	mu  sync.Mutex
	fd  int // -1: not open
}

type entry struct {
	hash [16]byte
	peak int64 // bytes
	when uint32
}

func (e entry) encode(b []byte) {
	copy(b, e.hash[:])
	le := binary.LittleEndian
	le.PutUint64(b[16:], uint64(e.peak))
	le.PutUint32(b[24:], e.when)
	le.PutUint32(b[28:], entrySum(b))
}

// decode returns no entry of what is none.
func (e *entry) decode(b []byte) bool {
	le := binary.LittleEndian
	*e = entry{hash: [16]byte(b), peak: int64(le.Uint64(b[16:])), when: le.Uint32(b[24:])}
	if e.peak <= 0 || le.Uint32(b[28:]) != entrySum(b) {
		*e = entry{}
		return false
	}
	return true
}

func entrySum(b []byte) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte{version})
	_, _ = h.Write(b[:28])
	return h.Sum32()
}

// set reads the entries that a key can be in, and finds its own: else the one that is to make room.
func (p *peaks) set(key string, create bool) (e entry, at int64, found bool) {
	if p.fd < 0 {
		flags := unix.O_RDWR | unix.O_CLOEXEC | unix.O_NOFOLLOW
		if create {
			flags |= unix.O_CREAT
		}
		fd, err := rendezvous.Retry(func() (int, error) { return unix.Open(filepath.Join(p.dir, peaksFile), flags, 0o600) })
		if err != nil {
			return e, -1, false
		}
		p.fd = fd
	}
	h := fnv.New128a()
	_, _ = h.Write([]byte(key))
	hash := [16]byte(h.Sum(nil))
	var b [entryWays * entrySize]byte
	start := int64(hash[15]%entrySets) * int64(len(b))
	n, err := rendezvous.Retry(func() (int, error) { return unix.Pread(p.fd, b[:], start) })
	if err != nil {
		return e, -1, false
	}
	clear(b[max(n, 0):])
	oldest := entry{when: 1<<32 - 1}
	at = start
	for i := range entryWays {
		e.decode(b[i*entrySize:])
		if e.peak > 0 && e.hash == hash {
			return e, start + int64(i*entrySize), true
		}
		if e.when < oldest.when {
			oldest, at = e, start+int64(i*entrySize)
		}
	}
	return entry{hash: hash}, at, false
}

func (p *peaks) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd >= 0 {
		unix.Close(p.fd)
		p.fd = -1
	}
}

// Expect is the memory in bytes that starts of the kind key have peaked at, as far as that is remembered; false when nothing is. Of about 1,000 kinds it is, of those
// that were recorded last. It costs one read of a file.
func (q *Queue) Expect(key string) (int64, bool) {
	p := &q.peaks
	p.mu.Lock()
	defer p.mu.Unlock()
	e, _, found := p.set(key, false)
	return e.peak, found
}

// Record remembers what a start of the kind key has peaked at, in bytes, for all who use the directory: a higher peak at once, a lower one by and by. That it
// cannot be written is not said: it is a help, and nothing that anything depends on.
func (q *Queue) Record(key string, peak int64) {
	if peak <= 0 {
		return
	}
	p := &q.peaks
	p.mu.Lock()
	defer p.mu.Unlock()
	e, at, found := p.set(key, true)
	if at < 0 {
		return
	}
	if found && peak < e.peak {
		peak = e.peak - (e.peak-peak)/peakDecay
	}
	e.peak, e.when = peak, uint32(time.Now().Unix())
	var b [entrySize]byte
	e.encode(b[:])
	_, _ = rendezvous.Retry(func() (int, error) { return unix.Pwrite(p.fd, b[:], at) })
}
