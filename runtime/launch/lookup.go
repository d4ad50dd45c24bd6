package launch

import (
	"fmt"
	"strings"
	"syscall"
)

// candidates are the files to try for a program name, as execvp(3) does.
func candidates(name, path string) []string {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	var list []string
	for _, dir := range strings.Split(path, ":") {
		if dir == "" {
			dir = "."
		}
		list = append(list, strings.TrimRight(dir, "/")+"/"+name)
	}
	return list
}

// vectors are the arguments and the environment as execve(2) takes them.
func (c *Config) vectors() (argv, envv []*byte, err error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return nil, nil, fmt.Errorf("args[0]: empty, want the program to run")
	}
	if argv, err = syscall.SlicePtrFromStrings(c.Args); err != nil {
		return nil, nil, fmt.Errorf("args: an argument contains a NUL byte")
	}
	if envv, err = syscall.SlicePtrFromStrings(c.Env); err != nil {
		return nil, nil, fmt.Errorf("env: a variable contains a NUL byte")
	}
	return argv, envv, nil
}
