package batch

import (
	"cmp"
	"slices"
)

// Entry is a job that waits or runs, as far as the order of starts depends on it.
type Entry struct {
	Seq      int   // its place in the list; a repeated job keeps it
	Reserved int64 // bytes, at most the budget
}

// Next is the index of the job in waiting that starts next, or -1: none does before another one has ended. Both lists are in
// ascending order of Seq; together running has at most budget bytes reserved.
//
// The first that fits starts. But who passes one that waits must leave room for it: together with all that come behind the waiting one
// and run already, both fit. So it waits at most for those that came before it, however many come later; when the last of these has ended,
// there is a place for it, too.
func Next(budget int64, jobs int, running, waiting []Entry) int {
	if len(running) >= jobs {
		return -1
	}
	later := int64(0) // what those have that run and come behind the one that is looked at
	for _, r := range running {
		later += r.Reserved
	}
	free, i := budget-later, 0
	for n, w := range waiting {
		if w.Reserved <= free {
			return n
		}
		for ; i < len(running) && running[i].Seq < w.Seq; i++ {
			later -= running[i].Reserved
		}
		if free = min(free, budget-later-w.Reserved); free <= 0 {
			return -1
		}
	}
	return -1
}

// queue holds the jobs that wait and run. It starts and ends nothing.
type queue struct {
	policy   Policy
	reserved int64
	waiting  []*job
	running  []*job
	w, r     []Entry // the same
}

func (j *job) entry() Entry { return Entry{j.line, j.claim.Reserved} }

// add takes a job in, or back in, where its line is.
func (q *queue) add(j *job) { q.waiting, q.w = insert(q.waiting, q.w, j) }

// next takes the job out of those that wait that is to start now; it counts as running. Nil: none.
func (q *queue) next() *job {
	n := Next(q.policy.Budget, q.policy.Jobs, q.r, q.w)
	if n < 0 {
		return nil
	}
	j := q.waiting[n]
	q.waiting, q.w = slices.Delete(q.waiting, n, n+1), slices.Delete(q.w, n, n+1)
	q.running, q.r = insert(q.running, q.r, j)
	q.reserved += j.claim.Reserved
	return j
}

// end takes a job out of those that run.
func (q *queue) end(j *job) {
	if n := slices.Index(q.running, j); n >= 0 {
		q.running, q.r = slices.Delete(q.running, n, n+1), slices.Delete(q.r, n, n+1)
		q.reserved -= j.claim.Reserved
	}
}

// insert adds a job to both forms of a list.
func insert(jobs []*job, entries []Entry, j *job) ([]*job, []Entry) {
	n, _ := slices.BinarySearchFunc(entries, j.line, func(e Entry, line int) int { return cmp.Compare(e.Seq, line) })
	return slices.Insert(jobs, n, j), slices.Insert(entries, n, j.entry())
}
