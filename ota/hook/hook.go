// Package hook runs one executable that somebody else wrote, within bounds:
// a clean environment, a deadline, bounded output, and an end that takes along
// what it started.
//
// Trust: a hook is part of the image, as trusted as otad. The bounds are there
// against its defects. What it prints is data and never interpreted here.
package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxOutput is how many bytes a hook may answer on standard output.
	MaxOutput = 64 << 10
	// MaxSaid is how many bytes of standard error are kept.
	MaxSaid = 2 << 10
	// linger is how long the output of a hook that ended is waited for, when
	// something that it left in the background still holds it open.
	linger = time.Second
)

// Result is what a hook left.
type Result struct {
	Answer []byte // standard output, at most MaxOutput bytes
	Said   string // the first MaxSaid bytes of standard error, trimmed
}

// Error is a hook that ended otherwise than with exit code 0.
type Error struct {
	Name string // the base name of the executable
	// Code is its exit code; -1 when it was not started or was ended by a signal.
	Code int
	Said string // what it said on standard error, else on standard output
	Err  error
}

func (e *Error) Error() string {
	if e.Said == "" {
		return fmt.Sprintf("hook %q: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("hook %q: %v: %s", e.Name, e.Err, e.Said)
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// Sentinels that callers branch on.
var (
	// ErrTimeout: the hook was killed because its context ended.
	ErrTimeout = errors.New("took longer than its time-out")
	// ErrTooLong: the hook answered more than MaxOutput bytes.
	ErrTooLong = fmt.Errorf("answered more than %d bytes", MaxOutput)
)

// Run runs the executable at path with input on standard input until it ends
// or ctx does; then it is killed together with what it started. The working
// directory is /, the environment holds PATH and LANG only.
//
// An error is an *[Error]; the result is filled in as far as it is known.
func Run(ctx context.Context, path string, input []byte, args ...string) (Result, error) {
	answer, said := bounded{limit: MaxOutput, stop: true}, bounded{limit: MaxSaid}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"}
	cmd.Dir = "/"
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stdout, cmd.Stderr = &answer, &said
	cmd.WaitDelay = linger
	// A group of its own, so that its end is the end of all that it started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

	err := cmd.Run()
	result := Result{Answer: answer.kept.Bytes(), Said: plain(said.kept.Bytes())}
	switch {
	case err != nil && ctx.Err() != nil:
		err = ErrTimeout
	case answer.over:
		err = ErrTooLong
	case ended(cmd) && onlyLeftovers(err):
		err = nil
	}
	if err == nil {
		return result, nil
	}
	code := -1
	if cmd.ProcessState != nil {
		code = cmd.ProcessState.ExitCode()
	}
	return result, &Error{Name: filepath.Base(path), Code: code, Said: complaint(result), Err: err}
}

func ended(cmd *exec.Cmd) bool { return cmd.ProcessState != nil && cmd.ProcessState.Success() }

// onlyLeftovers tells whether a hook that succeeded is only reproached for a
// child in the background ("sleep 2; reboot" is one) or for unread input.
func onlyLeftovers(err error) bool {
	return errors.Is(err, exec.ErrWaitDelay) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}

// complaint is what a failed hook says about it; many say it on the wrong channel.
func complaint(r Result) string {
	if r.Said != "" {
		return r.Said
	}
	return plain(r.Answer[:min(len(r.Answer), MaxSaid)])
}

// plain is text that can be shown on a terminal, whatever a hook printed.
func plain(text []byte) string {
	printable := func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}
	return strings.TrimSpace(string(bytes.Map(printable, text)))
}

// bounded keeps the first limit bytes. Then it takes the rest, so that the
// writer is not held up, or ends the writer with a broken pipe.
type bounded struct {
	kept  bytes.Buffer
	limit int
	stop  bool // at the limit
	over  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - b.kept.Len()
	b.over = b.over || len(p) > room
	b.kept.Write(p[:min(len(p), room)])
	if b.over && b.stop {
		return 0, ErrTooLong
	}
	return len(p), nil
}
