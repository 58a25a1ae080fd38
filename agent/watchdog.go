package agent

import (
	"time"

	"otad/ota"
)

// Watchdog resets the box unless it is fed; *watchdog.Device is the real one.
type Watchdog interface {
	Feed() error
	Stop() error  // the box may live without
	Leave() error // the box is reset unless it is opened again in time
}

// The loop feeds the watchdog itself, between two things that it does: what
// hangs the loop ends in a reset. So does a trial whose checks hang beyond
// their deadline; a reset on trial is how the bootloader gets the box back.

// feedings is how often the watchdog is fed in its time.
const feedings = 4

// trialGrace is added to twice the time of the health checks: so long a trial
// may take for one step.
const trialGrace = time.Minute

// dog is the watchdog as the loop uses it.
type dog struct {
	Watchdog
	every  time.Duration // between two feedings; 0 without a watchdog
	next   time.Time     // when it is due again
	failed bool          // to feed, which was said
}

// openDog starts the watchdog. A box whose watchdog cannot be used is better
// off with otad than without.
func (a *Agent) openDog() {
	if a.OpenWatchdog == nil {
		return
	}
	w, timeout, err := a.OpenWatchdog()
	if err != nil {
		a.Log.Error("the box is not watched", "cause", err)
		return
	}
	a.Log.Info("the watchdog is fed", "timeout", timeout)
	a.dog = dog{Watchdog: w, every: timeout / feedings, next: time.Now()}
	a.feedDog()
}

// feedDog feeds the watchdog when it is due, unless the trial hangs.
func (a *Agent) feedDog() {
	if a.dog.every == 0 || time.Now().Before(a.dog.next) {
		return
	}
	a.dog.next = time.Now().Add(a.dog.every)
	if a.trialHangs() {
		return
	}
	err := a.dog.Feed()
	if err != nil && !a.dog.failed {
		a.Log.Error("the box may be reset", "cause", err)
	}
	a.dog.failed = err != nil
}

// trialHangs tells whether a step of the trial takes longer than it can.
func (a *Agent) trialHangs() bool {
	if a.rec.Phase != ota.PhaseTrial || a.work == nil {
		return false
	}
	return time.Since(a.work.since) > 2*time.Duration(a.Config.Health.Timeout)+trialGrace+a.work.waits
}

// leaveDog is the end of the loop. An orderly one stops the watchdog, but not
// on trial: there only a restart that otad asked for is orderly.
func (a *Agent) leaveDog() {
	if a.dog.every == 0 {
		return
	}
	leave := a.dog.Stop
	if a.boot.Trial && !a.rebooting {
		leave = a.dog.Leave
	}
	if err := leave(); err != nil {
		a.Log.Error("the box may be reset", "cause", err)
	}
}
