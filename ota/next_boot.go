package ota

import "fmt"

// byBoard is who brought a system that the journal knows nothing of.
const byBoard = "board"

// booted reconciles the record with the board, which is the truth about which
// slot runs.
func booted(r Record, e Booted) (Record, Act) {
	if e.Trial && (r.Phase == PhaseIdle || r.Phase == "") {
		// A system on trial that the journal knows nothing of (it was lost):
		// judge it like any other, or the bootloader will give it up.
		r = Record{ID: "boot-" + e.BootID, Phase: PhaseArmed, By: byBoard, ToSlot: e.Slot,
			Offer: Offer{VersionCode: e.Version.Code, VersionName: e.Version.Name}}
	}
	switch {
	case r.Applied:
		return bootedApplied(r, e)
	case r.Rescue != "" && !e.Trial:
		return bootedDetoured(r, e)
	}
	tried := r.Phase == PhaseInstalled || r.Phase == PhaseArmed || r.Phase == PhaseTrial
	if e.Trial && e.Slot == r.ToSlot && r.Phase == PhaseFailed && r.Failure != nil && r.Failure.Code == CodeRejected {
		// A person gave it up, and the power went before it was disarmed: what
		// was started all the same is given up, not judged.
		tried = true
	}
	if e.Trial && !tried && !r.Phase.Ended() && e.Slot == r.FromSlot {
		// The boot environment was lost: what is on trial is the system that this
		// update set out from. It is judged first, by a record of its own.
		return fail(r, NewTransient(CodeBoard,
			fmt.Errorf("cannot go on with the update: slot %q, which it is to replace, is on trial again", e.Slot)))
	}
	if e.Trial && !tried && !r.Phase.Ended() {
		// A system on trial while the journal is not that far: it is old, or
		// somebody else armed the slot. The trial comes first, or its tries run
		// out and nothing else can be done to the other slot.
		tried, r.ToSlot = true, e.Slot
	}
	switch {
	case tried && e.Slot == r.ToSlot:
		// The bootloader started the new system.
		r.Phase = PhaseTrial
		if r.BootID != e.BootID {
			r.BootID = e.BootID
			r.Boots++
		}
		if r.Boots > MaxBoots && r.Failure == nil && !r.Healthy {
			r.Failure = FailureOf(NewPermanent(CodeAttempts,
				fmt.Errorf("cannot confirm the new system: it was started %d times", r.Boots)))
		}
		if r.Boots > 2*MaxBoots && r.Failure != nil {
			// Given up again and again, and started again and again: the bootloader
			// does not listen. A box that restarts for ever is worse than a sick one.
			return enter(r, PhaseFailed)
		}
		return r, Resume(r)
	case r.Phase == PhaseTrial, r.Phase == PhaseArmed && r.BootID != e.BootID, r.Phase == PhaseConfirmed && e.Slot != r.ToSlot:
		// Tried, and the old system runs again. Even a confirmed one: the boot
		// environment was lost before the success was told.
		if r.Failure == nil {
			r.Failure = FailureOf(NewPermanent(CodeNeverCameUp,
				fmt.Errorf("cannot start the new system: the bootloader went back to slot %q", e.Slot)))
		}
		return enter(r, PhaseRolledBack)
	}
	return r, Resume(r)
}

// bootedApplied: what was applied to a running system is judged after the
// restart that it asked for.
func bootedApplied(r Record, e Booted) (Record, Act) {
	if !r.Phase.Ended() && r.BootID != e.BootID {
		r.BootID = e.BootID
		r.Boots++
		if r.Boots > MaxBoots && !r.Healthy {
			return fail(r, NewPermanent(CodeAttempts, fmt.Errorf("cannot confirm the update: the system was started %d times", r.Boots)))
		}
		r.Phase = PhaseTrial
	}
	return r, Resume(r)
}

// bootedDetoured: the rescue system goes on with the install. If another one
// runs all the same, because the power went too early or because the rescue
// system does not start, it is tried again a few times.
func bootedDetoured(r Record, e Booted) (Record, Act) {
	if e.Slot == r.Rescue {
		r.Rescue = ""
		return r, Resume(r)
	}
	if r.BootID != e.BootID {
		r.BootID = e.BootID
		r.Attempts++
	}
	if r.Attempts >= MaxDetours {
		return fail(r, NewPermanent(CodeNeverCameUp, fmt.Errorf("cannot start the rescue system %q: slot %q runs in its place", r.Rescue, e.Slot)))
	}
	return r, Resume(r)
}
