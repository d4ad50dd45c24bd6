//go:build darwin || portable

package launch

import (
	"encoding/binary"
	"errors"
	"io"
)

// message is what the supervisor, the stage and the guard tell each other: numbers of 8 bytes, and strings with their length before them, in the order
// of the code that writes and reads them. Both sides are the same program.
type message struct {
	b   []byte
	bad bool // there is less in it than was asked for
}

func (m *message) number(n int64) { m.b = binary.LittleEndian.AppendUint64(m.b, uint64(n)) }

func (m *message) text(s string) {
	m.number(int64(len(s)))
	m.b = append(m.b, s...)
}

func (m *message) texts(list []string) {
	m.number(int64(len(list)))
	for _, s := range list {
		m.text(s)
	}
}

func (m *message) nextNumber() int64 {
	if len(m.b) < 8 {
		m.b, m.bad = nil, true
		return 0
	}
	n := binary.LittleEndian.Uint64(m.b)
	m.b = m.b[8:]
	return int64(n)
}

func (m *message) nextText() string {
	n := m.nextNumber()
	if n < 0 || n > int64(len(m.b)) {
		m.b, m.bad = nil, true
		return ""
	}
	s := string(m.b[:n])
	m.b = m.b[n:]
	return s
}

func (m *message) nextTexts() (list []string) {
	for n := m.nextNumber(); n > 0 && !m.bad; n-- {
		list = append(list, m.nextText())
	}
	return list
}

// send writes a message with its length before it.
func (m *message) send(w io.Writer) error {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(m.b)), uint64(len(m.b)))
	_, err := w.Write(append(b, m.b...))
	return err
}

const messageMost = 1 << 26 // bytes: far more than the kernel takes as arguments

// receive reads a message.
func receive(r io.Reader) (*message, error) {
	var size [8]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(size[:])
	if n > messageMost {
		return nil, errors.New("launch: a message that is no message")
	}
	m := &message{b: make([]byte, n)}
	_, err := io.ReadFull(r, m.b)
	return m, err
}

// encode is what the stage needs to know of c.
func (c *Config) encode() *message {
	m := &message{}
	m.texts(c.Args)
	m.texts(c.Env)
	m.text(c.Path)
	m.text(c.Dir)
	m.number(int64(len(c.Rlimits)))
	for _, l := range c.Rlimits {
		m.text(l.Name)
		for _, n := range []int64{int64(l.Resource), int64(l.Soft), int64(l.Hard)} {
			m.number(n)
		}
	}
	m.number(int64(len(c.Groups)))
	for _, g := range c.Groups {
		m.number(int64(g))
	}
	umask, nice := int64(-1), int64(noNice)
	if c.Umask != nil {
		umask = int64(*c.Umask)
	}
	if c.Nice != nil {
		nice = int64(*c.Nice)
	}
	for _, n := range []int64{number(c.SetUser), int64(c.UID), int64(c.GID), number(c.SetGroups), umask, nice, int64(c.Terminal)} {
		m.number(n)
	}
	return m
}

const noNice = 1000

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// decode reads what encode has written; nil: it has not.
func decode(m *message) *Config {
	c := &Config{Args: m.nextTexts(), Env: m.nextTexts(), Path: m.nextText(), Dir: m.nextText()}
	for n := m.nextNumber(); n > 0 && !m.bad; n-- {
		l := Rlimit{Name: m.nextText(), Resource: int(m.nextNumber())}
		l.Soft, l.Hard = uint64(m.nextNumber()), uint64(m.nextNumber())
		c.Rlimits = append(c.Rlimits, l)
	}
	for n := m.nextNumber(); n > 0 && !m.bad; n-- {
		c.Groups = append(c.Groups, uint32(m.nextNumber()))
	}
	c.SetUser, c.UID, c.GID, c.SetGroups = m.nextNumber() != 0, uint32(m.nextNumber()), uint32(m.nextNumber()), m.nextNumber() != 0
	umask, nice := m.nextNumber(), int(m.nextNumber())
	if umask >= 0 {
		u := uint32(umask)
		c.Umask = &u
	}
	if nice != noNice {
		c.Nice = &nice
	}
	c.Terminal = int(m.nextNumber())
	if m.bad || len(c.Args) == 0 {
		return nil
	}
	return c
}

// What the stage answers.
const (
	isReady    = iota + 1 // it waits at the gate
	isFailed              // a step did not work: its errno and its name
	isNotFound            // the program was not executed: the errno, the path if one was found, and whether its interpreter is missing
	isSignaled            // it is about to end for this signal
)

// answer is one of these.
type answer struct {
	kind        int
	number      int // errno or signal
	text        string
	interpreter bool
}

func (a *answer) send(w io.Writer) error {
	m := &message{}
	m.number(int64(a.kind))
	m.number(int64(a.number))
	m.text(a.text)
	m.number(number(a.interpreter))
	return m.send(w)
}

func receiveAnswer(r io.Reader) (*answer, error) {
	m, err := receive(r)
	if err != nil {
		return nil, err
	}
	a := &answer{kind: int(m.nextNumber()), number: int(m.nextNumber()), text: m.nextText()}
	a.interpreter = m.nextNumber() != 0
	if m.bad {
		return nil, errors.New("launch: an answer that is no answer")
	}
	return a, nil
}
