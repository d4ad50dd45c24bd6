package meter

import (
	"bytes"
	"slices"
)

// fileMin is the resident size of files from which a process is asked what it has mapped; less is counted as it is.
const fileMin = 256 << 10

// span is a part of a file, in bytes.
type span struct{ from, to int64 }

// spans is a set of bytes of a file: sorted, without overlaps.
type spans []span

// add makes s part of the set.
func (l spans) add(s span) spans {
	i, _ := slices.BinarySearchFunc(l, s.from, func(o span, from int64) int {
		if o.to < from {
			return -1
		}
		return 1
	})
	j := i
	for ; j < len(l) && l[j].from <= s.to; j++ {
		s.from, s.to = min(s.from, l[j].from), max(s.to, l[j].to)
	}
	if j == i+1 && l[i] == s {
		return l
	}
	return slices.Replace(l, i, j, s)
}

func (l spans) size() (sum int64) {
	for _, s := range l {
		sum += s.to - s.from
	}
	return sum
}

// mappings is what a set of processes has mapped of files, each byte once.
type mappings struct {
	files map[string]spans
	other int64 // bytes of what may be different pages at the same place of the same file
}

// add adds what /proc/PID/maps (proc_pid_maps(5)) says. false: it says nothing.
func (m *mappings) add(maps []byte) bool {
	if len(maps) == 0 {
		return false
	}
	for len(maps) > 0 {
		line := maps
		if i := bytes.IndexByte(maps, '\n'); i >= 0 {
			line, maps = maps[:i], maps[i+1:]
		} else {
			maps = nil
		}
		from, rest, ok := hex(line, '-')
		to, rest, ok2 := hex(rest, ' ')
		_, rest, ok3 := bytes.Cut(rest, []byte(" "))
		offset, file, ok4 := hex(rest, ' ')
		_, inode, ok5 := bytes.Cut(file, []byte(" "))
		if !ok || !ok2 || !ok3 || !ok4 || !ok5 {
			return false
		}
		switch {
		case len(inode) < 2 || inode[0] == '0' && inode[1] == ' ':
			// Anonymous memory, the stack, the vDSO: no pages of files.
		case isCache(inode):
			m.files[string(file)] = m.files[string(file)].add(span{offset, offset + to - from})
		default:
			m.other += to - from
		}
	}
	return true
}

// isCache tells, of the inode and path of a mapping, whether its pages are those of the page cache, so that the same place is the same
// page for everybody. Of devices, sockets, io_uring and the like each open file has pages of its own.
func isCache(file []byte) bool {
	i := bytes.IndexByte(file, '/')
	if i < 0 || bytes.ContainsRune(file[:i], ':') {
		return false // anon_inode:[io_uring], socket:[12]
	}
	path := file[i:]
	return !bytes.HasPrefix(path, []byte("/dev/")) || bytes.HasPrefix(path, []byte("/dev/shm/")) || bytes.HasPrefix(path, []byte("/dev/zero"))
}

// size is an upper bound of what all of it takes, in bytes.
func (m *mappings) size() int64 {
	sum := m.other
	for _, l := range m.files {
		sum += l.size()
	}
	return sum
}

// hex parses a number up to a separator.
func hex(b []byte, end byte) (n int64, rest []byte, ok bool) {
	for i, c := range b {
		switch {
		case c == end:
			return n, b[i+1:], i > 0
		case c >= '0' && c <= '9':
			n = n<<4 | int64(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | int64(c-'a'+10)
		default:
			return 0, nil, false
		}
	}
	return 0, nil, false
}

// byFiles is the upper bound that counts each page of a file once, however many processes have it mapped; own is that of everything
// else. It takes 20 to 50 us for each process that has much of files, so it is made only where it can come to enough or less.
func (m *Meter) byFiles(bound, own, enough int64) int64 {
	largest := int64(0)
	for _, e := range m.list {
		if !e.shares && !e.gone && !e.dead {
			largest = max(largest, e.now.file)
		}
	}
	if own+largest > enough {
		return bound
	}
	maps := mappings{files: map[string]spans{}}
	var asked int64
	for _, e := range m.list {
		if e.shares || e.gone || e.dead {
			continue
		}
		if e.now.file >= fileMin {
			if b, err := m.read(e.path + "/maps"); err == nil && maps.add(b) {
				asked += e.now.file
				continue
			}
		}
		if own += e.now.file; own > enough {
			return bound
		}
	}
	return min(bound, own+min(asked, maps.size()))
}
