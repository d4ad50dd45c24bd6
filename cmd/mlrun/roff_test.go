package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manWriter writes the page of cmd.
type manWriter struct {
	b      strings.Builder
	cmd    *cobra.Command
	marked *regexp.Regexp // what is not in roman type
}

var value = regexp.MustCompile(`\b[A-Z]+\b`)

func newManWriter(cmd *cobra.Command) *manWriter {
	values := value.FindAllString(cmd.Use, -1)
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { values = append(values, value.FindAllString(valueName(f), -1)...) })
	var names []string
	for _, c := range cmd.Root().Commands() {
		names = append(names, c.Name())
	}
	pattern := `(?P<bold>--?[a-z][a-z-]*\b|\bmlrun (?:` + strings.Join(names, "|") + `)\b|\b[a-z][a-z.-]*(?:\(\d\)))`
	if len(values) > 0 {
		pattern += `|(?P<italic>\b(?:` + strings.Join(values, "|") + `)\b)`
	}
	return &manWriter{cmd: cmd, marked: regexp.MustCompile("`[A-Z:=\\[\\]]+`|(?:^|[\\s(\"])(?:" + pattern + ")")}
}

func (p *manWriter) line(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

// literal is text in which every character is that of ASCII, as it has to be typed.
func literal(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "~", `\(ti`, "^", `\(ha`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

func bold(s string) string   { return `\fB` + literal(s) + `\fR` }
func italic(s string) string { return `\fI` + literal(s) + `\fR` }

// prose is text with names of flags, commands and pages in bold type, and names of values in italics.
func (p *manWriter) prose(s string) string {
	s = strings.ReplaceAll(s, `\`, `\e`)
	s = p.marked.ReplaceAllStringFunc(s, func(m string) string {
		if v, ok := strings.CutPrefix(m, "`"); ok {
			return italic(strings.TrimSuffix(v, "`"))
		}
		lead := ""
		if strings.IndexAny(m, " \t(\"") == 0 {
			lead, m = m[:1], m[1:]
		}
		switch name, section, isPage := strings.Cut(m, "("); {
		case isPage:
			return lead + `\fB\%` + literal(name) + `\fR(` + section
		case value.FindString(m) == m:
			return lead + italic(m)
		}
		return lead + bold(m)
	})
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

// synopsis is the command line: what is typed as it is in bold type, names of values in italics.
func (p *manWriter) synopsis() string {
	arguments := strings.TrimPrefix(strings.TrimPrefix(p.cmd.Use, p.cmd.Name()), " [flags]")
	if !p.cmd.HasParent() {
		arguments = " COMMAND [ARG ...]"
	}
	words := strings.Fields(p.cmd.CommandPath() + " [OPTIONS]" + arguments)
	for i, w := range words {
		switch {
		case value.MatchString(w):
			words[i] = value.ReplaceAllStringFunc(w, func(s string) string {
				if s == "OPTIONS" {
					s = "options"
				}
				return italic(s)
			})
		case strings.Trim(w, ".]") != "":
			words[i] = bold(w)
		}
	}
	return strings.Join(words, " ")
}

var item = regexp.MustCompile(`^ *(\S.*?)  +(\S.*)$`)

// blocks writes the lines of a section.
func (p *manWriter) blocks(s manSection) {
	const none, text, list, example = 0, 1, 2, 3
	in := none
	begin := func(kind int, macro string) {
		if in == example && kind != example {
			p.line(".fi\n.RE")
		}
		if in != kind && macro != "" {
			p.line("%s", macro)
		}
		in = kind
	}
	for _, line := range s.lines {
		m := item.FindStringSubmatch(line)
		switch indented := strings.HasPrefix(line, " "); {
		case line == "":
			if in != list {
				begin(none, "")
			}
		case s.isList() && m != nil:
			begin(list, "")
			p.line(".TP\n%s\n%s", bold(m[1]), p.prose(m[2]))
		case s.isList() && indented && in == list:
			p.line("%s", p.prose(strings.TrimSpace(line)))
		case !s.isList() && indented:
			begin(example, ".PP\n.RS 4\n.nf")
			p.line("%s", literal(strings.TrimPrefix(line, "  ")))
		default:
			begin(text, ".PP")
			p.line("%s", p.first(strings.TrimSpace(line)))
		}
	}
	begin(none, "")
}

// first is prose that may begin with the name of the command.
func (p *manWriter) first(line string) string {
	if rest, ok := strings.CutPrefix(line, p.cmd.Name()+" "); ok {
		return bold(p.cmd.CommandPath()) + " " + p.prose(rest)
	}
	return p.prose(line)
}

// options writes the flags, and for mlrun the commands.
func (p *manWriter) options() {
	if len(p.cmd.Aliases) > 0 {
		p.line(".PP\n%s is the same.", bold(p.cmd.Parent().Name()+" "+p.cmd.Aliases[0]))
	}
	if !p.cmd.HasParent() {
		p.line(".SH COMMANDS")
		for _, c := range p.cmd.Commands() {
			p.line(".TP\n%s(1)\n%s", bold(pageName(c)), p.prose(c.Short))
		}
	}
	p.line(".SH OPTIONS")
	p.cmd.LocalFlags().VisitAll(p.option)
	if p.cmd.HasParent() {
		p.line(".PP\nThe options in %s(1), such as %s, are accepted, too.", bold("mlrun"), bold("--root"))
	}
}

// valueName is the name that the help has for the value of a flag; none for one without.
func valueName(f *pflag.Flag) string {
	switch name, _ := pflag.UnquoteUsage(f); {
	case f.Value.Type() == "bool":
		return ""
	case name == "string":
		return "VALUE"
	default:
		return name
	}
}

func (p *manWriter) option(f *pflag.Flag) {
	if f.Hidden {
		return
	}
	names := bold("--" + f.Name)
	if f.Shorthand != "" {
		names = bold("-"+f.Shorthand) + ", " + names
	}
	if f.Name == "verbose" { // expandVerbose
		names = bold("-v") + "[" + italic("N") + "], " + names
	}
	if v := valueName(f); v != "" && f.NoOptDefVal != "" {
		names += "[=" + italic(v) + "]"
	} else if v != "" {
		names += " " + italic(v)
	}
	usage := f.Usage
	if !slices.Contains([]string{"", "false", "0", "[]"}, f.DefValue) {
		usage += " (default " + f.DefValue + ")"
	}
	p.line(".TP\n%s\n%s", names, p.prose(usage))
}

// seeAlso lists other pages: mlrun for a command, its commands for mlrun, and what the section SEE ALSO says.
func (p *manWriter) seeAlso(sections []manSection) {
	pages := []string{"mlrun(1)"}
	if !p.cmd.HasParent() {
		pages = nil
		for _, c := range p.cmd.Commands() {
			pages = append(pages, pageName(c)+"(1)")
		}
	}
	for _, s := range sections {
		if s.name == "SEE ALSO" {
			pages = append(pages, strings.Split(strings.Join(s.lines, " "), ", ")...)
		}
	}
	for i, page := range pages {
		end := ","
		if i == len(pages)-1 {
			end = ""
		}
		p.line("%s%s", p.prose(strings.TrimSpace(page)), end)
	}
}
