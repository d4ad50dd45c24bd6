package libproc

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// ParseArgs reads what the sysctl kern.procargs2 of a process has (KERN_PROCARGS2, bsd/kern/kern_sysctl.c, sysctl_procargsx): the number
// of arguments, the path of the program, NUL bytes up to a boundary, the arguments, the environment. Of a program that the system
// protects (System Integrity Protection) the environment is left out. A result that was cut off has what was there in full.
func ParseArgs(b []byte) (path string, args, env []string, err error) {
	if len(b) < 4 {
		return "", nil, nil, fmt.Errorf("procargs2: %d bytes, want the number of arguments", len(b))
	}
	argc := int(int32(binary.LittleEndian.Uint32(b)))
	if argc < 0 {
		return "", nil, nil, fmt.Errorf("procargs2: %d arguments", argc)
	}
	first, rest, ok := bytes.Cut(b[4:], []byte{0})
	if !ok {
		return "", nil, nil, fmt.Errorf("procargs2: no end of the program's path in %.40q", b[4:])
	}
	for rest = bytes.TrimLeft(rest, "\x00"); len(rest) > 0; {
		word, after, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			break
		}
		rest = after
		if len(args) < argc {
			args = append(args, string(word))
			continue
		}
		if len(word) == 0 {
			break // the end of the environment; strings of the dynamic linker follow
		}
		env = append(env, string(word))
	}
	return string(first), args, env, nil
}
