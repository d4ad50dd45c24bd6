package meter

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// sysHuge is where transparent huge pages are set up (Documentation/admin-guide/mm/transhuge.rst).
const sysHuge = "/sys/kernel/mm/transparent_hugepage"

// counters is what /proc/PID/stat has beside the sizes.
type counters struct {
	state   byte
	parent  int
	threads int
	faults  int64 // minor and major: a fault is counted as one of them (mm_account_fault)
	waited  int64 // those of children that were waited for
}

// stopped tells whether the process is stopped by a signal or a tracer.
func (c counters) stopped() bool { return c.state == 'T' || c.state == 't' }

// count reads the counters of e. false: it is gone.
func (m *Meter) count(e *entry) bool {
	b, err := m.read(e.path + "/stat")
	if err != nil {
		return false
	}
	c, start, ok := parseStat(b)
	if !ok || start != e.Start {
		return false
	}
	e.stat = c
	return true
}

// parseStat parses /proc/PID/stat (proc_pid_stat(5)): fields 3, 4, 10 to 13, 20 and 22.
func parseStat(b []byte) (c counters, start uint64, ok bool) {
	rest := b[bytes.LastIndexByte(b, ')')+1:]
	for n := 3; n <= 22; n++ {
		rest = bytes.TrimLeft(rest, " ")
		i := bytes.IndexAny(rest, " \n")
		if i < 0 {
			i = len(rest)
		}
		if i == 0 {
			return c, 0, false
		}
		v := number(rest[:i])
		switch n {
		case 3:
			c.state = rest[0]
		case 4:
			c.parent = int(v)
		case 10, 12:
			c.faults += v
		case 11, 13:
			c.waited += v
		case 20:
			c.threads = int(v)
		case 22:
			start = uint64(v)
		}
		rest = rest[i:]
	}
	return c, start, true
}

// number parses the decimal number that b begins with, without allocating.
func number(b []byte) (n int64) {
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// since is what happened after then, when swapped bytes were out.
func (e events) since(then events, swapped int64) events {
	return events{e.faulted - then.faulted, e.collapsed - then.collapsed, swapped + e.swapped - then.swapped}
}

// events reads the counters of the machine; swapped is what went out. Without huge pages nothing needs them.
func (m *Meter) events() (e events) {
	if m.unit.huge == 0 {
		return e
	}
	b, err := m.read(string(m.fs) + "/vmstat")
	if err != nil {
		return e
	}
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			i = len(b)
		}
		name, value, _ := bytes.Cut(b[:i], []byte(" "))
		switch string(name) {
		case "thp_fault_alloc", "thp_file_mapped":
			e.faulted += number(value)
		case "thp_collapse_alloc":
			e.collapsed = number(value)
		case "pswpout", "zswpout", "swpout_zero": // to a device, to zswap, and pages of zeros (Linux 6.12)
			e.swapped += number(value) * m.page
		}
		b = b[min(i+1, len(b)):]
	}
	return e
}

// unitsOf reads what one page fault may bring.
func unitsOf(dir string, page int64) units {
	u := units{anon: page, file: max(64<<10, page), lag: lag(page)}
	// do_fault_around: 64 KiB unless debugfs, which only root reads, says otherwise.
	if b, err := os.ReadFile("/sys/kernel/debug/fault_around_bytes"); err == nil {
		u.file = max(number(b), page)
	}
	on := setting(dir+"/enabled") != "never"
	shmem := setting(dir + "/shmem_enabled")
	if b, err := os.ReadFile(dir + "/hpage_pmd_size"); err == nil && (on || shmem != "never" && shmem != "deny") {
		u.huge = number(b)
	}
	// Folios between a page and a huge page: anonymous ones since Linux 6.8, of shared memory since 6.11.
	sizes, _ := filepath.Glob(dir + "/hugepages-*kB")
	for _, d := range sizes {
		_, name, _ := bytes.Cut([]byte(filepath.Base(d)), []byte("-"))
		size := number(name) << 10
		if s := setting(d + "/enabled"); size != u.huge && (s == "inherit" && on || s == "always" || s == "madvise") {
			u.anon = max(u.anon, size)
		}
		if s := setting(d + "/shmem_enabled"); s != "" && s != "never" && (s != "inherit" || shmem != "never" && shmem != "deny") {
			u.file = max(u.file, size)
		}
	}
	// Files in tmpfs mounted with huge=; and since Linux 6.18 files of any kind, whole folios (commits 19773df031bc, 357b92761d94).
	if b, err := os.ReadFile("/proc/self/mounts"); release(6, 18) || err != nil || bytes.Contains(b, []byte(",huge=")) {
		u.file = max(u.file, page/8*page) // what one page table maps
	}
	return u
}

// lag is by how much a resident size may be off, in bytes. They are percpu counters since Linux 6.2: each CPU holds back up to
// max(32, 2 x CPUs) pages of a process. (Before, each thread held back up to 64 page faults; since 6.17 statm adds them up, commit
// 82241a83cd15.) The worst case of machines with many CPUs does not happen.
func lag(page int64) int64 {
	if release(6, 17) {
		return 0
	}
	cpus := int64(runtime.NumCPU())
	return min(cpus*max(32, 2*cpus)*page, 8<<20)
}

// setting is the word in brackets of a file like "always [madvise] never"; "never" when there is no such file.
func setting(path string) string {
	b, err := os.ReadFile(path)
	_, b, found := bytes.Cut(b, []byte("["))
	if word, _, end := bytes.Cut(b, []byte("]")); err == nil && found && end {
		return string(word)
	}
	return "never"
}

// release tells whether the kernel is at least major.minor.
func release(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	a, b, _ := bytes.Cut([]byte(unix.ByteSliceToString(u.Release[:])), []byte("."))
	x, err := strconv.Atoi(string(a))
	y := int(number(b))
	return err == nil && (x > major || x == major && y >= minor)
}
