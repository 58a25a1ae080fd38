package main_test

import (
	"os"
	"testing"

	"otad/agent/config"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// TestPersonDecides lets a person keep, leave and restart systems, with the
// service and without.
func TestPersonDecides(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := newBox(t, s, quiet)
	b.otad("confirm").want(cli.Nothing, "no system is on trial")
	b.otad("rollback", "--yes").want(cli.Failed, "no other slot", "hint:")

	// A system whose checks would not end is kept on a person's word.
	s.release(t, system{code: 2, health: "sleep 1000"})
	b.otad("upgrade", "--yes").want(cli.RebootNeeded)
	b.boot()
	b.otad("reboot").want(cli.Failed, "on trial")
	b.otad("confirm").want(cli.Done).said("-> 2", "confirmed")
	if st := b.status(); st.Trial || st.Slot != "b" || st.Floor != "2" {
		t.Errorf("status %+v", st)
	}
	b.otad("confirm").want(cli.Nothing)

	// Back to version 1, without a service.
	b.otad("rollback", "--yes").want(cli.RebootNeeded)
	if reason := b.rebootWanted(); reason == "" {
		t.Error("no restart was asked for")
	}
	b.boot()
	back := b.start()
	st := back.await(ended(1))
	if st.Slot != "a" || st.Trial || st.Floor != "2" || !st.Last.Back {
		t.Errorf("state %+v", st)
	}
	b.otad("check").want(cli.Nothing, "failed before")

	// And forth, through it; then the trial is given up.
	b.otad("rollback", "--yes", "--json").want(cli.RebootNeeded)
	if r := back.wait(); r.code != cli.RebootNeeded {
		t.Fatalf("the service ended with %d", r.code)
	}
	b.boot()
	trial := b.start()
	trial.await(inPhase(ota.PhaseTrial))
	b.otad("rollback", "--yes").want(cli.RebootNeeded)
	trial.wait()
	b.boot()
	last := b.start()
	st = last.await(func(s report.State) bool { return ended(2)(s) && s.Last.Result == ota.PhaseRolledBack })
	if st.Slot != "a" || st.Last.Failure.Code != ota.CodeRejected {
		t.Errorf("slot %s, last %+v", st.Slot, st.Last)
	}

	b.write("board/busy", []byte("watching\n"))
	b.otad("reboot").want(cli.Nothing, "watching", "hint: --yes")
	must(t, os.Remove(b.path("board/busy")))
	b.otad("reboot").want(cli.RebootNeeded).said("the box restarts")
	last.wait()
	if reason := b.rebootWanted(); reason != "otad: asked for by cli" {
		t.Errorf("reason %q", reason)
	}
}

// What is armed is taken back, and that is no failure of the command.
func TestPersonTakesBackWhatIsArmed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := newBox(t, s, quiet, func(c *config.Config) { c.Policy.Windows = nil })
	s.release(t, system{code: 2})
	b.write("board/busy", []byte("watching\n"))
	b.otad("upgrade").want(cli.RebootNeeded)
	b.otad("rollback").want(cli.Done).said("failed")
	if slot := b.boot(); slot != "a" {
		t.Errorf("the bootloader starts %q", slot)
	}
	b.otad("check").want(cli.Nothing)
}
