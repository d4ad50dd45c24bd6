package libproc

import (
	"bytes"
	"debug/macho"
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// TestLayout compares the structures with those of xnu-11417.101.15, bsd/sys/resource.h and bsd/sys/proc_info.h: the numbers are what a C
// compiler makes of these headers.
func TestLayout(t *testing.T) {
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"struct proc_bsdinfo", unsafe.Sizeof(BSDInfo{}), 136},
		{"pbi_flags", unsafe.Offsetof(BSDInfo{}.Flags), 0},
		{"pbi_status", unsafe.Offsetof(BSDInfo{}.Status), 4},
		{"pbi_xstatus", unsafe.Offsetof(BSDInfo{}.XStatus), 8},
		{"pbi_pid", unsafe.Offsetof(BSDInfo{}.PID), 12},
		{"pbi_ppid", unsafe.Offsetof(BSDInfo{}.PPID), 16},
		{"pbi_uid", unsafe.Offsetof(BSDInfo{}.UID), 20},
		{"pbi_gid", unsafe.Offsetof(BSDInfo{}.GID), 24},
		{"pbi_ruid", unsafe.Offsetof(BSDInfo{}.RUID), 28},
		{"pbi_rgid", unsafe.Offsetof(BSDInfo{}.RGID), 32},
		{"pbi_svuid", unsafe.Offsetof(BSDInfo{}.SVUID), 36},
		{"pbi_svgid", unsafe.Offsetof(BSDInfo{}.SVGID), 40},
		{"pbi_comm", unsafe.Offsetof(BSDInfo{}.Comm), 48},
		{"pbi_name", unsafe.Offsetof(BSDInfo{}.Name), 64},
		{"pbi_nfiles", unsafe.Offsetof(BSDInfo{}.Files), 96},
		{"pbi_pgid", unsafe.Offsetof(BSDInfo{}.PGID), 100},
		{"pbi_pjobc", unsafe.Offsetof(BSDInfo{}.Jobc), 104},
		{"e_tdev", unsafe.Offsetof(BSDInfo{}.TTY), 108},
		{"e_tpgid", unsafe.Offsetof(BSDInfo{}.TTYPgrp), 112},
		{"pbi_nice", unsafe.Offsetof(BSDInfo{}.Nice), 116},
		{"pbi_start_tvsec", unsafe.Offsetof(BSDInfo{}.StartSeconds), 120},
		{"pbi_start_tvusec", unsafe.Offsetof(BSDInfo{}.StartMicroseconds), 128},
		{"struct proc_taskinfo", unsafe.Sizeof(TaskInfo{}), 96},
		{"pti_virtual_size", unsafe.Offsetof(TaskInfo{}.Virtual), 0},
		{"pti_resident_size", unsafe.Offsetof(TaskInfo{}.Resident), 8},
		{"pti_total_user", unsafe.Offsetof(TaskInfo{}.User), 16},
		{"pti_total_system", unsafe.Offsetof(TaskInfo{}.System), 24},
		{"pti_threads_user", unsafe.Offsetof(TaskInfo{}.ThreadsUser), 32},
		{"pti_threads_system", unsafe.Offsetof(TaskInfo{}.ThreadsSystem), 40},
		{"pti_policy", unsafe.Offsetof(TaskInfo{}.Policy), 48},
		{"pti_faults", unsafe.Offsetof(TaskInfo{}.Faults), 52},
		{"pti_pageins", unsafe.Offsetof(TaskInfo{}.Pageins), 56},
		{"pti_cow_faults", unsafe.Offsetof(TaskInfo{}.COWFaults), 60},
		{"pti_messages_sent", unsafe.Offsetof(TaskInfo{}.MessagesSent), 64},
		{"pti_messages_received", unsafe.Offsetof(TaskInfo{}.MessagesReceived), 68},
		{"pti_syscalls_mach", unsafe.Offsetof(TaskInfo{}.SyscallsMach), 72},
		{"pti_syscalls_unix", unsafe.Offsetof(TaskInfo{}.SyscallsUnix), 76},
		{"pti_csw", unsafe.Offsetof(TaskInfo{}.ContextSwitches), 80},
		{"pti_threadnum", unsafe.Offsetof(TaskInfo{}.Threads), 84},
		{"pti_numrunning", unsafe.Offsetof(TaskInfo{}.Running), 88},
		{"pti_priority", unsafe.Offsetof(TaskInfo{}.Priority), 92},
		{"struct rusage_info_v2", sizeV2, 160},
		{"struct rusage_info_v4", unsafe.Sizeof(Rusage{}), 296},
		{"ri_uuid", unsafe.Offsetof(Rusage{}.UUID), 0},
		{"ri_user_time", unsafe.Offsetof(Rusage{}.UserTime), 16},
		{"ri_system_time", unsafe.Offsetof(Rusage{}.SystemTime), 24},
		{"ri_pkg_idle_wkups", unsafe.Offsetof(Rusage{}.PkgIdleWakeups), 32},
		{"ri_interrupt_wkups", unsafe.Offsetof(Rusage{}.InterruptWakeups), 40},
		{"ri_pageins", unsafe.Offsetof(Rusage{}.Pageins), 48},
		{"ri_wired_size", unsafe.Offsetof(Rusage{}.Wired), 56},
		{"ri_resident_size", unsafe.Offsetof(Rusage{}.Resident), 64},
		{"ri_phys_footprint", unsafe.Offsetof(Rusage{}.Footprint), 72},
		{"ri_proc_start_abstime", unsafe.Offsetof(Rusage{}.Start), 80},
		{"ri_proc_exit_abstime", unsafe.Offsetof(Rusage{}.Exit), 88},
		{"ri_child_user_time", unsafe.Offsetof(Rusage{}.ChildUserTime), 96},
		{"ri_child_system_time", unsafe.Offsetof(Rusage{}.ChildSystemTime), 104},
		{"ri_child_pkg_idle_wkups", unsafe.Offsetof(Rusage{}.ChildPkgIdleWakeups), 112},
		{"ri_child_interrupt_wkups", unsafe.Offsetof(Rusage{}.ChildInterruptWakeups), 120},
		{"ri_child_pageins", unsafe.Offsetof(Rusage{}.ChildPageins), 128},
		{"ri_child_elapsed_abstime", unsafe.Offsetof(Rusage{}.ChildElapsed), 136},
		{"ri_diskio_bytesread", unsafe.Offsetof(Rusage{}.DiskRead), 144},
		{"ri_diskio_byteswritten", unsafe.Offsetof(Rusage{}.DiskWritten), 152},
		{"ri_cpu_time_qos_default", unsafe.Offsetof(Rusage{}.QOS), 160},
		{"ri_billed_system_time", unsafe.Offsetof(Rusage{}.BilledSystem), 216},
		{"ri_serviced_system_time", unsafe.Offsetof(Rusage{}.ServicedSystem), 224},
		{"ri_logical_writes", unsafe.Offsetof(Rusage{}.LogicalWrites), 232},
		{"ri_lifetime_max_phys_footprint", unsafe.Offsetof(Rusage{}.MaxFootprint), 240},
		{"ri_instructions", unsafe.Offsetof(Rusage{}.Instructions), 248},
		{"ri_cycles", unsafe.Offsetof(Rusage{}.Cycles), 256},
		{"ri_billed_energy", unsafe.Offsetof(Rusage{}.BilledEnergy), 264},
		{"ri_serviced_energy", unsafe.Offsetof(Rusage{}.ServicedEnergy), 272},
		{"ri_interval_max_phys_footprint", unsafe.Offsetof(Rusage{}.IntervalMaximum), 280},
		{"ri_runnable_time", unsafe.Offsetof(Rusage{}.Runnable), 288},
	} {
		if f.got != f.want {
			t.Errorf("%s: %d, want %d", f.name, f.got, f.want)
		}
	}
}

// structure makes a structure of n bytes with some values in it, by offset.
func structure(n int, values map[int]uint64) []byte {
	b := make([]byte, n)
	for at, v := range values {
		binary.LittleEndian.PutUint64(b[at:], v)
	}
	return b
}

func TestParseRusage(t *testing.T) {
	values := map[int]uint64{64: 1, 72: 2, 80: 3, 88: 4, 152: 5}
	r, err := ParseRusage(structure(160, values))
	if want := (Rusage{Resident: 1, Footprint: 2, Start: 3, Exit: 4, DiskWritten: 5}); err != nil || r != want {
		t.Errorf("version 2: %+v, %v; want %+v", r, err, want)
	}
	values[240], values[288] = 6, math.MaxUint64
	r, err = ParseRusage(structure(296, values))
	if want := (Rusage{Resident: 1, Footprint: 2, Start: 3, Exit: 4, DiskWritten: 5, MaxFootprint: 6, Runnable: math.MaxUint64}); err != nil || r != want {
		t.Errorf("version 4: %+v, %v; want %+v", r, err, want)
	}
	for _, n := range []int{0, 159, 161, 295, 297} {
		if _, err := ParseRusage(make([]byte, n)); err == nil {
			t.Errorf("%d bytes were accepted", n)
		}
	}
}

func TestParseBSDInfo(t *testing.T) {
	b := structure(136, map[int]uint64{4: Zombie | 137<<32, 12: 4711 | 1<<32, 100: 4700, 120: 1700000000, 128: 999999})
	copy(b[48:], "a-long-name-cut")
	i, err := ParseBSDInfo(b)
	if err != nil || i.Status != Zombie || i.XStatus != 137 || i.PID != 4711 || i.PPID != 1 || i.PGID != 4700 || i.StartSeconds != 1700000000 || i.StartMicroseconds != 999999 {
		t.Errorf("%+v, %v", i, err)
	}
	if got := i.Command(); got != "a-long-name-cut" {
		t.Errorf("without a name: %q", got)
	}
	copy(b[64:], "a-long-name-in-full")
	if i, _ := ParseBSDInfo(b); i.Command() != "a-long-name-in-full" {
		t.Errorf("with a name: %q", i.Command())
	}
	if _, err := ParseBSDInfo(b[:135]); err == nil {
		t.Error("135 bytes were accepted")
	}
}

func TestParseTaskInfo(t *testing.T) {
	if i, err := ParseTaskInfo(structure(96, map[int]uint64{8: 1 << 30, 80: 7 << 32})); err != nil || i.Resident != 1<<30 || i.Threads != 7 {
		t.Errorf("%+v, %v", i, err)
	}
}

func args(argc uint32, text string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, argc), text...)
}

func TestParseArgs(t *testing.T) {
	for _, c := range []struct {
		name      string
		in        []byte
		args, env string // separated by |
	}{
		{"all", args(2, "/bin/sh\x00\x00\x00\x00sh\x00-c\x00A=1\x00B=\x00\x00ptr_munge=\x00"), "sh|-c", "A=1|B="},
		{"an empty argument", args(3, "/x\x00\x00x\x00\x00y\x00A=1\x00"), "x||y", "A=1"},
		{"a protected program", args(1, "/usr/bin/top\x00\x00\x00top\x00"), "top", ""},
		{"cut off", args(1, "/x\x00x\x00A=1\x00B=2"), "x", "A=1"},
		{"fewer than said", args(5, "/x\x00x\x00"), "x", ""},
		{"none", args(0, "/x\x00\x00"), "", ""},
	} {
		path, got, env, err := ParseArgs(c.in)
		if err != nil || path == "" || strings.Join(got, "|") != c.args || strings.Join(env, "|") != c.env {
			t.Errorf("%s: %q, %q, %q, %v", c.name, path, got, env, err)
		}
	}
	for _, in := range [][]byte{nil, {1, 0, 0}, args(1, "no end"), args(1<<31, "/x\x00")} {
		if _, _, _, err := ParseArgs(in); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
}

func FuzzParseArgs(f *testing.F) {
	f.Add(args(2, "/bin/sh\x00\x00sh\x00-c\x00A=1\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path, args, env, err := ParseArgs(b)
		if err != nil {
			return
		}
		n := len(path)
		for _, s := range slices.Concat(args, env) {
			if !bytes.Contains(b, []byte(s)) {
				t.Errorf("%q is not in what was read", s)
			}
			n += len(s) + 1
		}
		if n > len(b) {
			t.Errorf("%d bytes of %d", n, len(b))
		}
	})
}

func TestScale(t *testing.T) {
	for _, c := range []struct {
		t    uint64
		n, d uint32
		want uint64
	}{
		{24, 125, 3, 1000}, // Apple silicon: 24 MHz
		{1000, 1, 1, 1000},
		{math.MaxUint64 / 100, 125, 3, math.MaxUint64 / 100 / 3 * 125},
		{math.MaxUint64, 125, 3, math.MaxUint64},
		{0, 125, 3, 0},
	} {
		if got := scale(c.t, c.n, c.d); got < c.want-c.want/1e6 || got > c.want+c.want/1e6 && c.want < math.MaxUint64/2 {
			t.Errorf("%d * %d / %d: %d, want about %d", c.t, c.n, c.d, got, c.want)
		}
	}
}

// TestImports links the package for macOS, and looks whether the binary asks libSystem for the functions by the names of <libproc.h>.
func TestImports(t *testing.T) {
	for _, arch := range []string{"arm64", "amd64"} {
		file := filepath.Join(t.TempDir(), arch)
		c := exec.Command("go", "test", "-c", "-o", file, ".")
		c.Env = append(os.Environ(), "GOOS=darwin", "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", arch, err, out)
		}
		f, err := macho.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		symbols, err := f.ImportedSymbols()
		libraries, _ := f.ImportedLibraries()
		for _, name := range []string{"_proc_pidinfo", "_proc_listpids", "_proc_pid_rusage", "_mach_timebase_info"} {
			if !slices.Contains(symbols, name) {
				t.Errorf("%s: %s is not among the %d symbols that are imported (%v)", arch, name, len(symbols), err)
			}
		}
		if !slices.Contains(libraries, "/usr/lib/libSystem.B.dylib") {
			t.Errorf("%s: libraries %q", arch, libraries)
		}
	}
}
