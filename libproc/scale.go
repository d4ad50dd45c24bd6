package libproc

import "math/bits"

// scale is t*n/d without overflow in between, or the largest number.
func scale(t uint64, n, d uint32) uint64 {
	hi, lo := bits.Mul64(t, uint64(n))
	if hi >= uint64(d) {
		return 1<<64 - 1
	}
	q, _ := bits.Div64(hi, lo, uint64(d))
	return q
}
