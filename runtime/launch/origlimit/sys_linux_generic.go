//go:build linux && (arm64 || riscv64 || loong64)

package origlimit

const sysPrlimit64 = 261 // asm-generic/unistd.h
