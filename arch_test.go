// The import rules of docs/design.md, section 3, as a test: each rule has a reason, which the failure prints.
package mlrun_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "mlrun"

// rule is what one package may import besides the standard library. Tests may import more.
type rule struct {
	project  []string // packages of this project, without the module; "x/..." is x and everything below it
	external []string // modules of others
	reason   string
}

const (
	unix = "golang.org/x/sys/unix"
	spec = "github.com/opencontainers/runtime-spec/specs-go"
)

// rules lists every package; a package that is not listed fails the test. The order is that of the dependency, which runs
// downwards only.
var rules = map[string]rule{
	"cmd/mlrun": {
		project:  []string{"admission", "batch", "bundle", "group", "group/fuse", "group/groupfs", "rlimit", "runtime/...", "signame"},
		external: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", unix, spec},
		reason:   "package main holds flags, texts and exit codes; what they mean is in bundle and runtime",
	},
	"batch": {
		project:  []string{"admission", "bundle", "proc", "runtime", "runtime/launch", "runtime/supervise"},
		external: []string{unix, spec},
		reason:   "a batch starts runs, in their order, and says what came of them; it measures nothing and knows no command line",
	},
	"runtime": {
		project:  []string{"admission", "bundle", "group", "group/userns", "limit", "meter", "proc", "rlimit", "runtime/..."},
		external: []string{unix, spec, spec + "/features", "github.com/moby/sys/capability"},
		reason:   "the lifecycle puts the parts together; it measures nothing itself and knows no command line",
	},
	"runtime/supervise": {
		project:  []string{"group", "limit", "meter", "proc", "rlimit", "runtime/catch", "runtime/launch", "signame"},
		external: []string{unix},
		reason:   "a supervisor runs one payload; it knows no bundle, no container and no state directory",
	},
	"runtime/catch": {external: []string{unix}, reason: "a signal handler knows nothing of what the signals mean"},
	"runtime/launch": {
		project:  []string{"proc", "rlimit", "runtime/launch/origlimit"},
		external: []string{unix},
		reason:   "what happens between fork and exec decides nothing and measures nothing",
	},
	"runtime/pty": {
		project:  []string{"runtime/sockpath"},
		external: []string{unix, "github.com/containerd/console"},
		reason:   "a terminal knows nothing of the process that gets it",
	},
	"runtime/launch/origlimit": {reason: "it runs before every other package is initialised"},
	"runtime/seccomp": {
		external: []string{spec},
		reason:   "a compiler of filters is pure: it gets a configuration and returns a program, on every platform",
	},
	"runtime/execgate": {
		project:  []string{"proc"},
		external: []string{unix},
		reason:   "a gate lets programs go on when somebody else says that there is room; it knows no line and no run",
	},
	"runtime/sockpath": {reason: "a name for a file knows nothing of what is said through it"},
	"runtime/store":    {external: []string{unix}, reason: "the store keeps states and does not know what they mean"},
	"group/fuse":       {external: []string{unix}, reason: "a file system is served without knowing what its files mean"},
	"group/groupfs": {
		project:  []string{"group", "group/fuse", "meter", "proc"},
		external: []string{unix},
		reason:   "files show what the tree says, and change it; what has moved is measured, and knows no run",
	},
	"group/userns": {external: []string{unix}, reason: "it finds and keeps namespaces; which groups have which limits it is told"},
	"bundle": {
		project:  []string{"admission", "rlimit", "signame"},
		external: []string{unix, spec},
		reason:   "a bundle is read and judged without anything that runs it, so that others can use the package for that",
	},
	"admission": {project: []string{"rendezvous"}, external: []string{unix}, reason: "who waits for memory knows neither bundles nor containers: tools of others can use the line"},

	"group": {project: []string{"proc", "rendezvous"}, external: []string{unix}, reason: "a tree of groups counts and decides; it measures nothing, signals nobody and knows no container"},

	"meter":  {project: []string{"libproc", "proc"}, external: []string{unix}, reason: "the meter measures what it is given and decides nothing"},
	"limit":  {reason: "the policy is pure: it gets numbers and returns decisions"},
	"proc":   {project: []string{"libproc"}, external: []string{unix}, reason: "identities of processes are the bottom of everything"},
	"rlimit": {external: []string{unix}, reason: "names and numbers of resource limits are the bottom of everything"},

	"rendezvous": {external: []string{unix}, reason: "where processes meet is below what they meet for"},

	"libproc": {external: []string{unix}, reason: "what a platform tells of processes is below what they mean"},

	"signame": {external: []string{unix}, reason: "names and numbers of signals are the bottom of everything"},

	"bench":                 {project: []string{"bench/workload/note"}, external: []string{unix}, reason: black},
	"bench/workload/crowd":  {project: []string{"bench/workload/fork", "bench/workload/note"}, external: []string{unix}, reason: black},
	"bench/workload/flee":   {project: []string{"bench/workload/fork", "bench/workload/note"}, external: []string{unix}, reason: black},
	"bench/workload/fork":   {project: []string{"bench/workload/note"}, external: []string{unix}, reason: black},
	"bench/workload/hold":   {project: []string{"bench/workload/note"}, external: []string{unix}, reason: black},
	"bench/workload/honest": {project: []string{"bench/workload/fork", "bench/workload/note"}, external: []string{unix}, reason: black},
	"bench/workload/leave":  {project: []string{"bench/workload/note"}, reason: black},
	"bench/workload/note":   {external: []string{unix}, reason: black},
	"bench/workload/spawn":  {reason: black},
	"bench/workload/touch":  {project: []string{"bench/workload/fork", "bench/workload/note"}, external: []string{unix}, reason: black},
}

const black = "the benchmark measures the program as its users see it: command line, state and verdict"

// forTests are packages that only tests may import. They may import what they like.
var forTests = []string{"internal/..."}

// programs print and exit; every other package that is listed above is a library.
var programs = []string{"cmd/...", "bench/..."}

// ban is an import that libraries must not have: not directly, or (reach) not by way of other packages either.
type ban struct {
	paths  []string
	reach  bool
	except []string // packages of the project that may
	reason string
}

var bans = []ban{
	{
		paths:  []string{"log", "flag"},
		except: programs,
		reason: "a library has no output and no command line of its own: a slog.Handler is injected",
	},
	{
		paths: []string{"flag", "testing", "os/exec", "os/user", "net/http", "regexp", "text/template", "html/template", "encoding/gob", "encoding/xml"},
		reach: true, except: programs,
		reason: "its initialisation would slow every mlrun run; os/exec also waits for processes, which only the reaper may do",
	},
	{
		paths: []string{"encoding/json", "net", "log/slog", "reflect/..."}, except: []string{"cmd/...", "bench/...", "batch", "runtime", "runtime/store", "runtime/supervise", "bundle"},
		reason: "what is called for every sample, and between fork and exec, formats nothing",
	},
	{
		paths: []string{"encoding/json"}, except: []string{"cmd/...", "bench/...", "batch", "runtime", "runtime/store"},
		reason: "a bundle is decoded by package bundle's own reader, which knows the path of every value; a supervisor stores nothing",
	},
	{
		paths: []string{"encoding/json", "net", "log"}, reach: true,
		except: []string{"cmd/...", "bench/...", "batch", "runtime", "runtime/store", "runtime/supervise"},
		reason: "these packages are useful alone, and stay small for whoever imports only one of them",
	},
}

// platforms are those that mlrun is written for.
var platforms = []struct{ os, arch string }{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "arm64"}, {"darwin", "amd64"}}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath, Name string
	Standard         bool
	Imports, Deps    []string
}

// list runs go list for a platform.
func list(t *testing.T, goos, goarch string) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Name,Standard,Imports,Deps", "./...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, &stderr)
	}
	all := map[string]pkg{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all[p.ImportPath] = p
	}
}

// inProject returns the path of a package below the module.
func inProject(path string) (rel string, ok bool) { return strings.CutPrefix(path, module+"/") }

// matches tells whether one of the patterns is path, or "x/..." with path being x or below it.
func matches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		below, tree := strings.CutSuffix(p, "/...")
		return path == p || tree && (path == below || strings.HasPrefix(path, below+"/"))
	})
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, on := range platforms {
		t.Run(on.os+"/"+on.arch, func(t *testing.T) {
			all := list(t, on.os, on.arch)
			for path, p := range all {
				rel, ok := inProject(path)
				if !ok || matches(forTests, rel) || p.Name == "" { // without a name: it has nothing but tests
					continue
				}
				seen[rel] = true
				checkImports(t, all, rel, p)
				checkBans(t, rel, p)
			}
		})
	}
	for rel := range rules {
		if !seen[rel] {
			t.Errorf("%s has a rule, and does not exist: remove the rule", rel)
		}
	}
}

func checkImports(t *testing.T, all map[string]pkg, rel string, p pkg) {
	t.Helper()
	r, ok := rules[rel]
	if !ok {
		t.Errorf("%s is a new package: say in the rules of this test, and in docs/design.md, what it may import, and why", rel)
		return
	}
	for _, path := range p.Imports {
		dep, ours := inProject(path)
		switch {
		case ours && !matches(r.project, dep), !ours && !all[path].Standard && !matches(r.external, path):
			t.Errorf("%s imports %s, which it must not: %s", rel, path, r.reason)
		}
	}
}

func checkBans(t *testing.T, rel string, p pkg) {
	t.Helper()
	for _, b := range bans {
		if matches(b.except, rel) {
			continue
		}
		from, how := p.Imports, "imports"
		if b.reach {
			from, how = p.Deps, "imports, directly or by way of others,"
		}
		for _, path := range from {
			if matches(b.paths, path) {
				t.Errorf("%s %s %s, which it must not: %s", rel, how, path, b.reason)
			}
		}
	}
}

// tagged are the files with a build constraint of packages that are portable but for them: each pair has what docs/design.md, section 3, says of them.
var tagged = map[string][]string{
	"limit": nil,
	"runtime": {
		"attributes_linux.go", "execgate_linux.go", "features_linux.go", "host_linux.go", "host_portable.go", "namespaces_linux.go", "peer_darwin.go", "peer_linux.go",
		"resources_linux.go", "seccomp_linux.go", "system_darwin.go", "system_linux.go",
	},
	"runtime/supervise": {"place_linux.go", "platform_linux.go", "platform_darwin.go"},
}

// TestPortable checks that packages above the platform have no build constraint, in a name or in a comment, but in files that are known; and that
// the names of those do not say one thing and their constraints another.
func TestPortable(t *testing.T) {
	for rel, known := range tagged {
		files, err := filepath.Glob(filepath.Join(rel, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no source: %v", rel, err)
		}
		var found []string
		for _, file := range files {
			name := filepath.Base(file)
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			rest, native := bytes.CutPrefix(source, []byte("//go:build !portable\n")) // of a file for Linux: see docs/design.md, section 3
			if native && strings.HasSuffix(name, "_linux.go") {
				source = rest
			}
			comment := bytes.HasPrefix(source, []byte("//go:build ")) || bytes.Contains(source, []byte("\n//go:build "))
			named := false // as go/build reads names: of the last two parts
			parts := strings.Split(strings.TrimSuffix(name, ".go"), "_")
			for _, part := range parts[max(1, len(parts)-2):] {
				named = named || slices.Contains([]string{"linux", "darwin", "unix", "other", "amd64", "arm64", "riscv64"}, part)
			}
			if comment && named && slices.Contains(known, name) {
				t.Errorf("%s: the name has the platform, and a //go:build line again", file)
			}
			if comment || named {
				found = append(found, name)
			}
		}
		slices.Sort(found)
		slices.Sort(known)
		if !slices.Equal(found, known) {
			t.Errorf("%s: %q are for one platform, %q are known: move them below the seam, or say in docs/design.md why not", rel, found, known)
		}
	}
}

// TestLibrariesAreSilent looks at the source of all platforms at once.
func TestLibrariesAreSilent(t *testing.T) {
	for rel := range rules {
		if matches(programs, rel) {
			continue
		}
		files, err := filepath.Glob(filepath.Join(rel, "*.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no source: %v", rel, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				checkCalls(t, file)
			}
		}
	}
}

// loud are functions that belong in programs, by package.
func loud(path, name string) (reason string) {
	switch {
	case path == "os" && name == "Exit":
		return "a library returns errors: who exits skips what its callers have deferred"
	case path == "fmt" && strings.HasPrefix(name, "Print"):
		return "the standard output belongs to the program, and often to the payload"
	}
	return ""
}

func checkCalls(t *testing.T, file string) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return
	}
	imports := importNames(f)
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok {
				if reason := loud(imports[x.Name], n.Sel.Name); reason != "" {
					t.Errorf("%s: %s.%s: %s", fset.Position(n.Pos()), x.Name, n.Sel.Name, reason)
				}
			}
		case *ast.CallExpr:
			if x, ok := n.Fun.(*ast.Ident); ok && (x.Name == "print" || x.Name == "println") {
				t.Errorf("%s: %s: it is for debugging", fset.Position(n.Pos()), x.Name)
			}
		}
		return true
	})
}

// importNames are the imports of a file by the names that it has for them.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, i := range f.Imports {
		path := strings.Trim(i.Path.Value, `"`)
		name := path[strings.LastIndex(path, "/")+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = path
	}
	return names
}
