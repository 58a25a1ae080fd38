package agent

import (
	"context"
	"fmt"

	"otad/board"
	"otad/ota"
	"otad/ota/policy"
)

// A box with one system and a rescue system has two slots of which only one is
// ever written, and only while the other one runs. To the board they are two
// slots like any others; all that is different is here and in ota.Next.

// inRescue tells whether the rescue system runs.
func (a *Agent) inRescue() bool {
	rescue := a.Config.Board.Rescue
	return rescue != "" && a.boot.Slot == rescue
}

// settleInRescue makes a rescue system that was armed the permanent choice: it
// is not on trial, it came up, and nothing must start the main system while that
// is written.
func (a *Agent) settleInRescue(ctx context.Context, boot board.Boot) (board.Boot, error) {
	if rescue := a.Config.Board.Rescue; rescue == "" || boot.Slot != rescue || !boot.Trial {
		return boot, nil
	}
	if err := a.Board.Confirm(ctx); err != nil {
		return boot, err
	}
	return a.Board.Current(ctx)
}

// enterRescue arms the rescue system and restarts into it.
func (a *Agent) enterRescue(ctx context.Context) {
	err := a.Board.Arm(ctx, a.rec.Rescue)
	if err != nil {
		err = boardFault(fmt.Errorf("cannot enter the rescue system: %w", err))
	} else {
		err = a.restart(ctx, "otad: rescue system for update "+a.rec.ID)
	}
	if err != nil {
		a.Log.Error("cannot enter the rescue system", "cause", err)
		a.trouble(ota.FaultOf(err))
		a.later()
	}
}

// leavesRescue tells whether the main system is as it was when the update began
// in it, so that the box can go back to it now that the update came to nothing.
func (a *Agent) leavesRescue(rec ota.Record) bool {
	return a.inRescue() && rec.Phase == ota.PhaseFailed && rec.ToSlot == "" && rec.FromSlot != "" && rec.FromSlot != a.boot.Slot
}

// explainRescue says why the box is where it is.
func (a *Agent) explainRescue() {
	if a.inRescue() && a.rec.Phase == ota.PhaseIdle {
		a.explain(policy.Verdict{Reason: "the rescue system runs: the main system waits for an update that works"})
	}
}
