package seccomp

import "slices"

// Classic BPF, linux/bpf_common.h. All loads are 32 bits at a fixed offset of struct seccomp_data, and all operands constants.
const (
	opLoad   = 0x20 // BPF_LD | BPF_W | BPF_ABS
	opAnd    = 0x54 // BPF_ALU | BPF_AND | BPF_K
	opJump   = 0x05 // BPF_JMP | BPF_JA: K instructions, unlike the 8 bits of the conditional ones
	opEqual  = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
	opGreat  = 0x25 // BPF_JMP | BPF_JGT | BPF_K
	opAtMin  = 0x35 // BPF_JMP | BPF_JGE | BPF_K
	opReturn = 0x06 // BPF_RET | BPF_K
)

// Offsets in struct seccomp_data of linux/seccomp.h, in bytes. Every machine of archs is little-endian, so the lower half of an argument
// comes first.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
	argSize   = 8
	argUpper  = 4
)

// reach is how many instructions a conditional jump can skip, less one: bringing its second target near may add an instruction.
const reach = 255 - 1

// label is an instruction that is already there.
type label int

// assembler writes a program from its end to its beginning, since BPF jumps forwards only: so every target is known when a jump to it is written.
type assembler struct {
	code    []Instruction // the last one first
	returns map[uint32]label
}

func (a *assembler) emit(i Instruction) label {
	a.code = append(a.code, i)
	return label(len(a.code) - 1)
}

// skip is how many instructions there are between the next one to be written and a label.
func (a *assembler) skip(to label) int { return len(a.code) - 1 - int(to) }

// ret is where the program returns a value: a place that is near, or a new one.
func (a *assembler) ret(value uint32) label {
	if l, ok := a.returns[value]; ok && a.skip(l) <= reach {
		return l
	}
	l := a.emit(Instruction{Code: opReturn, K: value})
	a.returns[value] = l
	return l
}

// near returns a label within reach that leads to the given one.
func (a *assembler) near(to label) label {
	if a.skip(to) <= reach {
		return to
	}
	if i := a.code[to]; i.Code == opReturn {
		return a.ret(i.K)
	}
	return a.emit(Instruction{Code: opJump, K: uint32(a.skip(to))})
}

// jump continues at yes if the comparison of the accumulator with k holds, otherwise at no.
func (a *assembler) jump(op uint16, k uint32, yes, no label) label {
	if yes == no {
		return yes
	}
	yes = a.near(yes)
	no = a.near(no)
	return a.emit(Instruction{Code: op, Jt: uint8(a.skip(yes)), Jf: uint8(a.skip(no)), K: k})
}

// load loads a word of struct seccomp_data, applies a mask, and continues at next.
func (a *assembler) load(offset, mask uint32, next label) label {
	if a.skip(next) != 0 {
		a.emit(Instruction{Code: opJump, K: uint32(a.skip(next))})
	}
	if mask != ^uint32(0) {
		a.emit(Instruction{Code: opAnd, K: mask})
	}
	return a.emit(Instruction{Code: opLoad, K: offset})
}

// program returns what was written, from the beginning to the end.
func (a *assembler) program() []Instruction {
	slices.Reverse(a.code)
	return a.code
}
