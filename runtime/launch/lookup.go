package launch

import "strings"

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
