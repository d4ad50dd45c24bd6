package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// console is standard error, written by a goroutine of its own: a reader that stops reading, or closes its end, must neither
// hold up the enforcement of a limit nor end mlrun. What does not fit into the queue is dropped.
type console struct {
	once  sync.Once
	used  atomic.Bool
	lines chan string   // never closed: somebody may still print while mlrun ends
	last  chan struct{} // closed when no line follows that is to be waited for
	done  chan struct{} // and when the others are written
	quiet bool          // warnings and notices are dropped, errors are not
	shown bool          // the cursor is behind a status line
}

const (
	consoleQueue = 256
	consoleFlush = 200 * time.Millisecond // how long the end waits for a slow reader
)

func (c *console) start() {
	// Writing to a closed pipe on descriptor 2 ends a Go program by SIGPIPE unless that is asked for. Ignoring it instead would
	// be inherited by the payload.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	c.lines, c.last, c.done = make(chan string, consoleQueue), make(chan struct{}), make(chan struct{})
	c.used.Store(true)
	go func() {
		defer close(c.done)
		for over := false; ; {
			select {
			case line := <-c.lines:
				c.write(line)
				continue
			default:
			}
			if over {
				return
			}
			select {
			case line := <-c.lines:
				c.write(line)
			case <-c.last:
				over = true // but for what is queued
			}
		}
	}()
}

func (c *console) printf(format string, args ...any) {
	c.once.Do(c.start)
	select {
	case c.lines <- fmt.Sprintf(format, args...):
	default:
	}
}

// A status line is written over by what follows it; see console_codes(4).
const (
	toStart  = "\r"
	eraseEnd = "\x1b[K"
)

// status shows a line on the terminal until the next one, or until something else is printed. "" takes it away.
func (c *console) status(text string) {
	if w := width(); w > 0 {
		if r := []rune(oneLine(text)); len(r) >= w { // a line that wraps cannot be written over
			text = string(r[:w-1])
		}
	}
	c.printf("%s", toStart+text+eraseEnd)
}

// write writes a line or a status line.
func (c *console) write(line string) {
	status := strings.HasPrefix(line, toStart)
	if c.shown && !status {
		line = toStart + eraseEnd + line
	}
	c.shown = status && line != toStart+eraseEnd
	_, _ = unix.Write(2, []byte(line))
}

// width is the number of columns of the terminal that standard error is, 0 when it is none.
func width() int {
	w, err := unix.IoctlGetWinsize(2, unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return 0
	case w.Col == 0:
		return 80 // nobody has told it
	}
	return int(w.Col)
}

// close writes out what is queued, for as long as somebody reads it. What is printed afterwards may be lost.
func (c *console) close() {
	if !c.used.Load() {
		return
	}
	close(c.last)
	select {
	case <-c.done:
	case <-time.After(consoleFlush):
	}
}

// flush is close for who may print again.
func (c *console) flush() {
	c.close()
	c.once = sync.Once{}
	c.used.Store(false)
}

// oneLine makes a text fit a line, whatever the names in it are: what would move a terminal's cursor or change its colours is escaped.
func oneLine(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\n':
			b.WriteByte(' ')
		case r == utf8.RuneError && n == 1 || !strconv.IsPrint(r):
			q := strconv.Quote(s[:n])
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// notice prints a line that is not an error.
func (a *app) notice(format string, args ...any) {
	if !a.console.quiet {
		a.console.printf("%s: %s\n", a.name, oneLine(fmt.Sprintf(format, args...)))
	}
}

// logLine appends to the file of --log. That it cannot be written must not change what mlrun does.
func (a *app) logLine(level, text string) {
	if a.log == "" {
		return
	}
	f, err := os.OpenFile(a.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NONBLOCK, 0o644)
	if err != nil {
		a.console.printf("%s: warning: --log: %v\n", a.name, err)
		return
	}
	defer f.Close()
	now := time.Now().Format(time.RFC3339)
	if a.logFormat != "json" {
		fmt.Fprintf(f, "time=%s level=%s msg=%q\n", now, level, text)
		return
	}
	b, err := json.Marshal(struct {
		Level string `json:"level"`
		Msg   string `json:"msg"`
		Time  string `json:"time"`
	}{level, text, now})
	if err == nil {
		_, _ = f.Write(append(b, '\n'))
	}
}

// logger shows what package runtime has to say.
func (a *app) logger() *slog.Logger { return slog.New(logHandler{a}) }

type logHandler struct{ a *app }

func (logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (h logHandler) WithAttrs([]slog.Attr) slog.Handler         { return h }
func (h logHandler) WithGroup(string) slog.Handler              { return h }

func (h logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	r.Attrs(func(at slog.Attr) bool {
		fmt.Fprintf(&b, ", %s %v", at.Key, at.Value)
		return true
	})
	level := strings.ToLower(r.Level.String())
	if level == "warn" {
		level = "warning"
	}
	text := oneLine(b.String())
	h.a.notice("%s: %s", level, text)
	h.a.logLine(level, text)
	return nil
}
