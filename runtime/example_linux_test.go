package runtime_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"mlrun/bundle"
	"mlrun/runtime"
)

// A script that takes ever more memory is run under a limit of 32 MiB.
func ExampleRuntime_Run() {
	dir, err := os.MkdirTemp("", "bundle")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	config := `{
		"ociVersion": "1.3.0",
		"process": {"args": ["sh", "-c", "x=x; while :; do x=$x$x; done"], "cwd": "/", "env": ["PATH=/usr/bin:/bin"]},
		"linux": {"resources": {"memory": {"limit": 33554432}}}
	}`
	if err := os.WriteFile(filepath.Join(dir, bundle.ConfigName), []byte(config), 0o600); err != nil {
		log.Fatal(err)
	}
	b, err := bundle.Load(dir, bundle.Options{})
	if err != nil {
		log.Fatal(err)
	}
	rt, err := runtime.New(runtime.Options{Root: filepath.Join(dir, "state")})
	if err != nil {
		log.Fatal(err)
	}

	v, err := rt.Run(runtime.RunOptions{CreateOptions: runtime.CreateOptions{ID: "greedy", Bundle: b}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("reason:", v.Reason)
	fmt.Println("exit code:", v.ExitCode)
	fmt.Println("over the limit:", v.Memory.AtBreach > v.Memory.Limit)
	fmt.Println("processes left:", v.Left)
	// Output:
	// reason: memory-limit
	// exit code: 137
	// over the limit: true
	// processes left: 0
}
