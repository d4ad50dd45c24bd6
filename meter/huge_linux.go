package meter

import (
	"bytes"
	"os"
	"slices"
	"strconv"

	"mlrun/proc"
)

// HugePages is the memory of processes in huge pages (hugetlbfs, MAP_HUGETLB) of these sizes, in bytes. Pages that several of them share
// count for each. Most processes have none, which the HugetlbPages line of /proc/PID/status (Linux 4.4) tells.
func HugePages(fs proc.FS, ids []proc.ID, sizes []int64) []int64 {
	sums := make([]int64, len(sizes))
	for _, id := range ids {
		dir := string(fs) + "/" + strconv.Itoa(id.PID)
		if b, err := os.ReadFile(dir + "/status"); err != nil || field(b, "HugetlbPages:") == 0 {
			continue
		}
		if b, err := os.ReadFile(dir + "/smaps"); err == nil {
			addHugePages(sums, sizes, b)
		}
	}
	return sums
}

// addHugePages adds what mappings of /proc/PID/smaps have. In each of them KernelPageSize comes before.
func addHugePages(sums, sizes []int64, smaps []byte) {
	which := -1
	for line := range bytes.Lines(smaps) {
		if bytes.HasPrefix(line, []byte("KernelPageSize:")) {
			which = slices.Index(sizes, field(line, "KernelPageSize:"))
		}
		if which >= 0 {
			sums[which] += field(line, "Shared_Hugetlb:") + field(line, "Private_Hugetlb:")
		}
	}
}
