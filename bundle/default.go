package bundle

import "strconv"

// Default returns a config.json that runs as it is, indented, for mlrun spec.
// It has nothing that mlrun does not support. JSON has no comments, so these
// are the comments:
//
//   - ociVersion is the version of the runtime-spec it is written for. Any
//     1.x.y is accepted.
//   - process.terminal is false: the program gets the standard input, output
//     and error of mlrun. A new terminal is not supported.
//   - process.user is who runs the program, by number; it takes root to run it
//     as somebody else. Without it, or without one of its members, the program
//     keeps those of the caller. Not shown: umask (a decimal number, 18 for
//     022) and additionalGids. If uid or gid is negative there is no user in
//     the result.
//   - process.args is the program, looked up in the PATH of process.env unless
//     it has a slash, and its arguments.
//   - process.env is all of its environment: nothing is inherited.
//   - process.cwd is the directory it starts in, an absolute path.
//   - root.path is the root of the file system, which is that of the host. For
//     a bundle that other runtimes take too, name a directory of the bundle
//     here which is a symbolic link to /.
//   - linux.resources.memory.limit is how many bytes of memory the program and
//     all of its descendants may use together, here 256 MiB; -1 is unlimited.
//
// Not shown are process.rlimits, process.noNewPrivileges, process.oomScoreAdj,
// hooks, annotations, and of linux.resources.memory: reservation, swap and
// disableOOMKiller. Of the annotations "dev.mlrun.memory.grace" is how long a
// program over its memory limit has to end by itself; others change what
// happens to it, and how closely it is watched ([Settings]).
func Default(uid, gid int) []byte {
	user := ""
	if uid >= 0 && gid >= 0 {
		user = `
		"user": {
			"uid": ` + strconv.Itoa(uid) + `,
			"gid": ` + strconv.Itoa(gid) + `
		},`
	}
	return []byte(`{
	"ociVersion": "1.3.0",
	"process": {
		"terminal": false,` + user + `
		"args": [
			"sh",
			"-c",
			"echo hello from mlrun"
		],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
		],
		"cwd": "/"
	},
	"root": {
		"path": "/"
	},
	"linux": {
		"resources": {
			"memory": {
				"limit": 268435456
			}
		}
	}
}
`)
}
