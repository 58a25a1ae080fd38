package agent

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/board"
	"otad/ota"
)

const dogTimeout = time.Minute

// hardwareDog does what the hardware does: unless it is fed in time, or was
// stopped, it bites.
type hardwareDog struct {
	mu            sync.Mutex
	fed           time.Time
	meals         int
	stopped, left bool
	broken        error
}

func (d *hardwareDog) open() (Watchdog, time.Duration, error) {
	d.fed = time.Now()
	return d, dogTimeout, nil
}

func (d *hardwareDog) Feed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken == nil && !d.biteLocked() {
		d.fed, d.meals = time.Now(), d.meals+1
	}
	return d.broken
}

func (d *hardwareDog) Stop() error  { d.stopped = true; return nil }
func (d *hardwareDog) Leave() error { d.left = true; return nil }

func (d *hardwareDog) biteLocked() bool { return !d.stopped && time.Since(d.fed) > dogTimeout }

func (d *hardwareDog) bites() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.biteLocked()
}

// stuckBoard hangs in two of its powers until it is let go, whatever the
// deadline says.
type stuckBoard struct {
	board.Board
	hang chan struct{}
}

func (b stuckBoard) Busy(context.Context) (string, error) { <-b.hang; return "", nil }
func (b stuckBoard) Health(context.Context) error         { <-b.hang; return nil }

// watched runs a box with a watchdog in a bubble of time, on a board that hangs
// until letGo. stop ends the agent, once it can end, and returns how.
func watched(t *testing.T, prepare func(b *testBox), test func(t *testing.T, a *Agent, d *hardwareDog, letGo func(), stop func() error)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBoxIn(t, dir)
		b.config.Policy.CheckEvery = config.Duration(6 * time.Hour)
		if prepare != nil {
			prepare(b)
		}
		a := b.boot()
		defer func() { must(t, journalOf(a).Close()) }()
		d := &hardwareDog{}
		hang := make(chan struct{})
		letGo := sync.OnceFunc(func() { close(hang) })
		a.Board, a.OpenWatchdog = stuckBoard{a.Board, hang}, d.open
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		test(t, a, d, letGo, func() error { cancel(); letGo(); return <-ended })
	})
}

func TestWatchdogIsFedByALoopThatTurns(t *testing.T) {
	t.Parallel()
	watched(t, nil, func(t *testing.T, _ *Agent, d *hardwareDog, _ func(), stop func() error) {
		for range 24 * 6 {
			time.Sleep(10 * time.Minute)
			if d.bites() {
				t.Fatal("an idle box is reset")
			}
		}
		synctest.Wait() // until the last one is served
		if want := 1 + int(24*time.Hour/(dogTimeout/feedings)); d.meals != want {
			t.Errorf("fed %d times from midnight to midnight, want %d: other work puts no meal off", d.meals, want)
		}
		_ = stop()
		if !d.stopped || d.left {
			t.Errorf("after an orderly end: stopped %v, left %v", d.stopped, d.left)
		}
	})
}

func TestWatchdogBitesALoopThatHangs(t *testing.T) {
	t.Parallel()
	watched(t, nil, func(t *testing.T, a *Agent, d *hardwareDog, letGo func(), stop func() error) {
		<-a.ready
		answered := make(chan control.Reply, 1)
		go func() { answered <- do(t, a, control.Request{Verb: control.Reboot}) }()
		time.Sleep(dogTimeout + dogTimeout/feedings + time.Second)
		if !d.bites() {
			t.Error("the loop hangs and the watchdog is fed")
		}
		letGo()
		<-answered
		_ = stop()
	})
}

// onTrial puts the box on trial of version 2.
func onTrial(b *testBox) {
	b.publish(system{code: 2, health: "exit 0"})
	a := b.boot()
	if _, finished := b.until(b.t.Context(), a, func(report.State) bool { return false }); finished {
		b.t.Fatal("it did not want to reboot")
	}
	must(b.t, journalOf(a).Close())
}

func TestWatchdogBitesATrialThatHangs(t *testing.T) {
	t.Parallel()
	watched(t, onTrial, func(t *testing.T, a *Agent, d *hardwareDog, letGo func(), stop func() error) {
		synctest.Wait()
		limit := 2*time.Duration(a.Config.Health.Timeout) + trialGrace
		time.Sleep(limit - time.Second)
		if d.bites() {
			t.Error("a trial is reset while it may still take")
		}
		time.Sleep(dogTimeout + 2*time.Second)
		if !d.bites() {
			t.Error("the trial hangs and the watchdog is fed")
		}
		_ = stop()
	})
}

// Who ends on trial leaves the watchdog running, unless otad restarts the box.
func TestWatchdogAtTheEnd(t *testing.T) {
	t.Parallel()
	t.Run("on trial", func(t *testing.T) {
		t.Parallel()
		watched(t, onTrial, func(t *testing.T, _ *Agent, d *hardwareDog, _ func(), stop func() error) {
			synctest.Wait()
			if err := stop(); !errors.Is(err, context.Canceled) || d.stopped || !d.left {
				t.Errorf("ended with %v: stopped %v, left %v", err, d.stopped, d.left)
			}
		})
	})
	t.Run("to restart", func(t *testing.T) {
		t.Parallel()
		watched(t, onTrial, func(t *testing.T, a *Agent, d *hardwareDog, letGo func(), stop func() error) {
			synctest.Wait()
			go do(t, a, control.Request{Verb: control.Rollback})
			synctest.Wait()
			letGo()
			synctest.Wait()
			if err := stop(); !errors.Is(err, ErrRebooting) || !d.stopped || d.left {
				t.Errorf("ended with %v: stopped %v, left %v", err, d.stopped, d.left)
			}
		})
	})
}

// A box whose watchdog cannot be had, or breaks, is served all the same.
func TestWatchdogThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	b.publish(system{code: 2, health: "exit 0"})
	a := b.boot()
	a.OpenWatchdog = func() (Watchdog, time.Duration, error) { return nil, 0, errors.New("taken") }
	s, _ := b.until(t.Context(), a, func(s report.State) bool { return s.Phase == ota.PhaseArmed })
	must(t, journalOf(a).Close())
	if s.Phase != ota.PhaseArmed {
		t.Errorf("it came to %s", s.Phase)
	}
	a = b.boot()
	d := &hardwareDog{broken: errors.New("I/O error")}
	a.OpenWatchdog = d.open
	s, _ = b.until(t.Context(), a, ended(2))
	must(t, journalOf(a).Close())
	if s.Last == nil || s.Last.Result != ota.PhaseConfirmed {
		t.Errorf("last %+v", s.Last)
	}
}
