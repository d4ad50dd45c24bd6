package groupfs

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"mlrun/group"
)

// Parse reads commands, a line each: all of one write. The error is group.ErrInvalid.
func Parse(data []byte) (c group.Change, err error) {
	if len(data) > maxCommand {
		return c, fmt.Errorf("%w: %d bytes of commands, want at most %d", group.ErrInvalid, len(data), maxCommand)
	}
	lines := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	for i, line := range lines {
		if err := command(&c, string(line)); err != nil {
			if len(lines) > 1 {
				err = fmt.Errorf("line %d: %w", i+1, err)
			}
			return group.Change{}, err
		}
	}
	return c, nil
}

func command(c *group.Change, line string) error {
	name, arg, _ := strings.Cut(line, " ")
	if name == "label" {
		if err := group.CheckLabel(arg); err != nil {
			return err
		}
		c.Label = &arg
		return nil
	}
	arg = strings.TrimSpace(arg)
	var n int64
	var err error
	switch name {
	case "mlim":
		n, err = group.ParseCount(arg)
		c.Groups = &n
	case "mproc":
		n, err = group.ParseCount(arg)
		c.Processes = &n
	case "mpage":
		n, err = group.ParsePages(arg)
		c.Memory = &n
	default:
		return fmt.Errorf("%w: command %s, want label, mlim, mproc or mpage", group.ErrInvalid, short(name))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// short quotes what was written, or the beginning of it.
func short(s string) string {
	const most = 40
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// Status is the content of the file: label, parent, limits on the left and counts on the right. Memory is in pages, counts of it rounded up.
func Status(i *group.Info, page int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%d\n", i.Label, i.Parent)
	row := func(name string, limit, count int64) {
		text := "none"
		if limit != group.None {
			text = strconv.FormatInt(limit, 10)
		}
		fmt.Fprintf(&b, "%s %s %d\n", name, text, count)
	}
	row("mlim", i.Limits.Groups, i.Counts.Groups)
	row("mproc", i.Limits.Processes, i.Counts.Processes)
	memory := i.Limits.Memory
	if memory != group.None {
		memory /= page
	}
	row("mpage", memory, (i.Counts.Memory+page-1)/page)
	fmt.Fprintf(&b, "held %s\n", i.Held())
	return b.String()
}
