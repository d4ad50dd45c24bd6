package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"mlrun/group"
)

// text is what ls prints.
func (o *groupListOptions) text(t *group.Tree) (string, error) {
	list, err := t.List()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	switch {
	case o.quiet:
		for _, i := range list {
			fmt.Fprintln(&b, i.ID)
		}
	case o.tree:
		members, err := t.Members(group.System)
		if err != nil {
			return "", err
		}
		drawGroups(&b, list, members)
	case o.format == "json":
		all := make([]shownGroup, len(list))
		for k, i := range list {
			all[k] = shown(i)
		}
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(all); err != nil {
			return "", err
		}
	default:
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tPARENT\tLABEL\tRUNS\tGROUPS\tPROCESSES\tMEMORY\tHELD")
		for _, i := range list {
			fmt.Fprintf(w, "%d\t%d\t%s\t%d\t%s\t%s\t%s\t%s\n", i.ID, i.Parent, oneLine(i.Label), i.Runs, of(i.Counts.Groups, i.Limits.Groups, false),
				of(i.Counts.Processes, i.Limits.Processes, false), of(i.Counts.Memory, i.Limits.Memory, true), i.Held())
		}
		w.Flush()
	}
	return b.String(), nil
}

// watchGroups prints it again and again: on a terminal in the place of the one before.
func (a *app) watchGroups(o *groupListOptions, every time.Duration) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	before, after := "", "\n"
	if _, err := unix.IoctlGetWinsize(1, unix.TIOCGWINSZ); err == nil {
		before, after = "\x1b[H\x1b[2J", "" // cursor home, erase in display
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		var text string
		err := a.withGroups(func(t *group.Tree) (err error) { // which may be another one by now
			text, err = o.text(t)
			return err
		})
		if err != nil {
			return err
		}
		if _, err := os.Stdout.WriteString(before + text + after); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// barWidth is how many characters a bar has.
const barWidth = 10

// bar shows how much of a limit is in use. What is over it is full.
func bar(count, limit int64) string {
	full := barWidth
	if limit > 0 && count < limit {
		full = int(float64(count) / float64(limit) * barWidth)
	}
	return strings.Repeat("█", full) + strings.Repeat("░", barWidth-full)
}

// gauge is a count with its limit and a bar, or the count alone, with nothing when both are none.
func gauge(name string, count, limit int64, memory bool) string {
	switch {
	case limit != group.None:
		return fmt.Sprintf("  %s %s %s", name, bar(count, limit), of(count, limit, memory))
	case count == 0:
		return ""
	}
	return "  " + name + " " + countText(count, memory)
}

// drawGroups draws the groups as a tree, each with the runs that are in it.
func drawGroups(b *strings.Builder, list []group.Info, members []group.Member) {
	below := map[group.ID][]group.Info{}
	for _, i := range list {
		below[i.Parent] = append(below[i.Parent], i)
	}
	in := map[group.ID][]group.Member{}
	for _, m := range members {
		in[m.Group] = append(in[m.Group], m)
	}
	drawn := map[group.ID]bool{}
	var draw func(i group.Info, first, rest string)
	draw = func(i group.Info, first, rest string) {
		if drawn[i.ID] {
			return
		}
		drawn[i.ID] = true
		label := oneLine(i.Label)
		if i.ID == group.System {
			label = "system"
		}
		line := fmt.Sprintf("%s%d %s", first, i.ID, label)
		b.WriteString(strings.TrimRight(line, " "))
		b.WriteString(gauge("groups", i.Counts.Groups, i.Limits.Groups, false))
		b.WriteString(gauge("processes", i.Counts.Processes, i.Limits.Processes, false))
		b.WriteString(gauge("memory", i.Counts.Memory, i.Limits.Memory, true))
		b.WriteByte('\n')
		runs, subs := in[i.ID], below[i.ID]
		for k, m := range runs {
			mark, _ := branch(k == len(runs)-1 && len(subs) == 0)
			fmt.Fprintf(b, "%s%s%s %s: %s", rest, mark, m.Kind, oneLine(m.Name), processes(int(m.Processes)))
			if m.Memory > 0 {
				fmt.Fprintf(b, ", %s", size(m.Memory))
			}
			if m.Doom != nil {
				fmt.Fprintf(b, ", is ended for group %d", m.Doom.Group)
			}
			b.WriteByte('\n')
		}
		for k, s := range subs {
			mark, more := branch(k == len(subs)-1)
			draw(s, rest+mark, rest+more)
		}
	}
	if at := slices.IndexFunc(list, func(i group.Info) bool { return i.ID == group.System }); at >= 0 {
		draw(list[at], "", "")
	}
}

// branch is what a line of a tree begins with, and those below it.
func branch(last bool) (mark, rest string) {
	if last {
		return "└─ ", "   "
	}
	return "├─ ", "│  "
}
