package main_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// says waits until `otad status` has each text, as a person reads it.
func (b *box) says(texts ...string) {
	b.t.Helper()
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		last = b.otad("status").stdout
		missing := 0
		for _, text := range texts {
			if !strings.Contains(last, text) {
				missing++
			}
		}
		if missing == 0 {
			return
		}
	}
	b.t.Fatalf("otad status never said %q:\n%s", texts, last)
}

// windowNow is a window that is open now, and closed in the hour before it.
func windowFrom(start time.Time) config.Window {
	from := start.Hour()*60 + start.Minute()
	return config.Window{Start: from, End: (from + 120) % (24 * 60)}
}

// TestViewerDecides: asked on the screen, the viewer declines; the same offer is
// not asked about again, a newer one is; put off, then accepted, it is installed
// and restarts in the window.
func TestViewerDecides(t *testing.T) {
	t.Parallel()
	w, _, o := newWatched(t)
	must(t, os.Mkdir(w.path("board/screen"), 0o755))
	closed := windowFrom(time.Now().Add(3 * time.Hour))
	settings := func(c *config.Config) {
		quiet(c)
		c.Policy.CheckEvery = config.Duration(2 * time.Second)
		c.Policy.Windows, c.Policy.ApplySpread = []config.Window{closed}, 0
	}
	w.configure(settings)
	w.site.offerAs(ota.UpgradePrompt, 2, w.site.url+"/fw/2.swu")
	service := w.start()

	asked := await(o, topics.Event(), func(e report.Event) bool { return e.Type == report.EventAsked && e.To.Code == 2 })
	if asked.At == nil || asked.At.Before(asked.Time.Add(24*time.Hour)) {
		t.Errorf("asked without a deadline: %+v", asked)
	}
	w.says("waiting for the viewer's consent")
	w.onScreen(`"Version":"`)
	w.answer("decline")
	declined := await(o, topics.Event(), func(e report.Event) bool { return e.Outcome != nil && e.Update == asked.Update })
	if declined.Outcome.Failure == nil || declined.Outcome.Failure.Code != ota.CodeDeclined {
		t.Errorf("declined: %+v", declined.Outcome)
	}

	sys := system{code: 3}
	url, _ := w.site.serve("3.swu", sys.artifact(t))
	w.site.offerAs(ota.UpgradePrompt, 3, url)
	o.state(func(s report.State) bool { return s.Why == "consent" && s.Update != nil && s.Update.To.Code == 3 })
	w.onScreen(`"MayDefer":true`)
	w.answer("defer 1s")
	o.state(func(s report.State) bool { return s.Why == "deferred" && s.Update.Deferrals == 1 && s.GoesOn != nil })
	w.onScreen(`"Update":"`) // asked again
	w.answer("accept")
	o.state(func(s report.State) bool {
		return s.Phase == ota.PhaseArmed && s.Why == "window" && s.GoesOn != nil && s.Update.Consent == ota.ConsentAccepted
	})
	w.says("armed", "outside the maintenance windows, until ")

	// The night comes.
	service.stop().want(cli.Done)
	closed = windowFrom(time.Now().Add(-time.Minute))
	w.configure(settings)
	service = w.start()
	service.wait().want(cli.RebootNeeded)
	w.boot()
	w.live(ended(3))
	for _, e := range messages[report.Event](o, topics.Event()) {
		if e.Type == report.EventAsked && e.To.Code == 2 && e.ID != asked.ID {
			t.Errorf("asked again about what was declined: %+v", e)
		}
	}
}

// onScreen waits until the screen shows a question with text in it.
func (w *world) onScreen(text string) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if data, err := os.ReadFile(w.path("board/screen/prompt")); err == nil && strings.Contains(string(data), text) {
			return
		}
	}
	w.t.Fatalf("the screen never showed %s", text)
}

// answer presses a button, and waits until that was seen.
func (w *world) answer(choice string) {
	w.t.Helper()
	w.write("board/screen/answer", []byte(choice+"\n"))
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(w.path("board/screen/answer")); err != nil {
			return
		}
	}
	w.t.Fatalf("nobody took the answer %q", choice)
}

// TestSilentWaitsForTheViewer: while somebody watches, or a recording is about
// to begin, or the battery is low, nothing restarts; then it does, by itself.
func TestSilentWaitsForTheViewer(t *testing.T) {
	t.Parallel()
	w, _, o := newWatched(t)
	w.write("board/busy", []byte("watching\n"))
	w.site.offerAs(ota.UpgradeSilent, 2, w.site.url+"/fw/2.swu")
	service := w.start()
	o.state(func(s report.State) bool { return s.Online && s.Phase == ota.PhaseIdle })
	o.send(control.Command{ID: "go", Verb: control.Check})
	o.result("go", "")
	o.state(func(s report.State) bool { return s.Phase == ota.PhaseArmed && s.Why == "busy" })
	w.says("armed", "the box is in use: watching")
	// Whoever asks, it is looked at again.
	look := func(id, why, text string) {
		t.Helper()
		o.send(control.Command{ID: id, Verb: control.Upgrade})
		o.result(id, "")
		o.state(func(s report.State) bool { return s.Why == why })
		w.says(text)
	}
	w.write("board/busy", nil)
	w.write("board/timer", []byte("20m\n"))
	look("timer", "timer", "a timer begins at ")
	must(t, os.Remove(w.path("board/timer")))
	w.write("board/not-ready", []byte("battery at 9 %\n"))
	look("battery", "not-ready", "the box is not ready: battery at 9 %")
	must(t, os.Remove(w.path("board/not-ready")))
	o.send(control.Command{ID: "last", Verb: control.Upgrade})
	service.wait().want(cli.RebootNeeded)
	w.boot()
	w.live(ended(2))
	boot := await(o, topics.Event(), func(e report.Event) bool { return e.Type == report.EventBoot && e.Slot == "b" })
	if !strings.HasPrefix(boot.Text, "otad: update ") {
		t.Errorf("the box was started for %q", boot.Text)
	}
}

// TestForcedCountsDown: a recording is warned, at the broker and on the screen,
// and cut off when the countdown is over. Nobody at the box stops it.
func TestForcedCountsDown(t *testing.T) {
	t.Parallel()
	w, _, o := newWatched(t)
	must(t, os.Mkdir(w.path("board/screen"), 0o755))
	w.configure(quiet, func(c *config.Config) { c.Policy.Countdown = config.Duration(20 * time.Second) })
	w.write("board/busy", []byte("recording\n"))
	w.site.offerAs(ota.UpgradeForced, 2, w.site.url+"/fw/2.swu")
	service := w.start()
	o.state(func(s report.State) bool { return s.Online && s.Phase == ota.PhaseIdle })
	o.send(control.Command{ID: "go", Verb: control.Check})
	notice := await(o, topics.Event(), func(e report.Event) bool { return e.Type == report.EventNotice })
	if notice.At == nil || notice.At.Sub(notice.Time) > 21*time.Second || !strings.Contains(notice.Text, "recording") {
		t.Errorf("notice %+v", notice)
	}
	w.onScreen(`"Notice":true`)
	w.says("forced, counting down: recording, until ")
	for i, verb := range [][]string{{"consent", "decline"}, {"defer", "1h"}, {"cancel"}} {
		if r := w.otad(verb...); r.code != cli.Failed || !strings.Contains(r.stderr, "forced") {
			t.Errorf("%d: otad %s: exit %d, %s", i, verb, r.code, r.stderr)
		}
	}
	begun := time.Now()
	service.wait().want(cli.RebootNeeded)
	fmt.Fprintf(t.Output(), "restarted %s after the notice, asked at the door for %s\n", time.Since(notice.Time).Round(time.Second), time.Since(begun).Round(time.Second))
	if early := time.Until(*notice.At); early > 2*time.Second {
		t.Errorf("restarted %s before the time that was told", early)
	}
	w.boot()
	w.live(ended(2))
}
