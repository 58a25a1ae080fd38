package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"otad/agent/control"
	"otad/agent/report"
	"otad/ota"
)

// loop stands for an agent: its phase can be changed, and it can hang.
type loop struct {
	phase   atomic.Value // ota.Phase
	changed chan struct{}
	hangs   atomic.Bool
	hung    chan struct{} // a value when it is asked while it hangs
}

func (l *loop) Do(context.Context, control.Request) (any, error) { return l.State(), nil }
func (l *loop) State() report.State                              { return report.State{Phase: l.phase.Load().(ota.Phase)} }
func (l *loop) Watch() (<-chan struct{}, func())                 { return l.changed, func() {} }

func (l *loop) Alive(ctx context.Context) error {
	if !l.hangs.Load() {
		return nil
	}
	l.hung <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "20000")

	l := &loop{changed: make(chan struct{}, 1), hung: make(chan struct{}, 1)}
	l.phase.Store(ota.PhaseIdle)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		notify(ctx, l, slog.New(slog.DiscardHandler))
	}()

	// heard reads until one of the messages comes; those between are passed over.
	heard := func(wait time.Duration, want string) error {
		buffer := make([]byte, 256)
		socket.SetReadDeadline(time.Now().Add(wait))
		for {
			n, err := socket.Read(buffer)
			if err != nil {
				return err
			}
			if string(buffer[:n]) == want {
				return nil
			}
		}
	}
	expect := func(want string) {
		t.Helper()
		if err := heard(time.Minute, want); err != nil {
			t.Fatalf("systemd was not told %q: %v", want, err)
		}
	}
	expect("READY=1")
	expect("STATUS=idle")
	expect("WATCHDOG=1")
	l.phase.Store(ota.PhaseInstalling)
	l.changed <- struct{}{}
	expect("STATUS=installing")
	expect("WATCHDOG=1")

	// A loop that hangs gives no sign of life. One may still be on its way.
	l.hangs.Store(true)
	<-l.hung
	for heard(10*time.Millisecond, "WATCHDOG=1") == nil {
	}
	if err := heard(200*time.Millisecond, "WATCHDOG=1"); err == nil {
		t.Error("a loop that hangs was reported alive")
	} else if timeout := net.Error(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatal(err)
	}

	stop()
	<-done
	expect("STOPPING=1")
}

// TestNotifyWithoutSystemd: it ends at once, and asks the agent nothing.
func TestNotifyWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	l := &loop{}
	notify(t.Context(), l, slog.New(slog.DiscardHandler))
}
