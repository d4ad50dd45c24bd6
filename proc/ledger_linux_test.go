//go:build !portable

package proc

import "testing"

// look is one reading: pid to what it and those that it has waited for have used.
type look map[int]count

func TestLedger(t *testing.T) {
	for _, c := range []struct {
		name  string
		slack int64
		looks []look
		want  int64
	}{
		{"waited for", 0, []look{{1: {}, 2: {own: 50}}, {1: {children: 60}}, {1: {children: 60}}}, 0},
		{"by nobody", 0, []look{{1: {}, 2: {own: 50}}, {1: {own: 100}}, {1: {own: 100}}}, 50},
		{"by nobody, and others were", 0, []look{{1: {}, 2: {own: 50}, 3: {own: 20}}, {1: {children: 20}}, {1: {children: 20}}}, 50},
		{"its parent was read too early", 0, []look{{1: {}, 2: {own: 50}}, {1: {}}, {1: {children: 60}}, {1: {children: 60}}}, 0},
		{"its parent was read too late", 0, []look{{1: {}, 2: {own: 50}}, {1: {children: 50}, 2: {own: 50}}, {1: {children: 50}}, {1: {children: 50}}}, 0},
		{"with its children", 0, []look{{1: {}, 2: {own: 10, children: 40}}, {1: {children: 50}}, {1: {children: 50}}}, 0},
		{"with its children, by nobody", 0, []look{{1: {}, 2: {own: 10, children: 40}}, {1: {}}, {1: {}}}, 50},
		{"parts that are larger", 10, []look{{1: {}, 2: {own: 15}}, {1: {children: 10}}, {1: {children: 10}, 3: {own: 14}}, {1: {children: 20}}, {1: {children: 20}}}, 0},
		{"one after the other", 10, []look{
			{1: {}, 2: {own: 15}}, {1: {}, 3: {own: 15}}, {1: {}, 4: {own: 15}}, {1: {}}, {1: {}}, {1: {}},
		}, 45},
		{"what came up before anybody was gone is old", 0, []look{
			{1: {}}, {1: {children: 70}}, {1: {children: 70}}, {1: {children: 70}}, {1: {children: 70}, 2: {own: 50}}, {1: {children: 70}}, {1: {children: 70}},
		}, 50},
	} {
		l, lost := ledger{slack: c.slack}, int64(0)
		for _, k := range c.looks {
			l.begin()
			for pid, n := range k {
				l.note(ID{PID: pid}, n.own, n.children)
			}
			if now := l.end(); now < lost {
				t.Errorf("%s: %d lost after %d", c.name, now, lost)
			} else {
				lost = now
			}
		}
		if lost != c.want {
			t.Errorf("%s: %d lost, want %d", c.name, lost, c.want)
		}
	}
}
