package seccomp

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// source makes choices out of bytes, and takes the first one where there are no more bytes.
type source struct{ bytes []byte }

func (s *source) n(n int) int {
	if len(s.bytes) == 0 {
		return 0
	}
	b := s.bytes[0]
	s.bytes = s.bytes[1:]
	return int(b) % n
}

func pick[T any](s *source, from ...T) T { return from[s.n(len(from))] }

// Values that differ by one in either half, or in one half only.
func (s *source) value() uint64 {
	return pick[uint64](s, 0, 1, 2, 5, 1<<31, 1<<32-1, 1<<32, 1<<32+1, 5<<32, 5<<32|5, 5<<32|6, 6<<32, 1<<63, 1<<64-1, 1<<64-2) + uint64(s.n(3)) - 1
}

var randomNames = []string{"read", "personality", "execve", "write", "socket", "waitpid", "set_tls", "open", "listns", "no_such_call"}

func (s *source) rule() specs.LinuxSyscall {
	call := specs.LinuxSyscall{Action: pick(s, specs.ActAllow, specs.ActErrno, specs.ActKillProcess, specs.ActTrap, specs.ActLog, specs.ActTrace,
		specs.ActKill)}
	for range 1 + s.n(2) {
		call.Names = append(call.Names, pick(s, randomNames...))
	}
	if (call.Action == specs.ActErrno || call.Action == specs.ActTrace) && s.n(2) > 0 {
		errno := pick[uint](s, 0, 1, 38, 4095)
		call.ErrnoRet = &errno
	}
	for range s.n(5) {
		op := operators[s.n(len(operators))].name
		index := uint(pick(s, 0, 0, 1, 5))
		call.Args = append(call.Args, specs.LinuxSeccompArg{Index: index, Value: s.value(), ValueTwo: s.value(), Op: op})
	}
	return call
}

func (s *source) config() (conf *specs.LinuxSeccomp, goarch string) {
	conf = &specs.LinuxSeccomp{DefaultAction: pick(s, specs.ActErrno, specs.ActAllow, specs.ActKill, specs.ActTrace)}
	goarch = pick(s, "amd64", "386", "arm64", "arm", "riscv64")
	for _, a := range modelArchs {
		if s.n(2) > 0 {
			conf.Architectures = append(conf.Architectures, a.name)
		}
	}
	for range s.n(12) {
		conf.Syscalls = append(conf.Syscalls, s.rule())
	}
	return conf, goarch
}

// call is one that is close to what a configuration looks at.
func (s *source) call(conf *specs.LinuxSeccomp) data {
	a := modelArchs[s.n(len(modelArchs))]
	d := data{arch: a.audit, nr: pick[uint32](s, 0, 1<<29, x32Bit, 1<<31, ^uint32(0), ^uint32(0)-1, 600)}
	if s.n(20) == 1 {
		d.arch++
	}
	if s.n(8) > 0 {
		if nr, ok := modelNumber(a, pick(s, randomNames...)); ok {
			d.nr = nr
		}
	}
	d.nr += pick[uint32](s, 0, 0, 0, 1, ^uint32(0))
	for i := range d.args {
		d.args[i] = s.value()
		if len(conf.Syscalls) > 0 && s.n(2) > 0 {
			if rule := conf.Syscalls[s.n(len(conf.Syscalls))]; len(rule.Args) > 0 {
				arg := rule.Args[s.n(len(rule.Args))]
				d.args[i] = pick(s, arg.Value, arg.ValueTwo) + pick[uint64](s, 0, 0, 1, ^uint64(0))
			}
		}
	}
	return d
}

// compare holds a configuration against the model, with some calls. It tells whether there was a program.
func compare(t *testing.T, s *source, calls int) bool {
	t.Helper()
	conf, goarch := s.config()
	filter, err := Compile(conf, goarch)
	contradiction := false
	for _, a := range modelIncluded(conf, goarch) {
		for _, name := range randomNames {
			if nr, ok := modelNumber(a, name); ok {
				_, bad := modelRules(conf, a, nr)
				contradiction = contradiction || bad
			}
		}
	}
	if contradiction != (err != nil) || err != nil && !strings.Contains(err.Error(), "whose conditions include these") {
		t.Fatalf("%s %+v: error %v, and the model says contradiction %v", goarch, conf, err, contradiction)
	}
	if err != nil {
		return false
	}
	if err := valid(filter.Program); err != nil {
		t.Fatalf("%s %+v: %v", goarch, conf, err)
	}
	for range calls {
		d := s.call(conf)
		if got, _ := interpret(filter.Program, d); got != model(conf, goarch, d) {
			t.Fatalf("%s %+v: %+v returns %#x, want %#x", goarch, conf, d, got, model(conf, goarch, d))
		}
	}
	return true
}

// TestModel compares programs with the model, by random configurations that are the same in every run.
func TestModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	compiled := 0
	for range 2000 {
		s := &source{make([]byte, 3000)}
		for i := range s.bytes {
			s.bytes[i] = byte(random.Uint32())
		}
		if compare(t, s, 60) {
			compiled++
		}
	}
	if compiled < 1000 {
		t.Errorf("only %d configurations were valid", compiled)
	}
}

func FuzzModel(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x00\x01\x01\x01\x00\x00\x00\x03\x01\x01\x01\x03\x00\x01\x02\x04\x03\x03\x02\x05\x06"))
	f.Fuzz(func(t *testing.T, b []byte) { compare(t, &source{b}, 20) })
}
