package main

import (
	"cmp"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

//go:generate go test -run ^TestManPages$ -update .

var updatePages = flag.Bool("update", false, "write the manual pages anew")

// The manual pages are in manDir. Their text is what --help says, and behind it the sections in manDir/sections: of one command in the
// file that has the name of its page, and of all commands that use the state directory in containers.txt.
//
// Both are written alike. A line of capitals begins a section. What is indented is an example, or in the sections that are no prose a list:
// the term, two spaces or more, and what it means.
const manDir = "../../man"

// TestManPages compares the pages with the commands; -update writes them.
func TestManPages(t *testing.T) {
	pages := map[string]string{}
	for _, cmd := range manCommands(t) {
		pages[pageName(cmd)+".1"] = manPage(t, cmd)
	}
	for name, text := range pages {
		for _, m := range regexp.MustCompile(`\\fB(?:\\%)?(mlrun[a-z\\-]*)\\fR\(1\)`).FindAllStringSubmatch(text, -1) {
			if other := strings.ReplaceAll(m[1], `\-`, "-") + ".1"; pages[other] == "" {
				t.Errorf("%s refers to %s, which does not exist", name, other)
			}
		}
	}
	checkSections(t, pages)
	there, err := filepath.Glob(filepath.Join(manDir, "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range there {
		switch _, ok := pages[filepath.Base(file)]; {
		case ok:
		case !*updatePages:
			t.Errorf("%s: there is no such command: run make man", file)
		default:
			if err := os.Remove(file); err != nil {
				t.Error(err)
			}
		}
	}
	for name, text := range pages {
		file := filepath.Join(manDir, name)
		if *updatePages {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Error(err)
			}
		} else if got, err := os.ReadFile(file); err != nil {
			t.Errorf("%v: run make man", err)
		} else if string(got) != text {
			t.Errorf("%s is not what the commands and %s/sections say: run make man", file, manDir)
		}
	}
}

// checkSections refuses a file of sections that no page has.
func checkSections(t *testing.T, pages map[string]string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(manDir, "sections", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		page, isText := strings.CutSuffix(filepath.Base(file), ".txt")
		if !isText || page != "containers" && pages[page+".1"] == "" {
			t.Errorf("%s: there is no such command", file)
		}
	}
}

// TestManExamples tries the flags and arguments of every example in help texts and pages.
func TestManExamples(t *testing.T) {
	tried := 0
	for _, cmd := range manCommands(t) {
		for _, s := range append(manSections(cmd.Long), moreSections(t, pageName(cmd))...) {
			for _, line := range s.lines {
				line, ok := strings.CutPrefix(line, "  mlrun ")
				if !ok || s.isList() {
					continue
				}
				tried++
				if err := parseExample(line); err != nil {
					t.Errorf("%s: %s: mlrun %s: %v", pageName(cmd), s.name, line, err)
				}
			}
		}
	}
	if tried < 30 {
		t.Errorf("only %d examples found", tried)
	}
}

// parseExample parses the command line before the first operator of the shell or comment.
func parseExample(line string) error {
	args := strings.Fields(regexp.MustCompile(` *(  | [|;&<>]).*`).ReplaceAllString(line, ""))
	args = expandVerbose(args)
	cmd, rest, err := (&app{name: "mlrun"}).rootCmd(args).Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// manCommands are mlrun and its commands. What of their texts depends on the user does not.
func manCommands(t *testing.T) []*cobra.Command {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", "/$XDG_RUNTIME_DIR")
	root := (&app{name: "mlrun"}).rootCmd(nil)
	f := root.PersistentFlags().Lookup("root")
	f.Usage = strings.ReplaceAll(f.Usage, "/$XDG_RUNTIME_DIR/", "$XDG_RUNTIME_DIR/")
	root.InitDefaultVersionFlag()
	all := append([]*cobra.Command{root}, root.Commands()...)
	for _, cmd := range all {
		cmd.InitDefaultHelpFlag()
	}
	return all
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manSection is a section of a page. That without a name is the description.
type manSection struct {
	name  string
	lines []string
}

// isList tells whether what is indented is a list, not an example.
func (s *manSection) isList() bool { return s.name != "" && s.name != "EXAMPLES" }

var heading = regexp.MustCompile(`^[A-Z][A-Z ]+$`)

func manSections(text string) []manSection {
	all := []manSection{{}}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if heading.MatchString(line) {
			all = append(all, manSection{name: line})
			continue
		}
		s := &all[len(all)-1]
		s.lines = append(s.lines, line)
	}
	return all
}

// moreSections are those of a file, if it exists.
func moreSections(t *testing.T, file string) []manSection {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(manDir, "sections", file+".txt"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return manSections(string(b))
}

// noState are commands that do not use the state directory.
var noState = []string{"mlrun", "limit", "check", "spec", "features", "completion"}

// behind is the order of sections behind the others; man-pages(7).
var behind = []string{"EXIT STATUS", "ENVIRONMENT", "FILES", "NOTES", "EXAMPLES", "SEE ALSO"}

// rank is 0 for the description, and then grows in the order of a page.
func (s *manSection) rank() int {
	if s.name == "" {
		return 0
	}
	return 2 + slices.Index(behind, s.name)
}

// manPage writes the page of a command in the man macros of roff; man(7).
func manPage(t *testing.T, cmd *cobra.Command) string {
	t.Helper()
	sections := append(manSections(cmd.Long), moreSections(t, pageName(cmd))...)
	if !slices.Contains(noState, cmd.Name()) {
		sections = append(sections, moreSections(t, "containers")...)
	}
	slices.SortStableFunc(sections, func(a, b manSection) int {
		return cmp.Compare(a.rank(), b.rank())
	})
	p := newManWriter(cmd)
	p.line(`.\" Written by make man, from the commands and man/sections; DO NOT EDIT.`)
	p.line(`.TH "%s" "1" "" "mlrun" "User Commands"`, strings.ToUpper(pageName(cmd)))
	p.line(".SH NAME\n%s \\- %s", literal(pageName(cmd)), p.prose(cmd.Short))
	p.line(".SH SYNOPSIS\n%s", p.synopsis())
	p.line(".SH DESCRIPTION")
	before := ""
	for _, s := range sections {
		if s.name != "" && before == "" {
			p.options()
		}
		if s.name != before {
			p.line(".SH %s", s.name)
		}
		before = s.name
		if s.name == "SEE ALSO" {
			break // the last one; it is one list
		}
		p.blocks(s)
	}
	if before != "SEE ALSO" {
		p.line(".SH SEE ALSO")
	}
	p.seeAlso(sections)
	return p.b.String()
}
