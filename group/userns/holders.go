package userns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Directory is where supervisors say which namespaces they keep: a file for each group and supervisor, GROUP.PID, that has a line for each
// level: group, limit, descriptor and inode.
type Directory string

// Publish makes a holder known. Retract takes that back.
func (d Directory) Publish(h Holder) error {
	var b []byte
	for _, l := range h.Levels {
		b = fmt.Appendf(b, "%d %d %d %d\n", l.Group, l.Limit, l.FD, l.Inode)
	}
	if err := os.Mkdir(string(d), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	tmp := d.path("new", h.PID)
	defer os.Remove(tmp)
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	for _, l := range h.Levels {
		path := d.path(strconv.FormatInt(l.Group, 10), h.PID)
		os.Remove(path) // of somebody who had the pid before
		if err := os.Link(tmp, path); err != nil {
			return err
		}
	}
	return nil
}

// Retract removes what Publish has made.
func (d Directory) Retract(h Holder) {
	for _, l := range h.Levels {
		os.Remove(d.path(strconv.FormatInt(l.Group, 10), h.PID))
	}
}

func (d Directory) path(group string, pid int) string {
	return filepath.Join(string(d), group+"."+strconv.Itoa(pid))
}

// Holders are those of the groups, as far as they live. What those have left that do not is removed.
func (d Directory) Holders(groups []Level) (list []Holder, err error) {
	dir, err := os.Open(string(d))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	want := map[string]bool{}
	for _, g := range groups {
		want[strconv.FormatInt(g.Group, 10)] = true
	}
	for _, name := range names {
		group, pid, _ := strings.Cut(name, ".")
		n, err := strconv.Atoi(pid)
		if err != nil || n <= 0 {
			continue
		}
		path := filepath.Join(string(d), name)
		if !alive(n) {
			os.Remove(path)
			continue
		}
		if !want[group] {
			continue
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		h := Holder{PID: n}
		if err == nil {
			h.Levels, err = parse(string(b))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, h)
	}
	return list, nil
}

// parse reads the lines of levels.
func parse(text string) (levels []Level, err error) {
	for line := range strings.Lines(text) {
		var l Level
		if _, err := fmt.Sscanf(line, "%d %d %d %d\n", &l.Group, &l.Limit, &l.FD, &l.Inode); err != nil {
			return nil, fmt.Errorf("%q: want a group, a limit, a descriptor and an inode", line)
		}
		levels = append(levels, l)
	}
	return levels, nil
}
