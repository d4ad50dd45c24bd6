package bundle

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// honoured are the properties which mlrun acts upon, or which the spec says to
// ignore (consoleSize, without a terminal).
var honoured = []string{
	"ociVersion",
	"process.args", "process.cwd", "process.env", "process.consoleSize", "process.noNewPrivileges",
	"process.oomScoreAdj", "process.rlimits.type", "process.rlimits.soft", "process.rlimits.hard",
	"process.user.uid", "process.user.gid", "process.user.umask", "process.user.additionalGids",
	"root.path",
	"hooks.*.path", "hooks.*.args", "hooks.*.env", "hooks.*.timeout",
	"annotations",
	"linux.resources.memory.limit", "linux.resources.memory.reservation", "linux.resources.memory.swap",
	"linux.resources.memory.disableOOMKiller", "linux.resources.memory.checkBeforeUpdate", "process.terminal",
	"process.capabilities", "process.apparmorProfile", "process.selinuxLabel",
	"process.scheduler", "process.ioPriority", "process.execCPUAffinity",
	"linux.namespaces", "linux.seccomp", "linux.memoryPolicy", "linux.personality",
	"linux.resources.pids.limit", "linux.resources.cpu.shares", "linux.resources.cpu.quota", "linux.resources.cpu.period",
	"linux.resources.cpu.cpus", "linux.resources.cpu.mems", "linux.resources.cpu.idle", "linux.resources.blockIO.weight",
	"linux.resources.hugepageLimits.pageSize", "linux.resources.hugepageLimits.limit", "linux.resources.unified",
	"linux.resources.memory.useHierarchy", // true is what mlrun does; without child cgroups false is no different
}

// rules returns the unsupported properties.
func rules() (list []string) {
	for _, s := range unsupported {
		for _, r := range s.list {
			list = append(list, strings.TrimPrefix(s.path+"."+r.name, "."))
		}
	}
	return list
}

// Everything in specs.Spec is honoured or refused, and only that.
func TestComplete(t *testing.T) {
	seen := map[string]bool{}
	var walk func(t reflect.Type, prefix string) bool
	walk = func(typ reflect.Type, prefix string) (all bool) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return false
		}
		if typ == reflect.TypeFor[specs.Hook]() {
			prefix = "hooks.*."
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				t.Errorf("%s%s has no name in JSON", prefix, f.Name)
			}
			path := prefix + name
			if slices.Contains(honoured, path) || slices.Contains(rules(), path) {
				seen[path] = true
			} else if !walk(f.Type, path+".") {
				t.Errorf("%s is neither honoured nor unsupported", path)
			}
		}
		return true
	}
	walk(reflect.TypeFor[specs.Spec](), "")
	for _, path := range append(rules(), honoured...) {
		if !seen[path] {
			t.Errorf("%s is not in specs.Spec, or twice in the tables", path)
		}
		delete(seen, path)
	}
}

// The patterns of the wants are those of properties.
func TestWants(t *testing.T) {
	for _, w := range wants {
		typ := reflect.TypeFor[specs.Spec]()
		name := strings.ReplaceAll(w.pattern, "*", "poststop")
		for part := range strings.SplitSeq(name, ".") {
			part, elem := strings.CutSuffix(part, "[]")
			for typ.Kind() == reflect.Pointer {
				typ = typ.Elem()
			}
			f, ok := typ.FieldByNameFunc(func(name string) bool {
				f, _ := typ.FieldByName(name)
				tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				return tag == part
			})
			if !ok {
				t.Fatalf("%s: no %s", w.pattern, part)
			}
			if typ = f.Type; elem {
				typ = typ.Elem()
			}
		}
	}
}

// sample returns a value in JSON that sets a property of this type.
func sample(typ reflect.Type) string {
	switch typ.Kind() {
	case reflect.Pointer:
		return sample(typ.Elem())
	case reflect.Struct:
		for i := range typ.NumField() {
			if name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ","); name != "" {
				return `{"` + name + `":` + sample(typ.Field(i).Type) + `}`
			}
		}
		return "{}"
	case reflect.Slice:
		return "[" + sample(typ.Elem()) + "]"
	case reflect.Map:
		return `{"key.x":` + sample(typ.Elem()) + "}"
	case reflect.String:
		return `"s"`
	case reflect.Bool:
		return "true"
	}
	return "0"
}

// Each unsupported property is reported when it is set, by itself, and is a
// warning when that is asked for.
func TestUnsupportedEach(t *testing.T) {
	for _, path := range rules() {
		typ := reflect.TypeFor[specs.Spec]()
		open, shut := "", ""
		for i, part := range strings.Split(path, ".") {
			for typ.Kind() == reflect.Pointer {
				typ = typ.Elem()
			}
			for j := range typ.NumField() {
				if f := typ.Field(j); strings.HasPrefix(f.Tag.Get("json")+",", part+",") {
					typ = f.Type
					break
				}
			}
			if i > 0 {
				open, shut = open+"{", "}"+shut
				if i == 1 && strings.HasPrefix(path, "process.") {
					open += `"args": ["true"], "cwd": "/", `
				}
			}
			open += `"` + part + `": `
		}
		data := config(open + sample(typ) + shut)
		_, err := Parse([]byte(data), "/", "config.json", Options{})
		e, ok := err.(*Error)
		if !ok || len(e.Problems) != 1 {
			t.Errorf("%s: %s: %v", path, data, err)
			continue
		}
		p := e.Problems[0]
		if !p.Unsupported || !strings.HasPrefix(p.Path, path) || strings.HasSuffix(p.Want, ".") ||
			!strings.HasSuffix(p.String(), "; remove it, or pass --ignore-unsupported") {
			t.Errorf("%s: %s", path, p)
		}
		b, err := Parse([]byte(data), "/", "config.json", Options{IgnoreUnsupported: true})
		if err != nil || !cmp.Equal(b.Warnings, e.Problems) {
			t.Errorf("%s: ignored: %+v, %v", path, b, err)
		}
	}
}

func TestUnsupported(t *testing.T) {
	const end = "; remove it, or pass --ignore-unsupported"
	const known = "of dev.mlrun.* mlrun knows only " +
		"dev.mlrun.memory.limit, dev.mlrun.memory.grace, dev.mlrun.memory.on-breach, dev.mlrun.memory.overshoot, dev.mlrun.memory.meter, " +
		"dev.mlrun.pids.mode, dev.mlrun.cpu.time, dev.mlrun.wall.time, dev.mlrun.hang.time, dev.mlrun.admission.available, " +
		"dev.mlrun.admission.reserve, dev.mlrun.admission.pressure, dev.mlrun.admission.scope, dev.mlrun.admission.timeout, dev.mlrun.admission.settle, dev.mlrun.group"
	data := `{
		"ociVersion": "1.3.0", "hostname": "h",
		"process": {"terminal": true, "args": ["a"], "cwd": "/", "capabilities": {"bounding": []}},
		"root": {"readonly": true},
		"mounts": [{"destination": "/proc", "type": "proc"}, {"type": "x"}, {}],
		"annotations": {"dev.mlrun.memory.gracee": "5", "dev.mlrun.memory.grace": "5"},
		"linux": {
			"sysctl": {"net.ipv4.ip_forward": "1", "a": "0", "a": ""},
			"resources": {"cpu": {"burst": 0}, "memory": {"kernel": 5, "checkBeforeUpdate": true}, "unified": {"a\u0000": "b"}},
			"namespaces": [{"type": "pid"}, {"type": "network", "path": "/x"}],
			"maskedPaths": ["/proc/kcore"],
			"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]}
		},
		"windows": {"layerFolders": []}
	}`
	want := []string{
		`annotations["dev.mlrun.memory.gracee"] "5": not supported: ` + known + end,
		`linux.resources.unified["a\u0000"] "b": not supported: ` + noCgroups + "; it knows " + unifiedKeys + end,
		`hostname "h": not supported: ` + noUTS + end,
		`mounts[0].destination "/proc": not supported: ` + noMounts + end,
		`mounts[1] {"type":"x"}: not supported: ` + noMounts + end,
		`windows {"layerFolders":[]}: not supported: it is for another platform` + end,
		`root.readonly true: not supported: mlrun mounts nothing: the root is that of the host, as it is` + end,
		`linux.sysctl["net.ipv4.ip_forward"] "1": not supported: ` + noNamespaces + `, so this would change the host` + end,
		`linux.sysctl["a"] "": not supported: ` + noNamespaces + `, so this would change the host` + end,
		`linux.maskedPaths[0] "/proc/kcore": not supported: ` + noMounts + end,
		`linux.resources.memory.kernel 5: not supported: ` + noCgroups + end,
		`linux.resources.cpu.burst 0: not supported: ` + noCgroups + `; quota and period are held without it` + end,
		`linux.namespaces[0].type "pid": not supported: mlrun runs in the namespaces of its caller` + end,
	}
	if diff := cmp.Diff(want, problems(t, data)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// Ignoring does not make valid what is not.
	_, err := Parse([]byte(strings.Replace(data, `"cwd": "/"`, `"cwd": "x"`, 1)), "/", "c", Options{IgnoreUnsupported: true})
	if want := `c: process.cwd: found "x", want an absolute path without NUL`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	b, err := Parse([]byte(data), "/", "c", Options{IgnoreUnsupported: true})
	if err != nil {
		t.Fatal(err)
	}
	const warning = `annotations["dev.mlrun.memory.gracee"] "5": ignored: ` + known
	if len(b.Warnings) != len(want) || b.Warnings[0].Warning() != warning {
		t.Errorf("warnings %v", b.Warnings)
	}
}
