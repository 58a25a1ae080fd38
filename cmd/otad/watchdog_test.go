package main_test

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/cmd/internal/cli"
)

// TestWatchdogDevice puts a pipe in the place of the device: the service feeds
// it, and stops it when it ends in order, but not on trial.
func TestWatchdogDevice(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := newBox(t, s, quiet)
	must(t, syscall.Mkfifo(b.path("watchdog"), 0o600))
	hardware, err := os.OpenFile(b.path("watchdog"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	must(t, err)
	defer hardware.Close()
	b.configure(quiet, func(c *config.Config) { c.Watchdog.Device = b.path("watchdog") })

	service := b.start()
	service.await(func(s report.State) bool { return s.Slot == "a" })
	fed := make([]byte, 1)
	must(t, hardware.SetReadDeadline(time.Now().Add(patience)))
	if _, err := io.ReadFull(hardware, fed); err != nil || fed[0] == 'V' {
		t.Fatalf("the hardware read %q, %v", fed, err)
	}
	b.otad("doctor", "--quick").want(cli.Done).said("the service feeds it")
	service.stop().want(cli.Done)
	if rest, err := io.ReadAll(hardware); err != nil || !strings.HasSuffix(string(rest), "V") {
		t.Errorf("at an orderly end the hardware read %q, %v", rest, err)
	}

	s.release(t, system{code: 2, health: "sleep 1000"})
	b.otad("upgrade", "--yes").want(cli.RebootNeeded)
	b.boot()
	trial := b.start()
	trial.await(func(s report.State) bool { return s.Trial })
	trial.stop().want(cli.Done)
	if all, err := io.ReadAll(hardware); err != nil || len(all) == 0 || strings.Contains(string(all), "V") {
		t.Errorf("on trial the hardware read %q, %v", all, err)
	}

	// One that cannot be used is told of, and the service runs.
	b.configure(quiet, func(c *config.Config) { c.Watchdog.Device = b.path("none") })
	last := b.start()
	last.await(func(s report.State) bool { return s.Slot == "b" })
	last.log.await(t, "the box is not watched")
	b.otad("doctor", "--quick").want(cli.Failed).said("fail  watchdog")
}
