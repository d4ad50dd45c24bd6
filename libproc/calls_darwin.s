#include "textflag.h"

// A function of a dynamic library has no address before the program runs: each of these jumps to one, and its address is known
// (golang.org/x/sys/unix, zsyscall_darwin_arm64.s).

TEXT proc_pidinfo_trampoline<>(SB),NOSPLIT,$0-0
	JMP	libc_proc_pidinfo(SB)
GLOBL	·procPidinfoAddr(SB), RODATA, $8
DATA	·procPidinfoAddr(SB)/8, $proc_pidinfo_trampoline<>(SB)

TEXT proc_listpids_trampoline<>(SB),NOSPLIT,$0-0
	JMP	libc_proc_listpids(SB)
GLOBL	·procListpidsAddr(SB), RODATA, $8
DATA	·procListpidsAddr(SB)/8, $proc_listpids_trampoline<>(SB)

TEXT proc_pid_rusage_trampoline<>(SB),NOSPLIT,$0-0
	JMP	libc_proc_pid_rusage(SB)
GLOBL	·procPidRusageAddr(SB), RODATA, $8
DATA	·procPidRusageAddr(SB)/8, $proc_pid_rusage_trampoline<>(SB)

TEXT mach_timebase_info_trampoline<>(SB),NOSPLIT,$0-0
	JMP	libc_mach_timebase_info(SB)
GLOBL	·machTimebaseInfoAddr(SB), RODATA, $8
DATA	·machTimebaseInfoAddr(SB)/8, $mach_timebase_info_trampoline<>(SB)
