package bundle

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseUpdate(t *testing.T) {
	const ms = time.Millisecond
	weight := func(w float64) *float64 { return &w }
	d := func(d time.Duration) *time.Duration { return &d }
	yes, no, io := true, false, 500
	for _, test := range []struct {
		data string
		want Update
	}{
		{`{}`, Update{}},
		// What Docker sends when nothing of it changes.
		{`{"memory": {"limit": 0, "reservation": 0, "swap": 0, "checkBeforeUpdate": false}, "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}, "pids": {"limit": 0},
			"blockIO": {"weight": 0}, "devices": [{"allow": false, "access": "rwm"}]}`, Update{}},
		{`{"memory": {"limit": 100, "reservation": -1, "swap": 200, "checkBeforeUpdate": true}, "pids": {"limit": -1}}`,
			Update{Memory: ptr(100), Reservation: ptr(-1), Swap: ptr(200), Check: true, Pids: ptr(-1)}},
		{`{"cpu": {"quota": 50000, "period": 20000, "shares": 512, "cpus": "0,2-3", "idle": 1}, "blockIO": {"weight": 500}}`,
			Update{Quota: d(50 * ms), Period: d(20 * ms), Weight: weight(50), CPUs: []int{0, 2, 3}, Idle: &yes, IOWeight: &io}},
		{`{"cpu": {"quota": -1, "idle": 0}}`, Update{Quota: d(-1), Idle: &no}},
		{`{"cpu": {"period": 50000}}`, Update{Period: d(50 * ms)}},
		{`{"unified": {"memory.max": "1k", "memory.high": "max", "memory.swap.max": "1k", "pids.max": "5", "cpu.max": "5000 50000", "cpu.weight": "50"}}`,
			Update{Memory: ptr(1024), Reservation: ptr(-1), Swap: ptr(2048), Pids: ptr(5), Quota: d(5 * ms), Period: d(50 * ms), Weight: weight(50)}},
		{`{"unified": {"memory.max": "max", "pids.max": "max", "cpu.max": "max 100000"}}`, Update{Memory: ptr(-1), Pids: ptr(-1), Quota: d(-1)}},
		{`{"memory": {"limit": 100}, "unified": {"memory.max": "100"}, "what the spec does not know": 5}`, Update{Memory: ptr(100)}},
	} {
		u, err := ParseUpdate([]byte(test.data), "f")
		if err != nil {
			t.Errorf("%s: %v", test.data, err)
			continue
		}
		if diff := cmp.Diff(test.want, *u); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.data, diff)
		}
		if u.Empty() != (cmp.Diff(Update{Check: u.Check}, *u) == "") {
			t.Errorf("%s: empty %v", test.data, u.Empty())
		}
	}
}

func TestBadUpdate(t *testing.T) {
	const noCgroup = "want nothing there: mlrun uses no cgroups"
	for _, test := range []struct {
		data string
		want []string
	}{
		{``, []string{"found no data, want a JSON object"}},
		{`[]`, []string{"found [], want a JSON object"}},
		{`{"cpu": `, []string{`line 1, column 9: found the end of the file, want a value`}},
		{`{}}`, []string{`line 1, column 3: found '}', want nothing after the JSON value`}},
		{`{"memory": {"limit": -2}, "cpu": {"shares": 1, "quota": -5, "period": 1, "idle": 2, "cpus": "x"}, "pids": {"limit": -2}, "blockIO": {"weight": 1}}`, []string{
			`memory.limit: found -2, want an integer number of bytes, -1 for unlimited, or 0 to leave it`,
			`pids.limit: found -2, want an integer from 0 on, or -1 for unlimited`,
			`cpu.shares: found 1, want an integer from 2 to 262144, or 0 for none`,
			`cpu.period: found 1, want an integer number of microseconds from 1000 to 1000000`,
			`cpu.quota: found -5, want an integer number of microseconds from 1000 on, or -1 for unlimited`,
			`cpu.idle: found 2, want 0 or 1`,
			`cpu.cpus: found "x", want numbers and ranges of numbers with commas between, such as 0-3,7`,
			`blockIO.weight: found 1, want an integer from 10 to 1000, or 0 for none`,
		}},
		{`{"cpu": {"shares": "5"}}`, []string{`cpu.shares: found "5", want an integer from 2 to 262144, or 0 for none`}},
		{`{"memory": {"limit": 18446744073709551616}}`, []string{`memory.limit: found 18446744073709551616, want an integer number of bytes greater than 0, or -1 for unlimited`}},
		{`{"cpu": {"mems": "0", "burst": 5, "realtimeRuntime": 5}, "memory": {"swappiness": 5, "disableOOMKiller": true}, "hugepageLimits": [{"pageSize": "2MB", "limit": 0}], "rdma": {"x": {"hcaHandles": 1}}, "network": {"classID": 5}}`, []string{
			`memory.disableOOMKiller: found true, want nothing there: it is what it was when the container was created`,
			`cpu.mems: found "0", want nothing there: a process can change its memory policy only by itself`,
			`hugepageLimits: found [{"pageSize":"2MB","limit":0}], want nothing there: it is what it was when the container was created`,
			`rdma["x"]: found {"hcaHandles":1}, ` + noCgroup,
			`memory.swappiness: found 5, ` + noCgroup,
			`cpu.burst: found 5, ` + noCgroup + `; quota and period are held without it`,
			`cpu.realtimeRuntime: found 5, ` + noCgroup,
			`network.classID: found 5, ` + noCgroup,
		}},
		{`{"unified": {"io.max": "x"}}`, []string{`unified["io.max"]: found "x", ` + noCgroup + `; it knows ` + unifiedKeys}},
		{`{"memory": {"limit": 100}, "unified": {"memory.max": "200"}}`, []string{`unified["memory.max"]: found "200", want the same as linux.resources.memory.limit, 100, or only one of both`}},
	} {
		_, err := ParseUpdate([]byte(test.data), "f")
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", test.data, err)
			continue
		}
		var got []string
		for _, p := range e.Problems {
			got = append(got, p.String())
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.data, diff)
		}
	}
}
