package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"otad/agent/control"
	"otad/ota"
	"otad/ota/install"
	"otad/ota/journal"
	"otad/ota/policy"
)

// What a person decides about the system that runs. These verbs act, even
// in an agent that is only held open for them.

// doConfirm takes a person's word for the health of the system on trial. It is
// confirmed like one that passed its checks.
func (a *Agent) doConfirm(ctx context.Context, r control.Request) (any, error) {
	return a.decide(ctx, func(ctx context.Context) error {
		switch {
		case a.rec.Phase != ota.PhaseTrial:
			return ota.NewRefused(ota.CodeNothing, errors.New("cannot confirm: no system is on trial"))
		case a.rec.Failure != nil:
			return ota.NewRefused(ota.CodeBusy, fmt.Errorf("cannot confirm: the system on trial is given up already: %s", a.rec.Failure.Text))
		}
		a.Log.Info("a person vouches for the system on trial", "update", a.rec.ID, "by", r.By)
		return a.obey(ctx, ota.Vouched{})
	})
}

// doRollback gives up what is armed or on trial; from a confirmed system it
// goes back to the one before, if that is still there.
func (a *Agent) doRollback(ctx context.Context, r control.Request) (any, error) {
	return a.decide(ctx, func(ctx context.Context) error {
		switch p := a.rec.Phase; {
		case p == ota.PhaseIdle || p == "":
			return a.goBack(ctx, r)
		case p == ota.PhaseTrial && a.rec.Healthy:
			return ota.NewRefused(ota.CodeBusy, errors.New("cannot roll back: the system on trial is healthy and is being confirmed")).
				WithHint("roll back when that is done")
		case p == ota.PhaseTrial && a.rec.Failure != nil:
			if a.Hold {
				a.Hold = false
				a.perform(ctx, ota.Resume(a.rec))
			}
			return nil // under way
		case p == ota.PhaseTrial, p == ota.PhaseInstalled, p == ota.PhaseArmed:
			return a.obey(ctx, ota.GivenUp{By: r.By})
		}
		return ota.NewRefused(ota.CodeBusy, fmt.Errorf("cannot roll back: update %s is %s and not tried yet", a.rec.ID, a.rec.Phase)).
			WithHint("`cancel` stops it")
	})
}

// goBack starts the way back to the system before.
func (a *Agent) goBack(ctx context.Context, r control.Request) error {
	if err := a.idle(); err != nil {
		return err
	}
	if a.Config.Board.Rescue != "" {
		return ota.NewRefused(ota.CodeNoWayBack, errors.New("cannot roll back: the box has one system and a rescue system, and no other one to go back to")).
			WithHint("install the older version with `otad install --below-floor FILE`")
	}
	to, known := a.box.Before(a.boot.Slot)
	if !known {
		return ota.NewRefused(ota.CodeNoWayBack, errors.New("cannot roll back: no other slot holds a system that is known to be good")).
			WithHint("the slot was written over since, or the journal was lost: install the older version with `otad install --below-floor FILE`")
	}
	rec := ota.Record{
		ID: rand.Text()[:12], By: r.By, Force: r.Args.Now, Consent: ota.ConsentAccepted,
		Offer: ota.Offer{VersionCode: to.Version.Code, VersionName: to.Version.Name, Type: ota.UpgradeSilent},
		From:  a.Running, FromSlot: a.boot.Slot, ToSlot: to.Slot, Image: to.Image, StartedAt: a.Clock.Now(),
	}
	a.Log.Info("going back", "update", rec.ID, "version", to.Version.Code, "slot", to.Slot, "by", r.By)
	return a.obey(ctx, ota.Returning{Record: rec})
}

// decide runs what a person decided in the loop and answers with the state.
func (a *Agent) decide(ctx context.Context, do func(context.Context) error) (any, error) {
	err := a.inLoop(ctx, func(ctx context.Context) error {
		if !a.booted {
			return ota.NewTransient(ota.CodeBoard, errors.New("cannot decide anything: the board does not answer yet"))
		}
		return do(ctx)
	})
	if err != nil {
		return nil, err
	}
	return a.State(), nil
}

// obey stops what is under way and feeds a person's decision.
func (a *Agent) obey(ctx context.Context, e ota.Event) error {
	a.stopWork()
	a.Hold = false
	a.feed(ctx, e)
	if a.held != nil {
		return ota.NewTransient(ota.CodeJournal, errors.New("cannot follow: the journal cannot be written"))
	}
	return nil
}

// doReboot restarts the box. Without `now` it asks the policy as for an update
// that needs no consent; nothing makes it cut off an install.
func (a *Agent) doReboot(ctx context.Context, r control.Request) (any, error) {
	return a.decide(ctx, func(ctx context.Context) error {
		switch p := a.rec.Phase; {
		case p == ota.PhaseInstalling || p == ota.PhaseInstalled:
			return ota.NewRefused(ota.CodeBusy, fmt.Errorf("cannot restart: update %s is %s", a.rec.ID, p)).
				WithHint("wait for its end, or `cancel` it")
		case p == ota.PhaseTrial && !r.Args.Now:
			return ota.NewRefused(ota.CodeBusy, errors.New("cannot restart: the new system is on trial and has a bounded number of starts")).
				WithHint("`confirm` it, `rollback`, or restart nevertheless with --yes")
		}
		verdict := policy.Decide(policy.Reboot, a.boxFacts(ctx, policy.Facts{Type: policy.Silent, Force: r.Args.Now}))
		if !verdict.Allowed {
			return ota.NewRefused(ota.CodeNotNow, fmt.Errorf("cannot restart now: %s", verdict.Reason)).
				WithHint("--yes does not wait")
		}
		return a.restart(ctx, "otad: asked for by "+r.By)
	})
}

// targeted journals which slot is about to be touched, and that what it held
// is no more.
func (a *Agent) targeted(ctx context.Context, slot string) error {
	return a.inLoop(ctx, func(context.Context) error {
		next, _ := ota.Next(a.rec, ota.Targeted{Slot: slot})
		if _, known := a.box.System(slot); !known {
			return a.commit(next, nil)
		}
		box := a.box.Drop(slot)
		return a.commit(next, &journal.Change{Box: &box})
	})
}

// stillThere holds the slot of a way back against what was installed there.
func (a *Agent) stillThere(ctx context.Context, rec ota.Record) error {
	slot, err := a.Board.OpenSlot(ctx, rec.ToSlot)
	if err != nil {
		return boardFault(err)
	}
	defer slot.Close()
	if rec.Image.SHA256 == "" {
		return nil // otad did not install it: its trial will tell
	}
	err = install.ReadBack(ctx, slot, rec.Image, a.installProgress)
	if err == nil {
		err = a.partsStillThere(ctx, rec)
	}
	if f := ota.FaultOf(err); f != nil && f.Code == ota.CodeReadback {
		return ota.NewPermanent(ota.CodeNoWayBack, fmt.Errorf("cannot go back: slot %q does not hold what was installed there: %w", rec.ToSlot, err)).
			WithHint("a system that is mounted for writing changes its slot; install the older version anew")
	}
	return err
}
