package bundle

import (
	"os"
	"path/filepath"
	"testing"
)

// typical is a config of the usual size with all that is usually set.
const typical = `{
	"ociVersion": "1.3.0",
	"process": {
		"terminal": false,
		"user": {"uid": 1000, "gid": 1000, "umask": 18, "additionalGids": [10, 20]},
		"args": ["python3", "-m", "train", "--epochs", "10", "--data", "/data/set"],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=/home/user", "LANG=C.UTF-8", "TERM=xterm", "OMP_NUM_THREADS=4", "PYTHONUNBUFFERED=1"
		],
		"cwd": "/home/user",
		"rlimits": [
			{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024},
			{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}
		],
		"noNewPrivileges": true,
		"oomScoreAdj": 100
	},
	"root": {"path": "rootfs"},
	"hooks": {"poststop": [{"path": "/usr/bin/logger", "args": ["logger", "done"], "timeout": 5}]},
	"annotations": {"org.example.name": "train", "dev.mlrun.memory.grace": "2s"},
	"linux": {"resources": {"memory": {"limit": 4294967296, "swap": -1}}}
}
`

func BenchmarkParse(b *testing.B) {
	data := []byte(typical)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(data, "/bundle", "config.json", Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ConfigName), []byte(typical), 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(dir, "rootfs")); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(dir, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
