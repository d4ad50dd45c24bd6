package meter

import "testing"

const (
	kib      = 1 << 10
	mebibyte = 1 << 20
	page     = 4 * kib
)

// usual are the units of a machine with 4 KiB pages and transparent huge pages.
var usual = units{anon: page, file: 64 * kib, huge: 2 * mebibyte}

func TestBound(t *testing.T) {
	const base = 1000 * mebibyte
	steady := member{origin: known, now: resident{anon: 100 * mebibyte, file: 400 * mebibyte}, then: resident{anon: 100 * mebibyte, file: 400 * mebibyte}}
	with := func(p member, change func(*member)) member { change(&p); return p }
	for _, c := range []struct {
		name  string
		unit  units
		event events
		set   []member
		want  int64 // above the base
	}{
		{"nothing", usual, events{}, nil, 0},
		{"steady", usual, events{}, []member{steady, steady}, 0},
		{"steady, where counters lag", units{anon: page, file: 64 * kib, lag: mebibyte}, events{}, []member{steady}, 0},
		{"others have huge pages", usual, events{faulted: 1000}, []member{steady}, 0},
		{"shrinks", usual, events{}, []member{with(steady, func(p *member) { p.now.anon, p.now.file = 0, 0 })}, 0},
		{"grows by faults", usual, events{}, []member{with(steady, func(p *member) { p.now.anon += 100 * page; p.faults = 100 })}, 100 * page},
		{"grows by lagging counters", units{anon: page, file: 64 * kib, lag: page}, events{},
			[]member{with(steady, func(p *member) { p.now.anon += 100 * page; p.faults = 100 })}, 2*64*kib + 98*page + page},
		{"grows without a fault", usual, events{}, []member{with(steady, func(p *member) { p.now.anon += 5 * mebibyte })}, 5 * mebibyte},
		{"copies on write, or maps a file", usual, events{}, []member{with(steady, func(p *member) { p.faults = 10 })}, 640 * kib},
		{"copies on write more than there are files", usual, events{},
			[]member{with(steady, func(p *member) { p.now.file = 128 * kib; p.faults = 10 })}, 128*kib + 8*page},
		{"has less than it faulted", usual, events{}, []member{with(steady, func(p *member) { p.now = resident{anon: page}; p.faults = 10 })}, page},
		{"grows by a huge page", usual, events{faulted: 1},
			[]member{with(steady, func(p *member) { p.now.anon += 2 * mebibyte; p.faults = 1 })}, page + 2*mebibyte},
		{"more huge pages than faults", usual, events{faulted: 50},
			[]member{with(steady, func(p *member) { p.now.file = 0; p.faults = 2 })}, 2*page + 4*mebibyte},
		{"more huge pages than memory", usual, events{faulted: 50},
			[]member{with(steady, func(p *member) { p.now = resident{anon: mebibyte}; p.faults = 50 })}, mebibyte},
		{"is collapsed", usual, events{collapsed: 1}, []member{with(steady, func(p *member) { p.now.anon += 2 * mebibyte })}, 2 * mebibyte},
		{"comes back from swap", usual, events{swapped: mebibyte}, []member{with(steady, func(p *member) { p.now.file = 0; p.faults = 1 })}, page + mebibyte},
		{"stranger", usual, events{}, []member{steady, {now: resident{anon: 1, file: 2, pool: 4}, faults: 1}}, 7},
		{"forked", usual, events{}, []member{steady, {origin: heir, now: resident{anon: 100 * mebibyte, file: 3 * mebibyte}, faults: 50}}, 3*mebibyte + 50*page},
		{"forked after its parent grew and shrank", usual, events{},
			[]member{with(steady, func(p *member) { p.now = resident{}; p.faults = 1000 }), {origin: heir, now: resident{anon: 100 * mebibyte}}}, 1000 * page},
		{"forked by one that ended", usual, events{},
			[]member{with(steady, func(p *member) { p.waited = 1000 }), {origin: heir, now: resident{anon: 100 * mebibyte}}}, 1000 * page},
		{"hugetlbfs", usual, events{}, []member{with(steady, func(p *member) { p.now.pool, p.then.pool = 6*mebibyte, 2*mebibyte })}, 4 * mebibyte},
		{"folios larger than fault-around", units{anon: 1024 * kib, file: 64 * kib, huge: 2 * mebibyte}, events{},
			[]member{with(steady, func(p *member) { p.now.anon, p.faults = 1536*kib, 3 })}, 1536*kib + 128*kib},
	} {
		sum := tally{unit: c.unit, event: c.event}
		for _, p := range c.set {
			sum.add(p)
		}
		if got := sum.bound(base) - base; got != c.want {
			t.Errorf("%s: %d KiB above the base, want %d", c.name, got/kib, c.want/kib)
		}
	}
}

func TestDrift(t *testing.T) {
	has := resident{anon: 10 * mebibyte, file: 10 * mebibyte}
	for _, c := range []struct {
		name        string
		begin, read resident
		faults      int64
		want        int64
	}{
		{"still", has, has, 0, 0},
		{"unmaps", has, resident{anon: 6 * mebibyte, file: 9 * mebibyte}, 0, 5 * mebibyte},
		{"grows", has, resident{anon: 10*mebibyte + 100*page, file: 10 * mebibyte}, 100, 0},
		{"unmaps one and maps another", has, has, 1, page + 2*mebibyte},
	} {
		sum := tally{unit: usual}
		if got := sum.drift(c.begin, c.read, c.faults); got != c.want {
			t.Errorf("%s: %d KiB, want %d", c.name, got/kib, c.want/kib)
		}
	}
	if got := thinned(100, 60, 40, 1); got != 20 {
		t.Errorf("one child at most: %d, want 20", got)
	}
	if got := thinned(100, 60, 40, 1<<40); got != 40 {
		t.Errorf("any number of children: %d, want 40", got)
	}
}

func TestTimes(t *testing.T) {
	if n := times(1<<60, 2*mebibyte); n < 1<<55 || n+n+n < 0 {
		t.Errorf("%d", n)
	}
	if times(-1, 8) != 0 || times(8, 0) != 0 || times(3, 4) != 12 {
		t.Error("small numbers")
	}
}

func BenchmarkTally(b *testing.B) {
	p := member{origin: known, now: resident{anon: 100 * mebibyte, file: 40 * mebibyte}, faults: 50}
	b.ReportAllocs()
	for b.Loop() {
		sum := tally{unit: usual}
		for range 1000 {
			sum.add(p)
		}
		sum.bound(0)
	}
}
