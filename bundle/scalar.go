package bundle

// literal reads one of the three words.
func (p *parser) literal(k kind, word string) bool {
	n := p.open(k)
	for i := range len(word) {
		if p.next() != word[i] {
			return p.fail("the word " + word)
		}
		p.pos++
	}
	return p.close(n)
}

// number reads a number, which is kept as text.
func (p *parser) number() bool {
	n := p.open(number)
	if p.next() == '-' {
		p.pos++
	}
	if p.next() == '0' {
		p.pos++
	} else if !p.digits() {
		return false
	}
	if p.next() == '.' {
		p.pos++
		if !p.digits() {
			return false
		}
	}
	if c := p.next(); c == 'e' || c == 'E' {
		p.pos++
		if c := p.next(); c == '+' || c == '-' {
			p.pos++
		}
		if !p.digits() {
			return false
		}
	}
	return p.close(n)
}

// digits skips one digit or more.
func (p *parser) digits() bool {
	from := p.pos
	for c := p.next(); '0' <= c && c <= '9'; c = p.next() {
		p.pos++
	}
	return p.pos > from || p.fail("a digit")
}

// text reads a string, the quote at pos included.
func (p *parser) text() bool {
	n := p.open(text)
	for p.pos++; p.pos < len(p.data); p.pos++ {
		switch c := p.data[p.pos]; {
		case c == '"':
			p.pos++
			return p.close(n)
		case c == '\\':
			p.nodes[n].flags |= escaped
			if p.pos++; !p.escape() {
				return false
			}
		case c < ' ':
			return p.fail("the rest of a string, with control characters as escapes")
		}
	}
	return p.fail(`the rest of a string, and its closing quote`)
}

// escape skips an escape after its backslash up to its last byte.
func (p *parser) escape() bool {
	switch p.next() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			p.pos++
			if _, ok := hexDigit(p.next()); !ok {
				return p.fail(`four hexadecimal digits after \u`)
			}
		}
		return true
	}
	return p.fail(`one of "\/bfnrtu after a backslash`)
}

// hexDigit returns the value of a hexadecimal digit.
func hexDigit(c byte) (rune, bool) {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0'), true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10, true
	}
	return 0, false
}
