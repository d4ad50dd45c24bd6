#include "textflag.h"

// handler is called by the kernel as void handler(int) on the alternate stack of a thread: write(pipe, &signal, 1). It may use
// every register, since rt_sigreturn(2) gives all of them back.
TEXT handler<>(SB),NOSPLIT|TOPFRAME,$16-0
	MOVB	DI, 8(SP)
	MOVL	·pipe(SB), DI
	LEAQ	8(SP), SI
	MOVL	$1, DX
	MOVL	$1, AX	// write
	SYSCALL
	RET

// restorer is where the handler returns to (SA_RESTORER). The kernel has put the frame of the signal on the top of the stack.
TEXT restorer<>(SB),NOSPLIT|NOFRAME|TOPFRAME,$0-0
	MOVL	$15, AX	// rt_sigreturn
	SYSCALL
	INT	$3	// not reached

// func addresses() (handler, restorer uintptr)
TEXT ·addresses(SB),NOSPLIT,$0-16
	LEAQ	handler<>(SB), AX
	MOVQ	AX, handler+0(FP)
	LEAQ	restorer<>(SB), AX
	MOVQ	AX, restorer+8(FP)
	RET
