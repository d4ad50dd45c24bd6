package batch

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"hash/maphash"
	"io"
	"path/filepath"
	"strings"

	"mlrun/bundle"
	"mlrun/runtime"
)

// List reads jobs. It remembers which ids there were, not the jobs.
type List struct {
	policy Policy
	dir    string
	log    *Log
	peak   func(program string) int64

	lines   map[key]int // of the jobs with an id of their own
	seed    [2]maphash.Seed
	bundles map[string]facts
}

// NewList makes a list whose relative paths begin at dir, an absolute path. Jobs that log says are done are passed over; nil: none is.
// peak is what a program has used before, in bytes, 0 for unknown; nil: nobody knows.
func NewList(p Policy, dir string, log *Log, peak func(program string) int64) *List {
	if peak == nil {
		peak = func(string) int64 { return 0 }
	}
	return &List{policy: p, dir: dir, log: log, peak: peak, lines: map[key]int{}, seed: seeds(), bundles: map[string]facts{}}
}

// Count is how many jobs there are.
type Count struct {
	Jobs      int // all of them
	Done      int // of these, how many are done by the log
	Failed    int // and of these, how many failed
	Unlimited int // of those that are not done, how many have no limit and no reservation
}

// MaxProblems is how many problems Check keeps.
const MaxProblems = 50

// ListError is all that is wrong with a list.
type ListError struct {
	Problems []Problem // the first MaxProblems
	More     int       // how many there are beyond
}

func (e *ListError) Error() string {
	s := e.Problems[0].String()
	if n := len(e.Problems) - 1 + e.More; n > 0 {
		s += fmt.Sprintf(" (and %d more problems)", n)
	}
	return s
}

// Check reads all of a list, and returns a *ListError if something is wrong with it. It starts nothing.
func (l *List) Check(r io.Reader) (c Count, err error) {
	var wrong ListError
	err = l.each(r, func(j *job, p []Problem) bool {
		room := max(MaxProblems-len(wrong.Problems), 0)
		wrong.Problems = append(wrong.Problems, p[:min(room, len(p))]...)
		wrong.More += max(len(p)-room, 0)
		if j == nil {
			return true
		}
		c.Jobs++
		switch {
		case j.past.done:
			c.Done++
			if !j.past.ok {
				c.Failed++
			}
		case j.claim.Basis == ByShare || j.claim.Basis == ByHistory:
			c.Unlimited++
		}
		return true
	})
	clear(l.lines) // for who reads it once more
	if err == nil && len(wrong.Problems) > 0 {
		err = &wrong
	}
	return c, err
}

// each calls f for each line with its job or with what is wrong with it, until it returns false.
func (l *List) each(r io.Reader, f func(*job, []Problem) bool) error {
	lines := &lineReader{r: bufio.NewReaderSize(r, 64<<10)}
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var (
			j     *job
			wrong []string
		)
		switch {
		case errors.Is(err, errLong):
			wrong = []string{err.Error()}
		case err != nil:
			return err
		default:
			j, wrong = l.job(line, lines.n)
		}
		problems := make([]Problem, len(wrong))
		for i, w := range wrong {
			j, problems[i] = nil, Problem{lines.n, w}
		}
		if !f(j, problems) {
			return nil
		}
	}
}

// job makes a job of a line.
func (l *List) job(line []byte, n int) (*job, []string) {
	s, wrong := Parse(line)
	j := &job{line: n, spec: s, id: s.ID, digest: digest(line), attempt: 1, most: l.policy.Max}
	if j.id == "" {
		j.id = lineID(n)
	} else if before, ok := l.lines[keyOf(l.seed, j.id)]; ok {
		wrong = append(wrong, fmt.Sprintf("id: found %q, want another one: it is that of line %d", j.id, before))
	} else {
		l.lines[keyOf(l.seed, j.id)] = n
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	if wrong = l.claim(j); len(wrong) > 0 {
		return nil, wrong
	}
	return j, l.resume(j)
}

// claim finds out what a job gets.
func (l *List) claim(j *job) []string {
	s := &j.spec
	memory, source := s.Memory, "memory"
	for _, path := range []*string{&s.Cwd, &s.Stdout, &s.Stderr, &s.Bundle} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(l.dir, *path)
		}
	}
	var f facts
	if s.Bundle == "" {
		j.program = s.Args[0]
	} else {
		j.program = s.Bundle
		if f = l.facts(s.Bundle); f.wrong != "" {
			return []string{f.wrong}
		}
		if memory == 0 && f.limit > 0 {
			memory, source = f.limit, memoryPath+"limit of the bundle"
		}
		if f.swap > 0 {
			j.most = min(j.most, f.swap)
		}
	}
	if wrong := l.policy.fits(memory, s.Reservation, source); len(wrong) > 0 {
		return wrong
	}
	j.claim = l.policy.Claim(memory, s.Reservation, l.peak(j.program))
	switch c := j.claim; {
	case f.soft > c.Limit:
		return []string{fmt.Sprintf("memory: a limit of %s, by %s, want at least the %s of %sreservation of the bundle", Size(c.Limit), c.Basis, Size(f.soft), memoryPath)}
	case f.swap > 0 && f.swap < c.Limit:
		return []string{fmt.Sprintf("memory: a limit of %s, by %s, want at most the %s of %sswap of the bundle", Size(c.Limit), c.Basis, Size(f.swap), memoryPath)}
	}
	return nil
}

const memoryPath = "linux.resources.memory."

// resume applies what the log says.
func (l *List) resume(j *job) []string {
	j.past = l.log.find(j.id)
	if j.spec.ID == "" && j.past.spec != 0 && j.past.spec != j.digest {
		return []string{"not the line that the log of the earlier run has at this number: give jobs an id, or leave the lines before them as they are"}
	}
	if j.past.attempt > 0 && !j.past.done {
		j.attempt = j.past.attempt + 1
		if j.past.limit >= j.claim.Limit {
			j.claim = j.claim.atLeast(min(j.past.limit, l.policy.Budget))
			j.claim, _ = l.policy.Grown(j.claim, j.most)
		}
	}
	return nil
}

// facts are what matters of a bundle before it is run: bytes, or <= 0.
type facts struct {
	limit, soft, swap int64
	wrong             string
}

// facts reads each bundle once.
func (l *List) facts(dir string) facts {
	f, ok := l.bundles[dir]
	if !ok {
		f = readFacts(dir)
		l.bundles[dir] = f
	}
	return f
}

func readFacts(dir string) facts {
	b, err := bundle.Load(dir, bundle.Options{})
	if err == nil {
		err = runtime.Check(b)
	}
	if err != nil {
		return facts{wrong: "bundle: " + err.Error()}
	}
	where := "bundle: " + filepath.Join(dir, bundle.ConfigName) + ": "
	if b.Spec.Process.Terminal {
		return facts{wrong: where + "process.terminal: found true, want false: the jobs of a batch have no terminal"}
	}
	switch on := b.Settings.OnBreach; on.Action {
	case bundle.BreachFreeze, bundle.BreachSignal:
		return facts{wrong: where + "dev.mlrun.memory.on-breach: found " + on.String() + ", want kill, kill-largest or kill-newest: " +
			"in a batch nobody is there to let it go on, and others count on the limit"}
	}
	return facts{limit: b.MemoryLimit, soft: b.MemoryReservation, swap: b.MemorySwap}
}

// digest stands for a line, to see whether it has become another one. It is not 0.
func digest(line []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(bytes.TrimSpace(line))
	return max(h.Sum64(), 1)
}

// joined is several problems of a line as one.
func joined(p []Problem) string {
	var b strings.Builder
	for i, one := range p {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(one.Text)
	}
	return b.String()
}
