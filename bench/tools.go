package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// tools are the programs that mlrun is measured beside; "" for one that is not there.
type tools struct {
	memlimit string // LIMIT -- COMMAND [ARGS]; named by $MEMLIMIT
	timeout  string
	bwrap    string

	bwrapBroken string            // why it is not measured although it is there
	apart       map[string]*apart // programs that are started in a place of their own
	oci         []*ociTool
	missing     []string
}

// ociTool is another OCI runtime.
type ociTool struct {
	name, path string
	flags      []string // global
	broken     string   // why it is not measured although it is there
}

func findTools() tools {
	t := tools{apart: map[string]*apart{}}
	t.memlimit = os.Getenv("MEMLIMIT")
	if t.memlimit == "" {
		t.missing = append(t.missing, "another limiter (MEMLIMIT is not set)")
	} else if path, err := exec.LookPath(t.memlimit); err != nil {
		t.memlimit, t.missing = "", append(t.missing, "another limiter (MEMLIMIT: no such program)")
	} else {
		t.memlimit = path
	}
	var err error
	if t.timeout, err = exec.LookPath("timeout"); err != nil {
		t.missing = append(t.missing, "timeout (not installed)")
	}
	if t.bwrap, err = exec.LookPath("bwrap"); err != nil {
		t.missing = append(t.missing, "bwrap (not installed)")
	}
	// crun can go without cgroups, which it does not find everywhere; runc cannot.
	for _, o := range []*ociTool{{name: "crun", flags: []string{"--cgroup-manager=disabled"}}, {name: "runc"}} {
		if o.path, err = exec.LookPath(o.name); err != nil {
			t.missing = append(t.missing, o.name+" (not installed)")
			continue
		}
		if os.Geteuid() != 0 {
			t.missing = append(t.missing, o.name+" (measured as root only)")
			continue
		}
		t.oci = append(t.oci, o)
		if o.name == "crun" {
			if a, err := withoutUnified(); err == nil {
				t.apart[o.path] = a
			} else if !errors.Is(err, errors.ErrUnsupported) {
				o.broken = err.Error()
			}
		}
	}
	return t
}

func (t *tools) found() []string {
	list := []string{"posix_spawn (fork and exec of the bare command)"}
	if t.memlimit != "" {
		list = append(list, filepath.Base(t.memlimit)+" ($MEMLIMIT)")
	}
	if t.timeout != "" {
		list = append(list, "timeout")
	}
	if t.bwrap != "" && t.bwrapBroken == "" {
		list = append(list, "bwrap")
	}
	for _, o := range t.oci {
		if o.broken == "" {
			name := o.name
			if t.apart[o.path] != nil {
				name += " (where " + unified + " is not mounted, since it refuses both versions of cgroups)"
			}
			list = append(list, name)
		}
	}
	return list
}

// absent lists what is left out, and why.
func (t *tools) absent() []string {
	list := slices.Clone(t.missing)
	if t.bwrapBroken != "" {
		list = append(list, fmt.Sprintf("bwrap (installed, but it does not work here: %s)", t.bwrapBroken))
	}
	for _, o := range t.oci {
		if o.broken != "" {
			list = append(list, fmt.Sprintf("%s (installed, but it does not work here: %s)", o.name, o.broken))
		}
	}
	return list
}

// command is a command line of an OCI runtime with its state in dir.
func (o *ociTool) command(dir string, args ...string) []string {
	return append(append([]string{o.path, "--root", filepath.Join(dir, o.name)}, o.flags...), args...)
}

// ociBundle is a bundle of a program in a file system of its own, with as few namespaces as other runtimes can do with.
func (r *rig) ociBundle(program string) (dir string, err error) {
	type object = map[string]any
	dir = r.path(r.fresh("oci"))
	files, err := libraries(program)
	if err != nil {
		return "", err
	}
	for _, f := range append(files, program) {
		if err := copyFile(f, filepath.Join(dir, "rootfs", f)); err != nil {
			return "", err
		}
	}
	for _, d := range []string{"rootfs/proc", "rootfs/dev"} { // crun asks for dev
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	return dir, writeConfig(dir, object{
		"ociVersion": "1.0.2",
		"process":    object{"args": []string{program}, "cwd": "/", "user": object{"uid": 0, "gid": 0}},
		"root":       object{"path": "rootfs"},
		"mounts":     []object{{"destination": "/proc", "type": "proc", "source": "proc"}},
		"linux":      object{"namespaces": []object{{"type": "mount"}, {"type": "pid"}}},
	})
}

// libraries are the files that a program is linked to.
func libraries(program string) ([]string, error) {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", program, err)
	}
	var list []string
	for _, word := range strings.Fields(string(out)) {
		if filepath.IsAbs(word) {
			list = append(list, word)
		}
	}
	return list, nil
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// kernel is the version of the kernel without what a distribution or a host adds to it.
func kernel() string {
	out, err := exec.Command("uname", "-r").Output()
	if err != nil {
		return "unknown"
	}
	s := strings.TrimSpace(string(out))
	if end := strings.IndexFunc(s, func(c rune) bool { return c != '.' && (c < '0' || c > '9') }); end > 0 {
		s = s[:end]
	}
	return s + " (" + runtime.GOOS + ")"
}
