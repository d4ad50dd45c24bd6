//go:build linux && !amd64 && !arm64 && !riscv64 && !loong64

package origlimit

const sysPrlimit64 = 0 // number not known here: the payload keeps the raised soft limit
