package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/ota"
)

// A system that was confirmed and then restarts before it ran undisturbed once
// is left for the one before.
func TestRebootLoopIsBroken(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.publish(system{code: 2, health: "exit 0"})
	b.live(ended(2))
	boots, s := 0, report.State{Slot: "b"}
	for ; s.Slot == "b" && boots < 20; boots++ {
		s = b.live(func(s report.State) bool { // it panics as soon as it runs
			return s.Phase == ota.PhaseIdle && (s.Slot == "b" || s.Slot == "a" && !s.Trial)
		})
	}
	if s.Slot != "a" || s.Trial || s.Last.By != breakerBy || s.Last.Result != ota.PhaseConfirmed {
		t.Fatalf("after %d boots: slot %s, last %+v", boots, s.Slot, s.Last)
	}
	if boots < ota.MaxBoots {
		t.Errorf("it was left after %d boots", boots)
	}
	// The version that was left is not taken again.
	a := b.starting()
	checks := b.server.asked()
	wait(t, a, "checked twice", func(report.State) bool { return b.server.asked() > checks+2 })
	if s := a.State(); s.Phase != ota.PhaseIdle {
		t.Errorf("it is %s", s.Phase)
	}
}

// A system that ran undisturbed is believed: it may be restarted as often as
// somebody likes.
func TestProbationEnds(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.publish(system{code: 2, health: "exit 0"})
	b.live(ended(2))
	b.config.Policy.CheckEvery = config.Duration(6 * time.Hour)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		calm := b.boot()
		ctx, cancel := context.WithTimeout(t.Context(), 2*undisturbed)
		_ = calm.Run(ctx)
		cancel()
		if known, _ := calm.box.System("b"); !known.Proven {
			t.Fatalf("not believed after %s: %+v", 2*undisturbed, known)
		}
		must(t, journalOf(calm).Close())
		for range 3 * ota.MaxBoots {
			a := b.boot()
			s, _ := b.until(t.Context(), a, func(s report.State) bool { return s.Slot == "b" })
			must(t, journalOf(a).Close())
			if s.Slot != "b" {
				t.Fatalf("slot %q", s.Slot)
			}
		}
	})
}
