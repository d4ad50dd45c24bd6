package bundle

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func resources(members string) string { return config(`"linux": {"resources": {` + members + `}}`) }

func ptr(n int64) *int64 { return &n }

func TestResources(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		data string
		want Resources
	}{
		{``, Resources{}},
		{`"pids": {"limit": -1}, "cpu": {"quota": -1, "shares": 0, "idle": 0, "period": 0}`, Resources{Period: 100 * ms}},
		{`"pids": {"limit": 0}`, Resources{Pids: ptr(0), PidsPath: "linux.resources.pids.limit"}},
		{`"pids": {"limit": 30}, "cpu": {"quota": 50000, "period": 20000, "cpus": "0-1,3", "mems": "0"}, "blockIO": {"weight": 500}`, Resources{
			Pids: ptr(30), PidsPath: "linux.resources.pids.limit", Quota: 50 * ms, Period: 20 * ms, QuotaPath: "linux.resources.cpu.quota",
			CPUs: []int{0, 1, 3}, Mems: []int{0}, IOWeight: 500,
		}},
		{`"cpu": {"shares": 512, "idle": 1}`, Resources{Period: 100 * ms, Weight: 50, WeightPath: "linux.resources.cpu.shares", Idle: true}},
		{`"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}, {"pageSize": "1GB", "limit": 0}, {"pageSize": "64KB", "limit": 18446744073709551615}]`, Resources{
			HugePages: []HugePages{{2 << 20, 4 << 20}, {1 << 30, 0}, {64 << 10, 1<<63 - 1}},
		}},
		{`"unified": {"pids.max": "7", "cpu.max": "25000 50000", "cpu.weight": "100"}`, Resources{
			Pids: ptr(7), PidsPath: `linux.resources.unified["pids.max"]`, Quota: 25 * ms, Period: 50 * ms, QuotaPath: `linux.resources.unified["cpu.max"]`,
			Weight: 100, WeightPath: `linux.resources.unified["cpu.weight"]`,
		}},
		{`"unified": {"pids.max": "max", "cpu.max": "max 50000"}`, Resources{}},
		{`"unified": {"cpu.max": "5000"}, "pids": {"limit": 3}, "unified": {"pids.max": "3", "cpu.max": "5000"}`, Resources{
			Pids: ptr(3), PidsPath: "linux.resources.pids.limit", Quota: 5 * ms, Period: 100 * ms, QuotaPath: `linux.resources.unified["cpu.max"]`,
		}},
	} {
		b, err := Parse([]byte(resources(test.data)), "/", "c", Options{})
		if err != nil {
			t.Errorf("%s: %v", test.data, err)
			continue
		}
		if diff := cmp.Diff(test.want, b.Resources); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.data, diff)
		}
	}
}

func TestUnifiedMemory(t *testing.T) {
	for _, test := range []struct {
		data             string
		limit, high, swp int64
	}{
		{`"unified": {"memory.max": "64M", "memory.high": "32M", "memory.swap.max": "0"}`, 64 << 20, 32 << 20, 64 << 20},
		{`"unified": {"memory.swap.max": "1048576", "memory.max": "1k"}`, 1024, -1, 1<<20 + 1024},
		{`"unified": {"memory.max": "max", "memory.high": "max", "memory.swap.max": "max"}`, -1, -1, -1},
		{`"memory": {"limit": 100}, "unified": {"memory.max": "100"}`, 100, -1, -1},
		{`"memory": {"limit": 100}, "unified": {"memory.swap.max": "5"}`, 100, -1, 105},
	} {
		b, err := Parse([]byte(resources(test.data)), "/", "c", Options{})
		if err != nil {
			t.Errorf("%s: %v", test.data, err)
			continue
		}
		if b.MemoryLimit != test.limit || b.MemoryReservation != test.high || b.MemorySwap != test.swp {
			t.Errorf("%s: %d, %d, %d", test.data, b.MemoryLimit, b.MemoryReservation, b.MemorySwap)
		}
	}
}

func TestBadResources(t *testing.T) {
	const r = "linux.resources."
	wantList := "want numbers and ranges of numbers with commas between, such as 0-3,7"
	for _, test := range []struct {
		data string
		want []string
	}{
		{`"pids": {"limit": -2}`, []string{r + "pids.limit: found -2, want an integer from 0 on, or -1 for unlimited"}},
		{`"pids": {"limit": "5"}`, []string{r + `pids.limit: found "5", want an integer from 0 on, or -1 for unlimited`}},
		{`"cpu": {"shares": 1, "quota": 999, "period": 999, "idle": 2, "cpus": "3-1", "mems": "x"}`, []string{
			r + "cpu.shares: found 1, want an integer from 2 to 262144, or 0 for none",
			r + "cpu.period: found 999, want an integer number of microseconds from 1000 to 1000000",
			r + "cpu.quota: found 999, want an integer number of microseconds from 1000 on, or -1 for unlimited",
			r + "cpu.idle: found 2, want 0 or 1",
			r + `cpu.cpus: found "3-1", ` + wantList,
			r + `cpu.mems: found "x", ` + wantList,
		}},
		{`"cpu": {"quota": -5, "period": 18446744073709551615}`, []string{
			r + "cpu.period: found 18446744073709551615, want an integer number of microseconds from 1000 to 1000000",
			r + "cpu.quota: found -5, want an integer number of microseconds from 1000 on, or -1 for unlimited",
		}},
		{`"blockIO": {"weight": 9}`, []string{r + "blockIO.weight: found 9, want an integer from 10 to 1000, or 0 for none"}},
		{`"hugepageLimits": [{"pageSize": "2M", "limit": 1}, {"pageSize": "2MB"}, {"limit": 3}, {"pageSize": "1KB", "limit": 1}, {"pageSize": "1KB", "limit": 1}]`, []string{
			r + `hugepageLimits[0].pageSize: found "2M", want a size of huge pages such as 2MB or 1GB, each once`,
			r + "hugepageLimits[1].limit: found nothing, want an integer number of bytes from 0 on",
			r + "hugepageLimits[2].pageSize: found nothing, want a size of huge pages such as 2MB or 1GB, each once",
			r + `hugepageLimits[4].pageSize: found "1KB", want a size of huge pages such as 2MB or 1GB, each once`,
		}},
		{`"unified": {"pids.max": "-1", "memory.max": "0", "memory.high": "5T5", "cpu.max": "10", "cpu.weight": "0", "io.max": "x", "pids.maxx": 5}`, []string{
			r + `unified["pids.maxx"]: found 5, want a string`,
			r + `unified["pids.max"]: found "-1", want a number from 0 on in a string, or "max"`,
			r + `unified["memory.max"]: found "0", want a number of bytes in a string, or "max"`,
			r + `unified["memory.high"]: found "5T5", want a number of bytes in a string, or "max"`,
			r + `unified["cpu.max"]: found "10", want a quota from 1000 on or "max", and a period from 1000 to 1000000, both in microseconds, such as "50000 100000"`,
			r + `unified["cpu.weight"]: found "0", want a number from 1 to 10000, in a string`,
			r + `unified["io.max"] "x": not supported: mlrun uses no cgroups; it knows ` + unifiedKeys + "; remove it, or pass --ignore-unsupported",
		}},
		{`"unified": {"memory.swap.max": "5"}`, []string{r + `unified["memory.swap.max"]: found "5", want a memory.max beside it`}},
		{`"unified": {"memory.max": "8E"}`, []string{r + `unified["memory.max"]: found "8E", want a number of bytes in a string, or "max"`}},
		{`"unified": {"memory.max": "9223372036854775807k"}`, []string{r + `unified["memory.max"]: found "9223372036854775807k", want a number of bytes in a string, or "max"`}},
		{`"memory": {"limit": 5}, "pids": {"limit": 5}, "cpu": {"quota": 5000, "shares": 2}, "unified": {"memory.max": "6", "pids.max": "6", "cpu.max": "6000", "cpu.weight": "5"}`, []string{
			r + `unified["memory.max"]: found "6", want the same as linux.resources.memory.limit, 5, or only one of both`,
			r + `unified["pids.max"]: found "6", want the same as linux.resources.pids.limit, 5, or only one of both`,
			r + `unified["cpu.max"]: found "6000", want the same as linux.resources.cpu.quota and period, or only one of both`,
			r + `unified["cpu.weight"]: found "5", want no linux.resources.cpu.shares or idle beside it: they say the same`,
		}},
		{`"memory": {"reservation": 50}, "unified": {"memory.max": "6"}`, []string{r + `unified["memory.max"]: found "6", want at least linux.resources.memory.reservation, 50`}},
		{`"memory": {"limit": 50}, "unified": {"memory.high": "60"}`, []string{r + `unified["memory.high"]: found "60", want at most the memory limit, 50`}},
	} {
		if diff := cmp.Diff(test.want, problems(t, resources(test.data))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.data, diff)
		}
	}
	data := `{"ociVersion": "1.3.0", "process": {"args": ["a"], "cwd": "/", "scheduler": {"policy": "SCHED_OTHER"}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}},
		"linux": {"memoryPolicy": {"mode": "MPOL_DEFAULT"}, "resources": {"cpu": {"shares": 5, "mems": "0"}, "blockIO": {"weight": 50}}}}`
	want := []string{
		r + "cpu.shares: found 5, want no process.scheduler beside it: without cgroups it is one",
		r + `cpu.mems: found "0", want no linux.memoryPolicy beside it: without cgroups it is one`,
		r + "blockIO.weight: found 50, want no process.ioPriority beside it: without cgroups it is one",
	}
	if diff := cmp.Diff(want, problems(t, data)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTimeSettings(t *testing.T) {
	b, err := Parse([]byte(config(`"annotations": {"dev.mlrun.cpu.time": "2", "dev.mlrun.wall.time": "1h30m", "dev.mlrun.hang.time": "10ms", "dev.mlrun.pids.mode": "sampled"}`)), "/", "c", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Settings{CPUTime: 2 * time.Second, WallTime: 90 * time.Minute, HangTime: 10 * time.Millisecond, PidsMode: PidsSampled}); b.Settings != want {
		t.Errorf("got %+v, want %+v", b.Settings, want)
	}
	want := []string{
		`annotations["dev.mlrun.cpu.time"]: found "0", want a string: ` + wantTime,
		`annotations["dev.mlrun.wall.time"]: found "9ms", want a string: ` + wantTime,
		`annotations["dev.mlrun.hang.time"]: found "8761h", want a string: ` + wantTime,
		`annotations["dev.mlrun.pids.mode"]: found "cgroup", want a string: ` + wantPidsMode,
	}
	if diff := cmp.Diff(want, problems(t, config(`"annotations": {"dev.mlrun.cpu.time": "0", "dev.mlrun.wall.time": "9ms", "dev.mlrun.hang.time": "8761h", "dev.mlrun.pids.mode": "cgroup"}`))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
