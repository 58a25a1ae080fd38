package agent

import (
	"context"
	"time"

	"otad/agent/control"
	"otad/ota"
	"otad/ota/journal"
)

// A system may pass its checks, be confirmed and then fall over, again and
// again. So it stays on probation until it ran undisturbed once; if it is
// started too often before that, otad goes back to the system before.

// undisturbed is how long a system must run without a restart to be believed.
const undisturbed = 10 * time.Minute

// breakerBy is who asked for the way back, in the history.
const breakerBy = "reboot-loop"

// countBoot counts the boot of a confirmed system, and breaks a loop.
func (a *Agent) countBoot(ctx context.Context) {
	if a.boot.Trial || a.rec.Phase != ota.PhaseIdle {
		return
	}
	was, _ := a.box.System(a.boot.Slot)
	box, loops := a.box.Started(a.boot.Slot, a.boot.ID)
	if now, _ := box.System(a.boot.Slot); now != was {
		if err := a.keepBox(box); err != nil {
			return
		}
	}
	if !loops || a.Hold {
		a.planProof()
		return
	}
	a.Log.Error("the system restarts again and again", "slot", a.boot.Slot, "boots", was.Boots)
	err := a.goBack(ctx, control.Request{By: breakerBy, Args: control.Args{Now: true}})
	if err != nil {
		a.Log.Error("cannot go back to the system before", "cause", err)
	}
}

// planProof sets the end of the probation, if there is one.
func (a *Agent) planProof() {
	a.proof = alarm{}
	if s, known := a.box.System(a.boot.Slot); known && !s.Proven && !a.boot.Trial {
		a.proof = a.Clock.alarmIn(undisturbed)
	}
}

func (a *Agent) endProbation() {
	if !a.proof.set() || a.Clock.left(a.proof) > 0 {
		return
	}
	a.proof = alarm{}
	if err := a.keepBox(a.box.Proved(a.boot.Slot)); err == nil {
		a.Log.Info("the system is believed", "slot", a.boot.Slot)
	}
}

// keepBox journals what is remembered of the box. What cannot be kept is found
// out again at the next start.
func (a *Agent) keepBox(box ota.Box) error {
	err := a.Journal.Commit(journal.Change{Box: &box})
	if err != nil {
		a.Log.Warn("cannot keep what is known of the box", "cause", err)
		return err
	}
	a.box = box
	return nil
}
