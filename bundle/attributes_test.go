package bundle

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAttributes(t *testing.T) {
	for data, want := range map[string]string{
		process(`"scheduler": {"policy": "SCHED_BATCH", "nice": 19, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}`): "",
		process(`"scheduler": {"policy": "SCHED_RR", "priority": 99}`):                                       "",
		process(`"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}`):       "",
		process(`"scheduler": {}`):                                                                                         "process.scheduler.policy: found nothing, want one of",
		process(`"scheduler": {"policy": "SCHED_OTHER", "nice": 20}`):                                                      "process.scheduler.nice: found 20, want an integer from -20 to 19",
		process(`"scheduler": {"policy": "SCHED_FIFO", "nice": 1, "priority": 1}`):                                         "process.scheduler.nice: found 1, want 0, or one of the policies",
		process(`"scheduler": {"policy": "SCHED_FIFO"}`):                                                                   "process.scheduler.priority: found nothing, want an integer from 1 to 99",
		process(`"scheduler": {"policy": "SCHED_IDLE", "priority": 1}`):                                                    "process.scheduler.priority: found 1, want 0, or one of",
		process(`"scheduler": {"policy": "SCHED_OTHER", "period": 1}`):                                                     "process.scheduler.period: found 1, want 0, or the policy SCHED_DEADLINE",
		process(`"scheduler": {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RECLAIM", "X"]}`):                            `process.scheduler.flags[1]: found "X", want one of the flags`,
		process(`"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 7}`):                                               "",
		process(`"ioPriority": {"class": "RT", "priority": 7}`):                                                            `process.ioPriority.class: found "RT", want one of`,
		process(`"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": -1}`):                                              "process.ioPriority.priority: found -1, want",
		process(`"execCPUAffinity": {"initial": "0-3,7", "final": "1"}`):                                                   "",
		process(`"execCPUAffinity": {"final": "1,"}`):                                                                      `process.execCPUAffinity.final: found "1,", want numbers`,
		process(`"execCPUAffinity": {"final": "8192"}`):                                                                    `process.execCPUAffinity.final: found "8192", want numbers`,
		config(`"linux": {"personality": {"domain": "LINUX32"}}`):                                                          "",
		config(`"linux": {"personality": {"domain": "LINUX", "flags": ["X"]}}`):                                            `linux.personality.flags[0]: found "X", want nothing`,
		config(`"linux": {"memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]}}`): "",
		config(`"linux": {"memoryPolicy": {"mode": "MPOL_PREFERRED"}}`):                                                    "",
		config(`"linux": {"memoryPolicy": {"mode": "MPOL_BIND"}}`):                                                         "linux.memoryPolicy.nodes: found nothing, want NUMA nodes",
		config(`"linux": {"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "1"}}`):                                          `linux.memoryPolicy.nodes: found "1", want "": MPOL_LOCAL takes none`,
		config(`"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["X"]}}`):                           `linux.memoryPolicy.flags[0]: found "X", want one of`,
		config(`"linux": {"namespaces": [{"type": "network"}]}`):                                                           `linux.namespaces[0].type "network": not supported`,
		config(`"linux": {"namespaces": [{"type": "network", "path": "/somewhere"}]}`):                                     "", // Load has compared it
		config(`"root": {"path": "\/a"}, "hostname": "a\/b\\/c"`):                                                          `hostname "a/b\\/c": not supported`,
	} {
		_, err := Parse([]byte(data), "/", "config.json", Options{})
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", data, err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), "config.json: "+want)):
			t.Errorf("%s: got %v, want %s", data, err, want)
		}
	}
}

func TestParseList(t *testing.T) {
	for text, want := range map[string][]int{"0": {0}, "0-2,5": {0, 1, 2, 5}, "7,1-1": {7, 1}} {
		if got, err := ParseList(text, 7); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "8", "-1", "1-", "2-1", "0,,1", " 1", "0x1", strings.Repeat("0-7,", 3) + "1"} {
		if got, err := ParseList(text, 7); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
