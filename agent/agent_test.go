package agent

import (
	"errors"
	"testing"

	"otad/agent/report"
	"otad/ota"
)

func TestUpdateIsConfirmed(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	two := system{code: 2, health: "exit 0"}
	b.publish(two)
	s := b.live(ended(2))
	if s.Last.Result != ota.PhaseConfirmed || s.Version.Code != 2 || s.Slot != "b" || s.Trial {
		t.Fatalf("got %s, version %d in slot %s, trial %v", s.Last.Result, s.Version.Code, s.Slot, s.Trial)
	}
	if !b.slotHolds("b", two.image(slotBytes)) {
		t.Error("slot b does not hold the image")
	}
	if s.Floor != "2" {
		t.Errorf("floor %q, want 2", s.Floor)
	}
	if b.boots != 2 {
		t.Errorf("%d boots, want 2", b.boots)
	}
}

func TestUnhealthyIsRolledBack(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.publish(system{code: 3, health: "echo no picture >&2; exit 7"})
	s := b.live(ended(3))
	if s.Last.Result != ota.PhaseRolledBack || s.Last.Failure.Code != ota.CodeUnhealthy || s.Version.Code != 1 || s.Slot != "a" {
		t.Fatalf("got %+v, failure %+v, version %d", s.Last, s.Last.Failure, s.Version.Code)
	}
	checks := b.server.checks
	// The offer is remembered as bad: a later check does not start it again.
	b.live(func(s2 report.State) bool { return b.server.asked() > checks+1 && s2.Phase == ota.PhaseIdle })
}

func TestTransientFaultsAreRetried(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	for range 5 {
		b.server.faults = append(b.server.faults, ota.NewTransient(ota.CodeDownloadNetwork, errors.New("reset")))
	}
	b.publish(system{code: 2, health: "exit 0"})
	if s := b.live(ended(2)); s.Last.Result != ota.PhaseConfirmed {
		t.Fatalf("got %+v", s.Last)
	}
}
