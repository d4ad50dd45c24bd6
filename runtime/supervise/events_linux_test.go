package supervise

import (
	"errors"
	"slices"
	"testing"

	"mlrun/proc"
)

func TestUncovered(t *testing.T) {
	const reaper = 1
	// pid: start, parent
	tree := map[int][2]int{
		10: {100, reaper}, // opened at 200
		11: {150, 10},     // before that
		12: {200, 10},     // in that very moment
		13: {201, 10},     // inherits
		14: {201, 13},     // from one that inherited, at once
		15: {300, reaper}, // an orphan
		16: {300, 11},     // its parent may be without
		17: {250, 16},     // older than its parent: the number was reused
		18: {300, 99},     // of a parent that is no member
	}
	stat := func(pid int) (proc.Stat, error) {
		p, ok := tree[pid]
		if !ok {
			return proc.Stat{}, errors.New("gone")
		}
		return proc.Stat{PID: pid, Start: uint64(p[0]), PPID: p[1]}, nil
	}
	members := []proc.ID{{PID: 19, Start: 300}} // gone
	for pid, p := range tree {
		members = append(members, proc.ID{PID: pid, Start: uint64(p[0])})
	}
	covered := map[proc.ID]uint64{{PID: 10, Start: 100}: 200, {PID: 15, Start: 1}: 50} // the latter had that number before
	list := uncovered(covered, members, stat)
	var got []int
	for _, id := range list {
		got = append(got, id.PID)
	}
	slices.Sort(got)
	if want := []int{11, 12, 15, 16, 17, 18}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, id := range list {
		covered[id] = 400
	}
	if more := uncovered(covered, members, stat); len(more) != 0 {
		t.Errorf("all were opened, and %v are still without", more)
	}
}
