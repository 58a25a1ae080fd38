package agent

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/ota"
	"otad/ota/policy"
)

// tried publishes a system and lives until it is on trial, with a health hook
// that does not end by itself.
func (b *testBox) tried(code int64, health string) *Agent {
	b.t.Helper()
	b.publish(system{code: code, health: health})
	a := b.boot()
	if _, finished := b.until(b.t.Context(), a, func(report.State) bool { return false }); finished {
		b.t.Fatal("it did not want to reboot")
	}
	must(b.t, journalOf(a).Close())
	b.config.Health.Timeout = config.Duration(time.Hour)
	a = b.starting()
	wait(b.t, a, "on trial", phase(ota.PhaseTrial))
	return a
}

// starting boots the box and runs its agent until it wants a restart, or the
// test ends. Then its journal is free.
func (b *testBox) starting() *Agent {
	b.t.Helper()
	a := b.boot()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	b.ended = ended
	go func() {
		defer close(ended)
		_ = a.Run(ctx) // cancelled, or rebooting: the test looks at what it left
		_ = journalOf(a).Close()
	}()
	b.t.Cleanup(func() { cancel(); <-ended })
	return a
}

// restarted waits until the agent that starting made wants a restart, and
// starts the next one.
func (b *testBox) restarted() *Agent {
	b.t.Helper()
	select {
	case <-b.ended:
	case <-time.After(20 * time.Second):
		b.t.Fatal("it does not restart")
	}
	return b.starting()
}

func TestPersonConfirms(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	a := b.tried(2, "sleep 1000; exit 1")
	if r := do(t, a, control.Request{Verb: control.Confirm}); !r.OK {
		t.Fatalf("confirm refused: %+v", r)
	}
	s := wait(t, a, "confirmed", ended(2))
	if s.Trial || s.Slot != "b" || s.Last.Result != ota.PhaseConfirmed || s.Floor != "2" {
		t.Errorf("state %+v", s)
	}
	if r := do(t, a, control.Request{Verb: control.Confirm}); r.OK || r.Code != ota.CodeNothing {
		t.Errorf("second confirm: %+v", r)
	}
}

func TestPersonGivesUpTheTrial(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	a := b.tried(2, "sleep 1000")
	if r := do(t, a, control.Request{Verb: control.Rollback}); !r.OK {
		t.Fatalf("rollback refused: %+v", r)
	}
	a = b.restarted()
	s := wait(t, a, "rolled back", ended(2))
	if s.Slot != "a" || s.Last.Result != ota.PhaseRolledBack || s.Last.Failure.Code != ota.CodeRejected {
		t.Errorf("slot %s, last %+v", s.Slot, s.Last)
	}
	if r := do(t, a, control.Request{Verb: control.Check}); r.Code != ota.CodeBadOffer {
		t.Errorf("the offer that was given up is taken again: %+v", r)
	}
}

func TestPersonTakesBackWhatIsArmed(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.config.Policy.Windows = notNow()
	b.publish(system{code: 2, health: "exit 0"})
	a := b.starting()
	wait(t, a, "armed and waiting", func(s report.State) bool { return s.Phase == ota.PhaseArmed && s.GoesOn != nil })
	if r := do(t, a, control.Request{Verb: control.Rollback}); !r.OK {
		t.Fatalf("rollback refused: %+v", r)
	}
	s := wait(t, a, "over", ended(2))
	if s.Last.Result != ota.PhaseFailed || s.Last.Failure.Code != ota.CodeRejected {
		t.Errorf("last %+v", s.Last)
	}
	if slot, _, err := b.machine.PowerOn(); err != nil || slot != "a" {
		t.Errorf("the bootloader starts %q, %v", slot, err)
	}
}

// notNow is a maintenance window that is half a day away.
func notNow() []config.Window {
	at := time.Now().Add(12 * time.Hour)
	w, err := policy.ParseWindow(at.Format("15:04") + "-" + at.Add(time.Minute).Format("15:04"))
	if err != nil {
		panic(err)
	}
	return []config.Window{config.Window(w)}
}

// A system that was confirmed is left for the one before, which is tried and
// confirmed; the floor stays and the offer is not taken again.
func TestPersonGoesBack(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.publish(system{code: 2, health: "exit 0"})
	b.live(ended(2))
	a := b.starting()
	if r := do(t, a, control.Request{Verb: control.Rollback}); !r.OK {
		t.Fatalf("rollback refused: %+v", r)
	}
	a = b.restarted()
	s := wait(t, a, "back", ended(1))
	if s.Slot != "a" || s.Trial || !s.Last.Back || s.Last.Result != ota.PhaseConfirmed || s.Floor != "2" || s.Version.Code != 1 {
		t.Errorf("state %+v, last %+v", s, s.Last)
	}
	if r := do(t, a, control.Request{Verb: control.Check}); r.Code != ota.CodeBadOffer {
		t.Errorf("the version that was left is taken again: %+v", r)
	}
	// And forth again: slot b holds still what was installed there.
	if r := do(t, a, control.Request{Verb: control.Rollback}); !r.OK {
		t.Fatalf("rollback of the rollback refused: %+v", r)
	}
	if s := wait(t, b.restarted(), "forth", ended(2)); s.Slot != "b" || s.Last.Result != ota.PhaseConfirmed {
		t.Errorf("slot %s, last %+v", s.Slot, s.Last)
	}
}

func TestNoWayBack(t *testing.T) {
	t.Parallel()
	refused := func(t *testing.T, a *Agent) {
		t.Helper()
		if r := do(t, a, control.Request{Verb: control.Rollback}); r.OK || r.Code != ota.CodeNoWayBack || r.Hint == "" {
			t.Errorf("got %+v", r)
		}
	}
	t.Run("never updated", func(t *testing.T) {
		t.Parallel()
		a := newTestBox(t).starting()
		wait(t, a, "idle", phase(ota.PhaseIdle))
		refused(t, a)
	})
	t.Run("written over since", func(t *testing.T) {
		t.Parallel()
		b := newTestBox(t)
		b.publish(system{code: 2, health: "exit 0"})
		b.live(ended(2))
		b.publish(system{code: 3, health: "exit 1"})
		b.live(ended(3))
		refused(t, b.starting())
	})
	t.Run("the slot is another", func(t *testing.T) {
		t.Parallel()
		b := newTestBox(t)
		b.publish(system{code: 2, health: "exit 0"})
		b.live(ended(2))
		b.publish(system{code: 3, health: "exit 0"})
		b.live(ended(3))
		f, err := os.OpenFile(b.slot("b"), os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte("scribble"), slotBytes/2)
		must(t, err)
		must(t, f.Close())
		a := b.starting()
		if r := do(t, a, control.Request{Verb: control.Rollback}); !r.OK {
			t.Fatalf("rollback refused: %+v", r)
		}
		s := wait(t, a, "given up", ended(2))
		if s.Last.Result != ota.PhaseFailed || s.Last.Failure.Code != ota.CodeNoWayBack || s.Slot != "a" {
			t.Errorf("last %+v", s.Last.Failure)
		}
		refused(t, a)
	})
	t.Run("the system before is sick by now", func(t *testing.T) {
		t.Parallel()
		b := newTestBox(t)
		b.publish(system{code: 2, health: "exit 0"})
		b.live(ended(2))
		image := system{code: 1, health: "exit 1"}.image(slotBytes)
		must(t, os.WriteFile(b.slot("a"), image, 0o644))
		if r := do(t, b.starting(), control.Request{Verb: control.Rollback}); !r.OK {
			t.Fatalf("rollback refused: %+v", r)
		}
		b.restarted() // tries the old one, which rejects itself
		if s := wait(t, b.restarted(), "forth again", ended(1)); s.Slot != "b" || s.Last.Result != ota.PhaseRolledBack || s.Trial {
			t.Errorf("slot %s, last %+v", s.Slot, s.Last)
		}
	})
}

func TestReboot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(b *testBox)
		args    control.Args
		want    ota.Code // "" for done
		text    string
	}{
		{name: "nobody minds"},
		{name: "watching", prepare: func(b *testBox) { must(b.t, os.WriteFile(b.dir+"/box/busy", []byte("watching\n"), 0o644)) }, want: ota.CodeNotNow, text: "watching"},
		{name: "watching, forced", prepare: func(b *testBox) { must(b.t, os.WriteFile(b.dir+"/box/busy", []byte("watching\n"), 0o644)) }, args: control.Args{Now: true}},
		{name: "outside the window", prepare: func(b *testBox) { b.config.Policy.Windows = notNow() }, want: ota.CodeNotNow, text: "window"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newTestBox(t)
			if c.prepare != nil {
				c.prepare(b)
			}
			a := b.starting()
			wait(t, a, "idle", phase(ota.PhaseIdle))
			r := do(t, a, control.Request{Verb: control.Reboot, Args: c.args})
			if r.Code != c.want || !strings.Contains(r.Text, c.text) {
				t.Errorf("got %+v, want %q", r, c.want)
			}
			reason, err := b.machine.RebootRequested()
			must(t, err)
			if (reason == "otad: asked for by test") != (c.want == "") {
				t.Errorf("reason %q", reason)
			}
		})
	}
}

// An install is not cut off, whoever says so.
func TestRebootWaitsForTheInstall(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.publish(system{code: 2, health: "exit 0"})
	b.live(func(s report.State) bool { return s.Phase == ota.PhaseArmed })
	a := b.boot()
	defer journalOf(a).Close()
	for _, p := range []ota.Phase{ota.PhaseInstalling, ota.PhaseInstalled} {
		a.booted, a.rec.Phase = true, p
		err := make(chan error, 1)
		go func() {
			_, e := a.doReboot(t.Context(), control.Request{Args: control.Args{Now: true}})
			err <- e
		}()
		c := <-a.calls
		c.result <- c.do(t.Context())
		if f := ota.FaultOf(<-err); f == nil || f.Code != ota.CodeBusy {
			t.Errorf("%s: got %v", p, f)
		}
	}
}
