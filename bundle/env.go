package bundle

import "strings"

// Dedup returns env with each name once: the last of its entries wins, as it
// does for most shells and C libraries, in the place of the first. An entry
// without "=" is a name. env is not changed.
func Dedup(env []string) []string {
	at := make(map[string]int, len(env))
	out := make([]string, 0, len(env))
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		if i, ok := at[name]; ok {
			out[i] = entry
			continue
		}
		at[name] = len(out)
		out = append(out, entry)
	}
	return out
}

// LookupEnv returns the value of the last entry of env with this name.
func LookupEnv(env []string, name string) (value string, ok bool) {
	for i := len(env) - 1; i >= 0; i-- {
		if n, v, found := strings.Cut(env[i], "="); found && n == name {
			return v, true
		}
	}
	return "", false
}
