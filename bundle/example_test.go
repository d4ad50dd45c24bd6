package bundle_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"mlrun/bundle"
)

func ExampleLoad() {
	dir, err := os.MkdirTemp("", "bundle")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	config := `{
		"ociVersion": "1.3.0",
		"process": {"args": ["echo", "hello"], "cwd": "home"},
		"linux": {
			"resources": {"memory": {"limit": "1G"}},
			"namespaces": [{"type": "pid"}]
		}
	}`
	if err := os.WriteFile(filepath.Join(dir, bundle.ConfigName), []byte(config), 0o600); err != nil {
		log.Fatal(err)
	}

	b, err := bundle.Load(dir, bundle.Options{})
	if e, ok := errors.AsType[*bundle.Error](err); ok {
		for _, problem := range e.Problems {
			fmt.Println(problem)
		}
		return
	}
	fmt.Println(b.Spec.Process.Args, err)
	// Output:
	// linux.resources.memory.limit: found "1G", want an integer number of bytes greater than 0, or -1 for unlimited
	// process.cwd: found "home", want an absolute path without NUL
	// linux.namespaces[0].type "pid": not supported: mlrun runs in the namespaces of its caller; remove it, or pass --ignore-unsupported
}
