package origlimit

const sysPrlimit64 = 302
