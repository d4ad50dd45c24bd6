package meter

// The upper bound that goes on from an exact reading, as a pure function of counters. Why it holds is in the package
// comment, "The bound from an exact reading".

// units is how much one event may map at once, in bytes.
type units struct {
	anon int64 // a fault of anonymous memory: a page, or the largest folio that is enabled below the huge page
	file int64 // a fault of a file or of shared memory: the pages around it, or the whole folio
	huge int64 // a transparent huge page; 0 where there are none
	lag  int64 // what a resident size may lack or have too much
}

// events is what happened on the whole machine since the base.
type events struct {
	faulted   int64 // huge pages mapped by page faults
	collapsed int64 // huge pages made of small ones
	swapped   int64 // bytes that may have come back from swap in folios larger than units.anon
}

// origin is what the base knows of a process.
type origin uint8

const (
	stranger origin = iota // nothing: it came from outside, or nobody can tell
	known                  // it was read
	heir                   // it was started since, by a process that is known or an heir
)

// resident is the memory of one process, in bytes.
type resident struct {
	anon int64 // anonymous, with what it wrote to private mappings of files
	file int64 // of files and of shared memory
	pool int64 // of hugetlbfs
}

// rss is the resident set size, with huge pages.
func (r resident) rss() int64 { return r.anon + r.file + r.pool }

// member is one process. One that ended has nothing resident, but faults all the same.
type member struct {
	origin origin
	now    resident
	then   resident // when the base was read, if known
	faults int64    // since then; of an heir, all
	waited int64    // of processes that it waited for, since then
}

// own is p without its files.
func (p member) own() member {
	p.now.file, p.then.file = 0, 0
	return p
}

// tally adds up what the processes of a set can have got since the base.
type tally struct {
	unit  units
	event events

	sum     int64 // what its own faults allow for each process
	gap     int64 // how much resident sizes grew beyond that
	room    int64 // how much is resident beyond that,
	roomy   int64 // and that in processes that had faults, as far as these can have brought huge pages
	faults  int64 // of all, and of processes that were waited for
	inherit int64 // anonymous memory of heirs beyond their own faults
	excess  int64 // faults whose memory is no longer where they happened: only so much can be with an heir
	heirs   bool
}

// add adds one process.
func (t *tally) add(p member) {
	t.faults += p.faults + p.waited
	anon := times(p.faults, t.unit.anon)
	t.excess += max(anon-p.now.anon, 0) + times(p.waited, t.unit.anon)
	if p.origin == stranger {
		t.sum += p.now.rss() // what it had may be with an orphan of its that passes for an heir
		return
	}
	if p.origin == heir {
		own := min(anon, p.now.anon)
		t.sum += own + p.now.file + p.now.pool
		t.inherit += p.now.anon - own
		t.heirs = true
		return
	}
	own := t.faulted(p)
	grown := max(p.now.anon-p.then.anon, 0) + max(p.now.file-p.then.file, 0)
	t.sum += own + max(p.now.pool-p.then.pool, 0)
	t.gap += max(grown-own, 0)
	room := max(p.now.anon+p.now.file-own, 0)
	t.room += room
	t.roomy += min(room, times(p.faults, t.unit.huge))
}

// faulted is how much of what a known process has now can be from its faults since the base, huge pages left aside. Each
// fault is of one kind, and the split that gives most is taken.
func (t *tally) faulted(p member) int64 {
	files := t.filesAtMost(p.faults, p.now.anon-p.then.anon)
	if t.unit.file >= t.unit.anon {
		file := min(times(files, t.unit.file), p.now.file)
		return file + min(times(p.faults-file/t.unit.file, t.unit.anon), p.now.anon)
	}
	anon := min(times(p.faults, t.unit.anon), p.now.anon)
	return anon + min(times(min(files, p.faults-anon/t.unit.anon), t.unit.file), p.now.file)
}

// filesAtMost is how many of the faults can have been of files, when anonymous memory grew by grown bytes: growth takes
// faults, too.
func (t *tally) filesAtMost(faults, grown int64) int64 {
	grown -= 2*t.unit.lag + times(t.event.collapsed, t.unit.huge)
	least := grown / max(t.unit.huge, t.unit.anon)
	least = max(least, (grown-times(t.event.faulted, t.unit.huge)-t.event.swapped)/t.unit.anon, 0)
	return max(faults-least, 0)
}

// bound is the upper bound that follows from what the base had. Without any event it is the base.
func (t *tally) bound(base int64) int64 {
	huge := min(times(t.event.faulted, t.unit.huge)+t.event.swapped, times(t.faults, t.unit.huge))
	collapsed := times(t.event.collapsed, t.unit.huge)
	if !t.heirs {
		huge, collapsed = min(huge, t.roomy), min(collapsed, t.room)
	}
	huge += collapsed
	grown := t.sum + min(t.inherit, t.excess) + max(t.gap, huge)
	if grown > 0 || t.faults > 0 {
		grown += t.unit.lag
	}
	return base + grown
}

// drift is by how much an exact reading can be short because a process was not still while it was made: begin is what it
// had when the reading began, read what it had just before it was read itself, faults those from begin to the end.
// What it unmapped before it was read may have been shared with processes that were read while it had it; and so may what
// it mapped after it was read. Both together are what it had and all that it mapped, without what it was read with.
func (t *tally) drift(begin, read resident, faults int64) int64 {
	huge := times(t.event.collapsed, t.unit.huge) + min(times(t.event.faulted, t.unit.huge)+t.event.swapped, times(faults, t.unit.huge))
	anon := times(faults, t.unit.anon) + huge
	file := times(t.filesAtMost(faults, read.anon-begin.anon), max(t.unit.file, t.unit.huge))
	return max(begin.anon-read.anon+anon, 0) + max(begin.file-read.file+file, 0)
}

// thinned is by how much the reading of a process that has rss, pss and private bytes can be short because children were
// started while it was made that may be gone afterwards: n at most. They mapped what it has, and took a share of it.
func thinned(rss, pss, private, n int64) int64 {
	return max(min(times(n, max(pss-private, 0)), rss-pss), 0)
}

// times is n units, or as many as no machine has.
func times(n, unit int64) int64 {
	const most = 1 << 55
	if n <= 0 || unit <= 0 {
		return 0
	}
	if n > most/unit {
		return most
	}
	return n * unit
}
