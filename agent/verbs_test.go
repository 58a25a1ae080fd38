package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/ota"
)

// running boots the box and runs its agent until the test ends.
func (b *testBox) running() *Agent {
	b.t.Helper()
	a := b.boot()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = a.Run(ctx) // cancelled, or rebooting: the test looks at what it left
	}()
	b.t.Cleanup(func() {
		cancel()
		<-ended
		must(b.t, journalOf(a).Close())
	})
	return a
}

// wait waits until the agent's state is as wanted.
func wait(t *testing.T, a *Agent, what string, want func(report.State) bool) report.State {
	t.Helper()
	changed, stop := a.Watch()
	defer stop()
	deadline := time.After(20 * time.Second)
	for !want(a.State()) {
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("not %s in time: %+v", what, a.State())
		}
	}
	return a.State()
}

func phase(p ota.Phase) func(report.State) bool {
	return func(s report.State) bool { return s.Phase == p }
}

// prompting publishes an update that waits for consent.
func (b *testBox) prompting(code int64) {
	offer := b.publish(system{code: code, health: "exit 0"})
	offer.Type = ota.UpgradePrompt
	b.server.set(offer, b.server.files[offer.URL])
}

func TestPromptWaitsForConsent(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.prompting(2)
	a := b.running()
	s := wait(t, a, "offered", phase(ota.PhaseOffered))
	if s.Update == nil || !strings.Contains(wait(t, a, "explained", func(s report.State) bool { return s.Reason != "" }).Reason, "consent") {
		t.Errorf("state does not say what it waits for: %+v", s)
	}
	if r := do(t, a, control.Request{Verb: control.Consent, Args: control.Args{Answer: "accept"}}); !r.OK {
		t.Fatalf("consent refused: %s", r.Text)
	}
	wait(t, a, "armed", phase(ota.PhaseArmed))
}

func TestDeclinedOfferIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.prompting(2)
	a := b.running()
	wait(t, a, "offered", phase(ota.PhaseOffered))
	if r := do(t, a, control.Request{Verb: control.Consent, Args: control.Args{Answer: "decline"}}); !r.OK {
		t.Fatalf("consent refused: %s", r.Text)
	}
	s := wait(t, a, "idle", phase(ota.PhaseIdle))
	if s.Last == nil || s.Last.Failure.Code != ota.CodeDeclined {
		t.Fatalf("last update: %+v", s.Last)
	}
	checks := b.server.asked()
	wait(t, a, "checked twice more", func(report.State) bool { return b.server.asked() > checks+2 })
	if s := a.State(); s.Phase != ota.PhaseIdle {
		t.Fatalf("the declined offer was taken again: %s", s.Phase)
	}
	// A newer offer is another offer.
	b.prompting(3)
	wait(t, a, "offered 3", func(s report.State) bool { return s.Update != nil && s.Update.To.Code == 3 })
}

func TestOneUpdateAtATime(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.prompting(2)
	a := b.running()
	wait(t, a, "offered", phase(ota.PhaseOffered))
	for _, r := range []control.Request{
		{Verb: control.Check},
		{Verb: control.Install, Args: control.Args{Source: "/some/file.swu"}},
		{Verb: control.Upgrade, Args: control.Args{To: 7}},
	} {
		if reply := do(t, a, r); reply.OK || reply.Code != ota.CodeBusy || !strings.Contains(reply.Text, "poll") {
			t.Errorf("%s: got %+v, want busy and who holds it", r.Verb, reply)
		}
	}
	if reply := do(t, a, control.Request{Verb: control.Upgrade, Args: control.Args{To: 2}}); !reply.OK {
		t.Errorf("upgrade to the version under way: %+v", reply)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.publish(system{code: 2, health: "exit 0"})
	b.server.fetch = func(ctx context.Context, f Fetch) error {
		f.Progress(1, 100, 1)
		<-ctx.Done() // a server that sends nothing more
		return ctx.Err()
	}
	a := b.running()
	wait(t, a, "downloading", func(s report.State) bool { return s.Phase == ota.PhaseDownloading && s.Transfer != nil })
	if r := do(t, a, control.Request{Verb: control.Cancel}); !r.OK {
		t.Fatalf("cancel refused: %+v", r)
	}
	s := wait(t, a, "idle", phase(ota.PhaseIdle))
	if s.Last.Failure.Code != ota.CodeCancelled || s.Last.Result != ota.PhaseFailed {
		t.Errorf("last update: %+v", s.Last)
	}
	if r := do(t, a, control.Request{Verb: control.Cancel}); r.OK || r.Code != ota.CodeNothing {
		t.Errorf("second cancel: %+v", r)
	}
}

func TestRolledBackOfferIsTriedAgainWhenAPersonSaysSo(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.publish(system{code: 3, health: "exit 1"})
	b.live(ended(3))
	b.server.set(b.publish(system{code: 3, health: "exit 0"}), b.server.files["http://host/3.swu"])
	a := b.running()
	if r := do(t, a, control.Request{Verb: control.Check}); r.OK || r.Code != ota.CodeBadOffer {
		t.Fatalf("check took an offer that is remembered as bad: %+v", r)
	}
	if r := do(t, a, control.Request{Verb: control.Upgrade}); !r.OK {
		t.Fatalf("upgrade refused: %+v", r)
	}
	wait(t, a, "armed", phase(ota.PhaseArmed))
}

func TestInstallFromFile(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	offer := b.publish(system{code: 2, health: "exit 0"})
	file := filepath.Join(b.dir, "stick.swu")
	must(t, os.WriteFile(file, b.server.files[offer.URL], 0o644))
	b.server.err = ota.NewTransient(ota.CodeServerUnreachable, errors.New("no network"))
	a := b.running()
	if r := do(t, a, control.Request{Verb: control.Install, Args: control.Args{Source: file}}); !r.OK {
		t.Fatalf("install refused: %+v", r)
	}
	wait(t, a, "armed", phase(ota.PhaseArmed))
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the person's file is gone: %v", err)
	}
}

func TestFloorHolds(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	old := b.publish(system{code: 2, health: "exit 0"})
	file := filepath.Join(b.dir, "old.swu")
	must(t, os.WriteFile(file, b.server.files[old.URL], 0o644))
	b.publish(system{code: 5, health: "exit 0"})
	b.live(ended(5))
	a := b.running()
	install := func(below bool) {
		t.Helper()
		if r := do(t, a, control.Request{Verb: control.Install, Args: control.Args{Source: file, BelowFloor: below}}); !r.OK {
			t.Fatalf("install refused: %+v", r)
		}
	}
	install(false)
	s := wait(t, a, "idle", func(s report.State) bool { return s.Last.Offer.File == file })
	if s.Last.Failure.Code != ota.CodeBelowFloor || s.Floor != "5" {
		t.Fatalf("floor %q, last update %+v", s.Floor, s.Last.Failure)
	}
	install(true)
	wait(t, a, "armed", phase(ota.PhaseArmed))
}

// A system that calls itself another version than the one offered would be
// offered the same version for ever.
func TestWrongVersionIsRolledBack(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.publishImage(4, system{code: 3, health: "exit 0"}.image(slotBytes))
	if s := b.live(ended(4)); s.Last.Result != ota.PhaseRolledBack || s.Last.Failure.Code != ota.CodeVersionMismatch {
		t.Fatalf("got %s: %+v", s.Last.Result, s.Last.Failure)
	}
}

// The journal is lost while the new system is on trial.
func TestJournalLostDuringTrial(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, health string
		slot         string
	}{{"healthy", "exit 0", "b"}, {"unhealthy", "exit 1", "a"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newTestBox(t)
			b.publish(system{code: 2, health: c.health})
			a := b.boot()
			if _, finished := b.until(t.Context(), a, func(report.State) bool { return false }); finished {
				t.Fatal("it did not want to reboot")
			}
			must(t, journalOf(a).Close())
			must(t, os.WriteFile(filepath.Join(b.config.State.Dir, "journal.db"), []byte("noise"), 0o644))
			s := b.live(func(s report.State) bool {
				return s.Phase == ota.PhaseIdle && s.Last != nil && s.Last.Result.Ended() && s.Slot == c.slot
			})
			if s.Trial {
				t.Error("the system that runs is not confirmed")
			}
			kept, err := filepath.Glob(filepath.Join(b.config.State.Dir, "journal.db.damaged-*"))
			if err != nil || len(kept) != 1 {
				t.Errorf("the damaged journal was not kept: %v %v", kept, err)
			}
		})
	}
}

// The id of a command is new once, across restarts.
func TestCommandIsNewOnce(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	fresh := 0
	for range 2 {
		a := b.boot()
		for range 2 {
			first, err := a.First("x1")
			must(t, err)
			if first {
				fresh++
			}
		}
		must(t, journalOf(a).Close())
	}
	if fresh != 1 {
		t.Errorf("new %d times, want once", fresh)
	}
}

// Each phase is told once, in order, and the outcome at the end.
func TestEventsTellTheWholeStory(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.publish(system{code: 2, health: "exit 0"})
	b.live(ended(2))
	a := b.running()
	entries, err := journalOf(a).Pending(100)
	must(t, err)
	var told []string
	for _, e := range entries {
		var event report.Event
		must(t, json.NewDecoder(bytes.NewReader(e.Payload)).Decode(&event))
		if event.Type == report.EventBoot { // it says why: this update
			event.Phase = ota.Phase(strings.TrimSuffix(event.Text, a.State().Last.ID))
		}
		told = append(told, event.Type+" "+string(event.Phase))
	}
	want := "boot ,phase offered,phase downloading,phase downloaded,phase installing,phase installed,phase armed,boot otad: update ,phase trial,phase confirmed,outcome "
	if got := strings.Join(told, ","); got != want {
		t.Errorf("told:\n got %s\nwant %s", got, want)
	}
}

// The server's word on when to come back is followed.
func TestUnreachableServerIsAskedLessOften(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.server.err = ota.NewTransient(ota.CodeServerUnreachable, errors.New("connection refused"))
	a := b.running()
	s := wait(t, a, "in trouble", func(s report.State) bool { return s.Trouble != nil })
	if s.Trouble.Code != ota.CodeServerUnreachable || s.CheckAt == nil {
		t.Errorf("state does not tell: %+v", s)
	}
	b.server.mu.Lock()
	b.server.err = nil
	b.server.mu.Unlock()
	wait(t, a, "well again", func(s report.State) bool { return s.Trouble == nil && s.Checked != nil })
}

// An artifact that did not fit is tried again when there is room, not before.
func TestNoSpaceIsRememberedWithItsSize(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.publish(system{code: 2, health: "exit 0"})
	full := ota.NewTransient(ota.CodeNoSpace, errors.New("cannot download: 1000 bytes are needed, 10 are free"))
	full.NeedBytes = 1000
	b.server.faults = []error{full}
	a := b.running()
	s := wait(t, a, "given up", func(s report.State) bool { return s.Last != nil && s.Phase == ota.PhaseIdle })
	if s.Last.Failure.Code != ota.CodeNoSpace || s.Last.Failure.NeedBytes != 1000 {
		t.Fatalf("last update: %+v", s.Last.Failure)
	}
	checks := b.server.asked()
	wait(t, a, "checked twice more", func(report.State) bool { return b.server.asked() > checks+2 })
	if s := a.State(); s.Phase != ota.PhaseIdle {
		t.Fatalf("tried again without room: %s", s.Phase)
	}
	b.server.free.Store(1000)
	wait(t, a, "armed", phase(ota.PhaseArmed))
}

// Later is allowed as often and as long as the settings say; then the viewer
// is asked again, and says yes.
func TestDefer(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.config.Policy.DeferCount, b.config.Policy.DeferTotal = 2, config.Duration(time.Hour)
	b.prompting(2)
	a := b.running()
	wait(t, a, "offered", phase(ota.PhaseOffered))
	put := func(length string, code ota.Code) {
		t.Helper()
		if r := do(t, a, control.Request{Verb: control.Defer, Args: control.Args{For: length}}); r.Code != code || r.OK != (code == "") {
			t.Errorf("defer %q: got %+v, want code %q", length, r, code)
		}
	}
	put("", ota.CodeUsage)
	put("soon", ota.CodeUsage)
	put("-1h", ota.CodeUsage)
	put("2h", ota.CodeDeferLimit)
	put("50m", "")
	s := wait(t, a, "put off", func(s report.State) bool { return strings.Contains(s.Reason, "put off") })
	if s.GoesOn == nil || s.GoesOn.Sub(s.Time) > 50*time.Minute {
		t.Errorf("put off until %v", s.GoesOn)
	}
	put("50ms", "")
	wait(t, a, "asked again", func(s report.State) bool { return strings.Contains(s.Reason, "consent") })
	put("1ms", ota.CodeDeferLimit)
	if r := do(t, a, control.Request{Verb: control.Consent, Args: control.Args{Answer: "accept"}}); !r.OK {
		t.Fatalf("consent refused: %+v", r)
	}
	wait(t, a, "armed", phase(ota.PhaseArmed))
}

// A forced update is not put off, and neither is what is not there.
func TestDeferRefused(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	a := b.running()
	later := control.Request{Verb: control.Defer, Args: control.Args{For: "1h"}}
	wait(t, a, "checked", func(report.State) bool { return b.server.asked() > 0 })
	if r := do(t, a, later); r.Code != ota.CodeNothing {
		t.Errorf("nothing to defer: got %+v", r)
	}
	offer := b.publish(system{code: 2, health: "exit 0"})
	offer.Type = ota.UpgradeForced
	b.server.fetch = func(ctx context.Context, f Fetch) error {
		<-ctx.Done()
		return ctx.Err()
	}
	b.server.set(offer, b.server.files[offer.URL])
	wait(t, a, "downloading", phase(ota.PhaseDownloading))
	if r := do(t, a, later); r.Code != ota.CodeForced {
		t.Errorf("forced: got %+v", r)
	}
}
