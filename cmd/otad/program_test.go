package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"otad/agent/control"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// patience bounds every wait: far more than anything takes on a slow machine.
const patience = 60 * time.Second

// result is what a finished otad left behind.
type result struct {
	t              *testing.T
	code           int
	stdout, stderr string
}

// otad runs otad to its end.
func (b *box) otad(args ...string) result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	return b.finish(b.command(ctx, args...))
}

func (b *box) command(ctx context.Context, args ...string) *exec.Cmd {
	words := slices.Concat(b.wrap, []string{program}, args, []string{"--config", b.path("otad.toml")})
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = b.dir
	// The race detector waits a second at each exit, for what may still come.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.WaitDelay = time.Second
	return cmd
}

func (b *box) finish(cmd *exec.Cmd) result {
	b.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatalf("%q: %v", cmd.Args, err)
	}
	r := result{b.t, cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	if strings.Contains(r.stderr, "DATA RACE") || strings.Contains(r.stderr, "goroutine ") {
		b.t.Errorf("%q:\n%s", cmd.Args, r.stderr)
	}
	return r
}

// want checks the exit code and that standard error has each text.
func (r result) want(code int, texts ...string) result {
	r.t.Helper()
	if r.code != code {
		r.t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.stdout, r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			r.t.Errorf("standard error lacks %q:\n%s", text, r.stderr)
		}
	}
	return r
}

// said checks that standard output has each text.
func (r result) said(texts ...string) result {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stdout, text) {
			r.t.Errorf("standard output lacks %q:\n%s", text, r.stdout)
		}
	}
	return r
}

// decode reads the JSON on standard output.
func decode[T any](r result) T {
	r.t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		r.t.Fatalf("cannot read standard output: %v\n%s\n%s", err, r.stdout, r.stderr)
	}
	return v
}

func (b *box) history() []ota.Outcome {
	b.t.Helper()
	return decode[[]ota.Outcome](b.otad("history", "--json").want(cli.Done))
}

func (b *box) status() report.State {
	b.t.Helper()
	return decode[report.State](b.otad("status", "--json").want(cli.Done))
}

// service is a running `otad run`.
type service struct {
	b      *box
	cmd    *exec.Cmd
	result result // once ended
	ended  chan struct{}
	log    tape
}

// start starts the service; it does not wait until it answers.
func (b *box) start() *service {
	b.t.Helper()
	s := &service{b: b, cmd: b.command(b.t.Context(), "run"), ended: make(chan struct{})}
	s.cmd.Stderr = &s.log
	must(b.t, s.cmd.Start())
	go func() {
		defer close(s.ended)
		s.cmd.Wait() // the exit code is in ProcessState
		s.result = result{t: b.t, code: s.cmd.ProcessState.ExitCode(), stderr: s.log.String()}
	}()
	b.t.Cleanup(func() {
		s.kill()
		if b.t.Failed() || strings.Contains(s.result.stderr, "DATA RACE") {
			b.t.Logf("otad run (exit code %d) said:\n%s", s.result.code, s.result.stderr)
		}
		if strings.Contains(s.result.stderr, "DATA RACE") {
			b.t.Error("otad has a data race")
		}
	})
	return s
}

// kill ends it with SIGKILL.
func (s *service) kill() {
	s.cmd.Process.Kill() // an error says that it is gone already
	<-s.ended
}

// stop asks it to end, as init does, and returns what it left behind.
func (s *service) stop() result {
	s.b.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	return s.wait()
}

func (s *service) wait() result {
	s.b.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.b.t.Fatal("otad run does not end")
	}
	return s.result
}

// client is the socket of the service, once it is open; nil when the service
// ended before that.
func (s *service) client() *control.Client {
	s.b.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		select {
		case <-s.ended:
			return nil
		case <-time.After(5 * time.Millisecond):
		}
		if c, err := control.Dial(s.b.config.Control.Socket); err == nil {
			return c
		}
	}
	s.b.t.Fatal("otad run opens no socket")
	return nil
}

// until follows the state until done says so, and returns the last state. It
// returns false when the service ended before that.
func (s *service) until(done func(report.State) bool) (report.State, bool) {
	s.b.t.Helper()
	var last report.State
	client := s.client()
	if client == nil {
		return last, false
	}
	ctx, cancel := context.WithTimeout(s.b.t.Context(), patience)
	defer cancel()
	found := false
	err := client.Follow(ctx, func(data json.RawMessage) bool {
		last = report.State{}
		if err := json.Unmarshal(data, &last); err != nil {
			s.b.t.Errorf("cannot read state: %v", err)
		}
		found = done(last)
		return !found
	})
	if ctx.Err() != nil {
		s.b.t.Fatalf("the state that is waited for never came; the last one is %+v", last)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.b.t.Logf("following: %v", err)
	}
	return last, found
}

// await is until for a service that is not expected to end.
func (s *service) await(done func(report.State) bool) report.State {
	s.b.t.Helper()
	last, found := s.until(done)
	if !found {
		s.b.t.Fatalf("otad run ended; its last state was %+v", last)
	}
	return last
}

// live plays machine and init: otad is started again whenever it ends, and the
// box booted when otad asked for it, until done says so.
func (b *box) live(done func(report.State) bool) (report.State, *service) {
	b.t.Helper()
	for range 20 {
		s := b.start()
		last, found := s.until(done)
		if found {
			return last, s
		}
		if r := s.wait(); r.code != cli.RebootNeeded {
			b.t.Fatalf("otad run ended with %d", r.code)
		}
		b.boot()
	}
	b.t.Fatal("the box boots again and again")
	return report.State{}, nil
}

// ended says that the update to code is over and nothing is under way.
func ended(code int64) func(report.State) bool {
	return func(s report.State) bool {
		return s.Last != nil && s.Last.Offer.VersionCode == code && s.Phase == ota.PhaseIdle
	}
}

func inPhase(p ota.Phase) func(report.State) bool {
	return func(s report.State) bool { return s.Phase == p }
}

// tape keeps what a program prints, for readers meanwhile.
type tape struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *tape) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *tape) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
