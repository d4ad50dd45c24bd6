package seccomp

import (
	"cmp"
	"maps"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// operator is how an argument is compared with a value.
type operator struct {
	name    specs.LinuxSeccompOperator
	low     uint16 // the comparison of the lower halves, where the upper ones are equal
	negated bool   // the condition holds where that comparison does not
	masked  bool
	class   class
}

// class is the place of an operator in the order of rules, and which comparisons of the upper halves libseccomp takes as the same.
type class int

const (
	classGreat class = iota // the lowest: tried last
	classLess
	classMasked
	classEqual
)

// rank is the order among classes: libseccomp src/db.c, __db_chain_op_priority.
func (c class) rank() int { return int(min(c, classMasked)) }

var operators = [...]operator{
	{name: specs.OpNotEqual, low: opEqual, negated: true, class: classEqual},
	{name: specs.OpLessThan, low: opAtMin, negated: true, class: classLess},
	{name: specs.OpLessEqual, low: opGreat, negated: true, class: classLess},
	{name: specs.OpEqualTo, low: opEqual, class: classEqual},
	{name: specs.OpGreaterEqual, low: opAtMin, class: classGreat},
	{name: specs.OpGreaterThan, low: opGreat, class: classGreat},
	{name: specs.OpMaskedEqual, low: opEqual, masked: true, class: classMasked},
}

// condition is a comparison of an argument, the bits of mask only.
type condition struct {
	index       uint32
	op          *operator
	value, mask uint64
}

// rule is what one entry of syscalls says of one call on one architecture.
type rule struct {
	entry  int // syscalls[entry]
	action uint32
	conds  []condition // all must hold; in the order of their indexes, each index once
}

// normal returns the conditions as an architecture compares them: in their order, without those that always hold because their mask is
// empty (libseccomp src/db.c, _db_rule_gen_64 and _db_rule_gen_32).
func normal(conds []condition, wide bool) []condition {
	var result []condition
	for _, c := range conds {
		if !wide {
			c.mask = uint64(uint32(c.mask))
		}
		c.value &= c.mask
		if c.mask != 0 {
			result = append(result, c)
		}
	}
	slices.SortFunc(result, func(a, b condition) int { return cmp.Compare(a.index, b.index) })
	return result
}

// word is a comparison of one half of an argument. The order of rules is that of their words.
type word struct {
	place       uint32 // twice the index, and one more for the upper half
	class       class
	op          *operator // of a lower half; nil for an upper one, where operators of a class compare the same
	value, mask uint32
}

// words returns the comparisons of a condition.
func (c condition) words(wide bool) []word {
	low := word{2 * c.index, c.op.class, c.op, uint32(c.value), uint32(c.mask)}
	if !wide {
		return []word{low}
	}
	return []word{{2*c.index + 1, c.op.class, nil, uint32(c.value >> 32), uint32(c.mask >> 32)}, low}
}

// before is libseccomp's order on one level of its tree: src/db.c, _db_chain_lt.
func (w word) before(v word) bool {
	order := cmp.Or(cmp.Compare(v.place, w.place), cmp.Compare(v.class.rank(), w.class.rank()), cmp.Compare(v.value, w.value))
	if w.class == classLess && w.class == v.class && w.place == v.place {
		order = -order
	}
	return order < 0
}

// ruleSet are the rules of one system call on one architecture.
type ruleSet struct {
	def    uint32
	wide   bool
	always *rule // the first one without conditions; without it the tree decides
	tree   level
}

// level are the words that stand at one place in a tree of rules, in the order in which they are tried.
type level []*node

// node is a word, and either the rule that ends with it or the words that follow it.
type node struct {
	word
	rule *rule
	next level
}

// add adds a rule behind those that the configuration has before it, unless one of these has the same conditions and another action: that one
// is returned (libseccomp src/db.c, db_rule_add and _db_tree_add).
func (s *ruleSet) add(r *rule) (contradicts *rule) {
	switch {
	case s.always != nil:
		return nil
	case len(r.conds) == 0:
		s.always, s.tree = r, nil
		return nil
	}
	var words []word
	for _, c := range r.conds {
		words = append(words, c.words(s.wide)...)
	}
	return s.tree.add(words, r)
}

func (l *level) add(words []word, r *rule) (contradicts *rule) {
	at := len(*l)
	for i, n := range *l {
		if n.word == words[0] {
			return n.add(words[1:], r)
		}
		if words[0].before(n.word) {
			at = i
			break
		}
	}
	n := &node{word: words[0]}
	*l = slices.Insert(*l, at, n)
	return n.add(words[1:], r)
}

func (n *node) add(words []word, r *rule) (contradicts *rule) {
	switch {
	case len(words) == 0 && n.rule == nil:
		for _, longer := range n.next.list(nil) {
			if longer.action != r.action {
				return longer
			}
		}
		n.rule, n.next = r, nil
	case len(words) == 0 && n.rule.action != r.action:
		return n.rule
	case n.rule == nil:
		return n.next.add(words, r)
	}
	return nil
}

// list appends the rules to others in the order in which they are tried.
func (l level) list(to []*rule) []*rule {
	for _, n := range l {
		if n.rule != nil {
			to = append(to, n.rule)
		}
		to = n.next.list(to)
	}
	return to
}

func (s *ruleSet) list() []*rule { return s.tree.list(nil) }

// verdict returns what happens with the call.
func (s *ruleSet) verdict() verdict {
	switch {
	case s.always != nil:
		return verdict{ret: s.always.action}
	case len(s.tree) > 0:
		return verdict{ret: s.def, rules: s}
	}
	return verdict{ret: s.def}
}

// table are the rules of one architecture.
type table struct {
	arch     *arch
	calls    map[uint32]*ruleSet
	named    bool   // the configuration names a call of the architecture, be it in a rule that is left out
	greatest uint32 // the greatest number that it names
}

// newTable gives each call its rules.
func newTable(a *arch, conf *config, c *checker) *table {
	t := &table{arch: a, calls: make(map[uint32]*ruleSet, len(c.known))}
	at := 0
	for i, entry := range conf.entries {
		rules := entry.rules(i, a.wide)
		for j, name := range c.spec.Syscalls[i].Names {
			nr, ok := a.number(name)
			c.known[at] = c.known[at] || ok
			at++
			if !ok {
				continue
			}
			t.greatest, t.named = max(t.greatest, nr), true
			if entry.action == conf.def {
				continue
			}
			set := t.calls[nr]
			if set == nil {
				set = &ruleSet{def: conf.def, wide: a.wide}
				t.calls[nr] = set
			}
			for _, r := range rules {
				if other := set.add(r); other != nil {
					c.contradiction(i, j, other.entry)
				}
			}
		}
	}
	return t
}

// rules returns the rules of syscalls[i] on an architecture, which are the same for each of its names.
func (e entry) rules(i int, wide bool) []*rule {
	rules := make([]*rule, len(e.conds))
	for n, conds := range e.conds {
		rules[n] = &rule{i, e.action, normal(conds, wide)}
	}
	return rules
}

// numbers returns the numbers of the calls that have rules, in their order.
func (t *table) numbers() []uint32 { return slices.Sorted(maps.Keys(t.calls)) }
