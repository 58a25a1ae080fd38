package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"otad/agent/control"
	"otad/agent/report"
	"otad/ota"
)

// supervised is what a supervisor needs of the agent.
type supervised interface {
	control.Verbs
	State() report.State
	Watch() (changed <-chan struct{}, stop func())
	// Alive returns nil when the loop turns.
	Alive(ctx context.Context) error
}

// notify speaks to systemd, where it supervises the service: ready when the
// board was asked which slot runs, the phase as its status, and a sign of life
// at half of WatchdogSec, given only after the loop gave one. Without systemd
// it returns at once.
func notify(ctx context.Context, a supervised, log *slog.Logger) {
	sent, err := daemon.SdNotify(false, "STATUS=asking the board")
	if err != nil {
		log.Warn("cannot speak to systemd", "cause", err)
	}
	if !sent {
		return
	}
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog of systemd is not fed", "cause", err)
	}
	if _, err := a.Do(ctx, control.Request{Verb: control.Status}); err != nil {
		return // asked to end before the board answered
	}
	tell := func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			log.Warn("cannot speak to systemd", "cause", err)
		}
	}
	tell(daemon.SdNotifyReady)
	defer tell(daemon.SdNotifyStopping)

	changed, stop := a.Watch()
	defer stop()
	var due <-chan time.Time
	if limit > 0 {
		ticker := time.NewTicker(limit / 2)
		defer ticker.Stop()
		due = ticker.C
	}
	phase := ota.Phase("")
	for {
		if now := a.State().Phase; now != phase {
			phase = now
			tell("STATUS=" + string(phase))
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-due:
			if a.Alive(ctx) == nil {
				tell(daemon.SdNotifyWatchdog)
			}
		}
	}
}
