package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/configuration"
	"otad/agent/control"
	"otad/agent/report"
	"otad/ota"
	"otad/ota/durable"
)

// settingsServer offers configurations, one after the other as they are taken.
type settingsServer struct {
	mu    sync.Mutex
	newer int64
	tells func(code int64) string // the content of a version
}

func (s *settingsServer) Version(_ context.Context, running int64) (ota.Version, error) {
	return ota.Version{Code: running}, nil
}

func (s *settingsServer) Offer(_ context.Context, running int64) (configuration.Offer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if running >= s.newer {
		return configuration.Offer{}, ota.NewRefused(ota.CodeNothing, errInterrupted)
	}
	return configuration.Offer{Version: ota.Version{Code: s.newer}, Content: json.RawMessage(s.tells(s.newer))}, nil
}

// withConfiguration gives an agent a configuration channel; hook runs in place
// of its hooks.
func (b *testBox) withConfiguration(a *Agent, s *settingsServer, hook func()) {
	b.t.Helper()
	c, err := configuration.Open(configuration.Parts{Key: "k", File: filepath.Join(b.config.State.Dir, "configuration.json"), Apply: "/hook",
		Timeout: time.Minute, FS: durable.OS, Server: s, Journal: journalOf(a), Now: time.Now, Tell: a.TellOutcome, Changed: a.ShowChannels,
		Judge: func(tuning json.RawMessage) error { _, err := b.config.Tuned(tuning); return err },
		Log:   slog.New(slog.DiscardHandler),
		Run:   func(context.Context, string, []byte) error { hook(); return nil }})
	must(b.t, err)
	a.Channels.Configuration = c
}

// The channels go on while firmware waits for consent, and never run while it is
// installed or on trial.
func TestRoundsBesideFirmware(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	image := system{code: 2, health: "sleep 0.3"}.image(slotBytes)
	offer := b.publishImage(2, image)
	offer.Type = ota.UpgradePrompt
	b.server.mu.Lock()
	b.server.offer = offer
	b.server.mu.Unlock()
	s := &settingsServer{newer: 2, tells: func(code int64) string { return fmt.Sprintf(`{"n":%d}`, code) }}
	var a *Agent
	var mu sync.Mutex
	seen := map[ota.Phase]int{}
	hook := func() { // a newer one is there at once: every round applies one
		mu.Lock()
		defer mu.Unlock()
		seen[a.State().Phase]++
		s.mu.Lock()
		s.newer++
		s.mu.Unlock()
	}
	waited := false
	for range 10 {
		mu.Lock()
		a = b.boot()
		mu.Unlock()
		b.withConfiguration(a, s, hook)
		last, done := b.until(t.Context(), a, func(s report.State) bool {
			mu.Lock()
			applied := seen[ota.PhaseOffered]
			mu.Unlock()
			if s.Phase == ota.PhaseOffered && applied >= 2 && !waited {
				waited = true
				go do(t, a, control.Request{Verb: control.Consent, Args: control.Args{Answer: "accept"}})
			}
			return ended(2)(s)
		})
		must(t, journalOf(a).Close())
		if done {
			if last.Last.Result != ota.PhaseConfirmed || last.Configuration == nil || last.Configuration.Version.Code < 3 {
				t.Errorf("last %+v, configuration %+v", last.Last, last.Configuration)
			}
			break
		}
	}
	for phase := range seen {
		if phase != ota.PhaseIdle && phase != ota.PhaseOffered && phase != ota.PhaseDownloaded && phase != ota.PhaseArmed {
			t.Errorf("a hook ran while the firmware was %s", phase)
		}
	}
	if !waited {
		t.Error("the channels waited with the firmware")
	}
}

// A configuration tunes the running agent, and a lapse of it brings the settings
// of the file back.
func TestTune(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	contents := map[int64]string{2: `{"otad":{"policy":{"check_every":"2m","windows":["01:00-02:00"]}}}`, 3: `{}`}
	s := &settingsServer{newer: 2, tells: func(code int64) string { return contents[code] }}
	a := b.boot()
	defer func() { must(t, journalOf(a).Close()) }()
	b.withConfiguration(a, s, func() {})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	runs := func(code int64) func(report.State) bool {
		return func(s report.State) bool { return s.Configuration != nil && s.Configuration.Version.Code == code }
	}
	_, _ = b.until(ctx, a, runs(2))
	a.tune()
	if a.checkEvery() != 2*time.Minute || len(a.Config.Policy.Windows) != 1 {
		t.Errorf("not tuned: %+v", a.Config.Policy)
	}
	contentsDone := a.Channels.Configuration
	s.mu.Lock()
	s.newer = 3
	s.mu.Unlock()
	must(t, contentsDone.Round(ctx))
	a.tune()
	if a.checkEvery() != 50*time.Millisecond || len(a.Config.Policy.Windows) != 0 {
		t.Errorf("still tuned: %+v", a.Config.Policy)
	}
}

// What the server's statistics are told of an update.
func TestReportsOfAnUpdate(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Firmware.URLKey = "fw"
	a := &Agent{Parts: Parts{Config: &c, Clock: &Clock{Local: time.Now}, Running: ota.Version{Code: 1}}}
	offer := ota.Offer{VersionCode: 2, URL: "http://h/2.swu"}
	failure := func(class ota.Class, code ota.Code) *ota.Failure { return &ota.Failure{Class: class, Code: code} }
	for _, row := range []struct {
		name string
		rec  ota.Record
		want string // type and code; "" for none
	}{
		{"came in", ota.Record{Phase: ota.PhaseDownloaded, Offer: offer, File: "f"}, "app_upgrade_download 0"},
		{"confirmed", ota.Record{Phase: ota.PhaseConfirmed, Offer: offer, File: "f"}, "app_upgrade_upgrade 0"},
		{"rolled back", ota.Record{Phase: ota.PhaseRolledBack, Offer: offer, File: "f", Failure: failure(ota.Permanent, ota.CodeUnhealthy)}, "app_upgrade_upgrade 1"},
		{"did not come in", ota.Record{Phase: ota.PhaseFailed, Offer: offer, Failure: failure(ota.Transient, ota.CodeDownloadNetwork)}, "app_upgrade_download 1001"},
		{"no room", ota.Record{Phase: ota.PhaseFailed, Offer: offer, Failure: failure(ota.Transient, ota.CodeNoSpace)}, "app_upgrade_download 1002"},
		{"damaged", ota.Record{Phase: ota.PhaseFailed, Offer: offer, File: "f", Failure: failure(ota.Permanent, ota.CodeArtifactHash)}, "app_upgrade_upgrade 1004"},
		{"declined", ota.Record{Phase: ota.PhaseFailed, Offer: offer, Failure: failure(ota.Refused, ota.CodeDeclined)}, ""},
		{"from a stick", ota.Record{Phase: ota.PhaseConfirmed, Offer: ota.Offer{File: "/media/2.swu"}, File: "f"}, ""},
		{"a way back", ota.Record{Phase: ota.PhaseConfirmed, Offer: offer, Back: true}, ""},
	} {
		got := ""
		for _, r := range a.reports(row.rec) {
			got += fmt.Sprintf("%s %d", r.Type, r.Code)
			if r.AppKey != "fw" || r.Target != 2 || r.Running != 1 {
				t.Errorf("%s: %+v", row.name, r)
			}
		}
		if got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
	c.Server.Report = false
	if got := a.reports(ota.Record{Phase: ota.PhaseConfirmed, Offer: offer}); got != nil {
		t.Errorf("reports though it must not: %v", got)
	}
}
