package admission

import "encoding/binary"

// The table is a header and then a record for each ticket, all of recordSize bytes: a power of two, so that none lies on two pages, which the kernel
// may write one without the other when the writer is killed. Numbers are little-endian.
const (
	recordSize = 128
	maxRecords = 4096 // tickets that wait or hold: half a MiB
	version    = 1
)

var magic = [8]byte{'m', 'l', 'r', 'u', 'n', 'a', 'd', 'm'}

// header is the first entry of the table. Times are in nanoseconds of the monotonic clock.
type header struct {
	size    int    // records from the first on that may be in use
	epoch   uint64 // of who has made the table anew
	first   uint64 // ticket that has been first in the line since, or was seen to look, at beat
	beat    int64
	pace    int64 // nobody in the line is admitted before
	checked int64 // when holders were last looked for that have died
}

func (h header) encode(b []byte) {
	clear(b[:recordSize])
	copy(b, magic[:])
	le := binary.LittleEndian
	le.PutUint32(b[8:], version)
	le.PutUint32(b[12:], uint32(h.size))
	le.PutUint64(b[16:], h.epoch)
	le.PutUint64(b[24:], h.first)
	le.PutUint64(b[32:], uint64(h.beat))
	le.PutUint64(b[40:], uint64(h.pace))
	le.PutUint64(b[48:], uint64(h.checked))
	le.PutUint64(b[sumAt:], sum(b))
}

// decode tells, too, which version of the table this is; 0 when it is none.
func (h *header) decode(b []byte) (found uint32) {
	le := binary.LittleEndian
	if len(b) < recordSize || [8]byte(b[:8]) != magic {
		return 0
	}
	if found = le.Uint32(b[8:]); found != version {
		return found
	}
	*h = header{
		size: int(le.Uint32(b[12:])), epoch: le.Uint64(b[16:]), first: le.Uint64(b[24:]),
		beat: int64(le.Uint64(b[32:])), pace: int64(le.Uint64(b[40:])), checked: int64(le.Uint64(b[48:])),
	}
	if le.Uint64(b[sumAt:]) != sum(b) || h.size > maxRecords {
		return 0
	}
	return found
}

// state is what a record is for.
type state uint8

const (
	free    state = iota
	waiting       // for its turn
	holding       // admitted
)

// record is one ticket. Amounts are in bytes, times in nanoseconds of the monotonic clock.
type record struct {
	state  state
	absent bool   // it had its turn and did not use it: its process is stopped, perhaps
	proc   uint32 // number of its process: which byte it locks
	ticket uint64 // when it came, which is its place in the line; different for each
	claim
	used   int64  // at most, so far
	settle int64  // how long its reservation holds
	until  int64  // up to when it does, once it is admitted
	passed uint64 // ticket that was first when this one was admitted out of turn

	// As of its admission
	available, outstanding, total int64
	stall                         float64 // pressure
}

// left is how much of the reservation of a holder is neither used nor void.
func (r *record) left(now int64) int64 {
	if r.state != holding || now >= r.until {
		return 0
	}
	return max(0, r.reserve-r.used)
}

const hundredth = 100 // percents are stored in hundredths

func (r *record) encode(b []byte) {
	clear(b[:recordSize])
	if r.state == free {
		return
	}
	le := binary.LittleEndian
	b[0] = byte(r.state)
	if r.absent {
		b[1] = 1
	}
	le.PutUint32(b[4:], r.proc)
	le.PutUint64(b[8:], r.ticket)
	for i, n := range []int64{r.required, r.reserve, r.used, r.settle, r.until, int64(r.passed), r.available, r.outstanding, r.total} {
		le.PutUint64(b[16+8*i:], uint64(n))
	}
	le.PutUint32(b[88:], uint32(r.pressure*hundredth))
	le.PutUint32(b[92:], uint32(r.stall*hundredth))
	le.PutUint64(b[sumAt:], sum(b))
}

// decode makes a free record of what is none: whose it is puts it back.
func (r *record) decode(b []byte) {
	*r = record{}
	le := binary.LittleEndian
	if s := state(b[0]); s != waiting && s != holding || le.Uint64(b[sumAt:]) != sum(b) {
		return
	}
	r.state, r.absent, r.proc, r.ticket = state(b[0]), b[1] != 0, le.Uint32(b[4:]), le.Uint64(b[8:])
	var passed int64
	for i, n := range []*int64{&r.required, &r.reserve, &r.used, &r.settle, &r.until, &passed, &r.available, &r.outstanding, &r.total} {
		*n = int64(le.Uint64(b[16+8*i:]))
	}
	r.passed = uint64(passed)
	r.pressure, r.stall = float64(le.Uint32(b[88:]))/hundredth, float64(le.Uint32(b[92:]))/hundredth
}

// sumAt is where the checksum of an entry is, over what lies before it.
const sumAt = recordSize - 8

// sum is FNV-1a by words: it finds what was never written as a whole, or by somebody else.
func sum(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < sumAt; i += 8 {
		h = (h ^ binary.LittleEndian.Uint64(b[i:])) * 1099511628211
		h ^= h >> 29
	}
	return h
}
