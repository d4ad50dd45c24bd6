package batch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"

	"mlrun/runtime/supervise"
)

// Log is what an earlier run says of its jobs. It keeps a few words of each, not its verdicts.
type Log struct {
	Lines int // verdicts that were read
	Torn  int // lines that are none: the writer was killed, or the disk was full
	Open  bool

	jobs map[key]past
	seed [2]maphash.Seed
}

// past is what became of a job.
type past struct {
	done, ok bool
	spec     uint64 // of its line
	attempt  int    // the newest
	limit    int64  // bytes: of the newest attempt that exceeded it
}

// key stands for an id. Two seeds: 128 bits, so that the ids themselves need not be kept.
type key [2]uint64

func keyOf(seed [2]maphash.Seed, id string) key {
	return key{maphash.String(seed[0], id), maphash.String(seed[1], id)}
}

func seeds() [2]maphash.Seed { return [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()} }

// ReadLog reads the verdicts of an earlier run. Lines that are none, as a writer leaves them that was killed in the middle of one, are
// counted and passed over; but text without a single verdict is an error.
func ReadLog(r io.Reader) (*Log, error) {
	l := &Log{jobs: map[key]past{}, seed: seeds()}
	lines := &lineReader{r: bufio.NewReaderSize(r, 64<<10)}
	for {
		line, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			if l.Lines == 0 && l.Torn > 1 {
				return nil, fmt.Errorf("none of its %d lines is a verdict of mlrun batch", l.Torn)
			}
			l.Open = lines.open
			return l, nil
		case err != nil && !errors.Is(err, errLong):
			return nil, err
		case err != nil || !l.add(line):
			l.Torn++
		default:
			l.Lines++
		}
	}
}

// add takes a line in. It is false when that is no verdict.
func (l *Log) add(line []byte) bool {
	var v struct {
		Job      string
		Spec     string
		Attempt  int
		Final    *bool
		Reason   string
		ExitCode *int
		Memory   struct{ Limit int64 }
	}
	if json.Unmarshal(line, &v) != nil || v.Job == "" || v.Final == nil || v.Reason == "" || v.ExitCode == nil {
		return false
	}
	k := keyOf(l.seed, v.Job)
	p := l.jobs[k]
	if p.done {
		return true // the first final verdict stays
	}
	p.spec, _ = strconv.ParseUint(v.Spec, 16, 64)
	switch {
	case unfinished(v.Reason):
	case *v.Final:
		p.done, p.ok = true, succeeded(v.Reason, *v.ExitCode)
	default:
		p.attempt, p.limit = v.Attempt, v.Memory.Limit
	}
	l.jobs[k] = p
	return true
}

// find is what is known of a job.
func (l *Log) find(id string) past {
	if l == nil {
		return past{}
	}
	return l.jobs[keyOf(l.seed, id)]
}

// reasonInvalid is that of a line that describes no job.
const reasonInvalid = "invalid"

// unfinished tells whether a job of whose end that is the reason has to be run again: nobody knows how it would have ended.
func unfinished(reason string) bool {
	return reason == supervise.ReasonKilled || reason == supervise.ReasonLost || reason == reasonInvalid
}

func succeeded(reason string, code int) bool { return reason == supervise.ReasonExited && code == 0 }

// errLong is a line that is longer than MaxLine. The next one can be read.
var errLong = fmt.Errorf("longer than %d bytes", MaxLine)

// lineReader reads lines of bounded length.
type lineReader struct {
	r    *bufio.Reader
	n    int  // number of the line, from 1 on
	open bool // the last line had no end
	buf  []byte
}

// next is the next line that is not blank, valid until the next call.
func (l *lineReader) next() ([]byte, error) {
	for {
		line, err := l.read()
		if err != nil || len(bytes.TrimSpace(line)) > 0 {
			return line, err
		}
	}
}

func (l *lineReader) read() ([]byte, error) {
	l.buf = l.buf[:0]
	long := false
	for {
		part, err := l.r.ReadSlice('\n')
		if len(part) > 0 && len(l.buf) == 0 && !long {
			l.n++
		}
		if long = long || len(l.buf)+len(part) > MaxLine+1; !long {
			l.buf = append(l.buf, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && (len(l.buf) > 0 || long):
			l.open = true
		case err != nil:
			return nil, err
		}
		if long {
			return nil, errLong
		}
		return bytes.TrimSuffix(l.buf, []byte("\n")), nil
	}
}
