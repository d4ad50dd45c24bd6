package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxHookOutput is how much of what a hook wrote is kept for its error.
const maxHookOutput = 512

// runHooks runs hooks in order, each with the state on its standard input, and stops at the first that fails. A hook has a
// process group of its own, which is killed when its time is over or ctx ends. Its output goes into the error.
func runHooks(ctx context.Context, kind string, hooks []specs.Hook, state specs.State) error {
	if len(hooks) == 0 {
		return nil
	}
	stdin, err := json.Marshal(state)
	if err != nil {
		return err
	}
	for i, h := range hooks {
		if err := runHook(ctx, h, stdin, state.Bundle); err != nil {
			return fmt.Errorf("hooks.%s[%d] %q: %w", kind, i, h.Path, err)
		}
	}
	return nil
}

func runHook(ctx context.Context, h specs.Hook, stdin []byte, dir string) error {
	if h.Timeout != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
		defer cancel()
	}
	// Files, not pipes: a hook that leaves a daemon behind must not keep anybody waiting.
	in, err := memfile("hook-stdin", stdin)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := memfile("hook-output", nil)
	if err != nil {
		return err
	}
	defer out.Close()
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	if _, err := os.Stat(dir); err != nil {
		dir = "/"
	}
	env := h.Env
	if env == nil {
		env = []string{} // nil would mean mlrun's own
	}
	p, err := os.StartProcess(h.Path, args, &os.ProcAttr{
		Dir: dir, Env: env, Files: []*os.File{in, out, out}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			return pe.Err
		}
		return err
	}
	ended := make(chan error, 1)
	var state *os.ProcessState
	go func() {
		var err error
		state, err = p.Wait()
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
		// Not waited for yet, so the process group is still the hook's.
		_ = unix.Kill(-p.Pid, unix.SIGKILL)
		<-ended
		if h.Timeout != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("timed out after %d s", *h.Timeout)
		}
		return fmt.Errorf("stopped: the container ended")
	}
	if err == nil && !state.Success() {
		err = fmt.Errorf("%s%s", state, said(out))
	}
	return err
}

// said is the end of what a hook wrote, as one line.
func said(f *os.File) string {
	size, err := f.Seek(0, 2)
	if err != nil || size == 0 {
		return ""
	}
	b := make([]byte, min(size, maxHookOutput))
	n, _ := f.ReadAt(b, size-int64(len(b)))
	text := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(b[:n]), "?"), func(r rune) bool { return !unicode.IsPrint(r) || r == ' ' }), " ")
	if text == "" {
		return ""
	}
	return ": " + text
}

// filled writes a file and goes back to its start.
func filled(f *os.File, content []byte) (*os.File, error) {
	_, err := f.Write(content)
	if err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
