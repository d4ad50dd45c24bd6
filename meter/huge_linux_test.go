package meter

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mlrun/proc"
)

func TestHugePages(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"7/status": "Name:\tx\nHugetlbPages:\t    6144 kB\n", "8/status": "Name:\ty\nHugetlbPages:\t       0 kB\n",
		"7/smaps": "7f00-7f01 rw-p 00000000 00:0f 1 /anon_hugepage (deleted)\nSize: 2048 kB\nKernelPageSize:     2048 kB\nShared_Hugetlb:     2048 kB\nPrivate_Hugetlb:     4096 kB\n" +
			"7f02-7f03 rw-p 00000000 00:00 0\nKernelPageSize:        4 kB\nShared_Hugetlb:        0 kB\nPrivate_Hugetlb:        0 kB\n" +
			"7f04-7f05 rw-p 00000000 00:0f 1 /x\nKernelPageSize:  1048576 kB\nPrivate_Hugetlb:  1048576 kB\n",
		"8/smaps": "7f00-7f01 rw-p\nKernelPageSize:     2048 kB\nPrivate_Hugetlb:     4096 kB\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := HugePages(proc.FS(dir), []proc.ID{{PID: 7}, {PID: 8}}, []int64{1 << 30, 2 << 20, 64 << 10})
	if !slices.Equal(got, []int64{1 << 30, 6 << 20, 0}) {
		t.Errorf("%v", got)
	}
}
