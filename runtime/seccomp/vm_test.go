package seccomp

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// data is struct seccomp_data.
type data struct {
	nr, arch uint32
	_        uint64 // instruction_pointer
	args     [6]uint64
}

// valid is what the kernel asks of a program: bpf_check_classic of net/core/filter.c and seccomp_check_filter of kernel/seccomp.c, for the
// instructions that this package uses.
func valid(program []Instruction) error {
	n := len(program)
	if n == 0 || n > MaxInstructions || program[n-1].Code != opReturn {
		return fmt.Errorf("%d instructions, or without a return at the end", n)
	}
	for i, in := range program {
		ok := false
		switch in.Code {
		case opLoad:
			ok = in.K%4 == 0 && in.K < 64
		case opAnd, opReturn:
			ok = true
		case opJump:
			ok = in.K < uint32(n-i-1)
		case opEqual, opGreat, opAtMin:
			ok = i+int(in.Jt)+1 < n && i+int(in.Jf)+1 < n
		}
		if !ok {
			return fmt.Errorf("instruction %d of %d is not valid: %+v", i, n, in)
		}
	}
	return nil
}

// interpret runs a program that is valid, and returns its value and how many instructions it took.
func interpret(program []Instruction, d data) (ret uint32, steps int) {
	memory, _ := binary.Append(nil, binary.LittleEndian, d)
	var acc uint32
	for pc := 0; ; pc++ {
		steps++
		in := program[pc]
		holds := false
		switch in.Code {
		case opLoad:
			acc = binary.LittleEndian.Uint32(memory[in.K:])
			continue
		case opAnd:
			acc &= in.K
			continue
		case opJump:
			pc += int(in.K)
			continue
		case opReturn:
			return in.K, steps
		case opEqual:
			holds = acc == in.K
		case opGreat:
			holds = acc > in.K
		case opAtMin:
			holds = acc >= in.K
		}
		if holds {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
}

// TestFarJumps has two targets at all distances around what 8 bits can express.
func TestFarJumps(t *testing.T) {
	for between := range 260 {
		for behind := 245; behind < 262; behind++ {
			a := &assembler{returns: map[uint32]label{}}
			target := func(value uint32, distance int) label {
				a.emit(Instruction{Code: opReturn, K: value})
				l := a.emit(Instruction{Code: opAnd})
				for range distance {
					a.emit(Instruction{Code: opReturn, K: 99})
				}
				return l
			}
			first := target(1, between)
			second := target(2, behind)
			a.load(offNumber, ^uint32(0), a.jump(opEqual, 7, a.jump(opEqual, 7, second, first), a.jump(opEqual, 7, second, first)))
			program := a.program()
			if err := valid(program); err != nil {
				t.Fatalf("%d, %d: %v", between, behind, err)
			}
			for nr, want := range map[uint32]uint32{6: 1, 7: 2} {
				if got, _ := interpret(program, data{nr: nr}); got != want {
					t.Fatalf("%d, %d: %d leads to %d, want %d", between, behind, nr, got, want)
				}
			}
		}
	}
}
