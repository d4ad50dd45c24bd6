//go:build !race && !portable

#include "textflag.h"

// func clone3(args *cloneArgs, p *plan, payload uintptr) (pid uintptr, errno syscall.Errno)
TEXT ·clone3(SB),NOSPLIT,$0-40
	MOVQ	args+0(FP), DI
	MOVQ	$64, SI		// sizeof(struct clone_args), CLONE_ARGS_SIZE_VER0
	MOVQ	p+8(FP), R12	// the kernel keeps what is not RAX, RCX and R11
	MOVQ	payload+16(FP), R13
	MOVQ	$435, AX	// clone3
	SYSCALL
	CMPQ	AX, $0xfffffffffffff001
	JHS	failed
	TESTQ	AX, AX
	JEQ	child
	MOVQ	AX, pid+24(FP)
	MOVQ	$0, errno+32(FP)
	RET
failed:
	NEGQ	AX
	MOVQ	$0, pid+24(FP)
	MOVQ	AX, errno+32(FP)
	RET
child:
	// SP is the end of the child's own stack: nothing of the caller's frame is here. What is called does not return.
	SUBQ	$32, SP
	MOVQ	R12, 0(SP)
	MOVQ	R13, 8(SP)
	XORL	BP, BP		// the end of the chain of frame pointers
	MOVQ	$·child(SB), AX	// not by name: it would be a cycle for the linker's check of stacks, which this one begins anew
	CALL	AX
	INT	$3
