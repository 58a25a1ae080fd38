package ota

import (
	"fmt"
	"time"
)

// Act is what the agent does next. Every act is idempotent: after a crash it
// is done again from the record.
type Act string

const (
	ActNone        Act = "none"
	ActAskDownload Act = "ask-download" // ask the policy; Allowed when it says yes
	ActDownload    Act = "download"     // Fetched or Failed
	ActAskInstall  Act = "ask-install"  // ask the policy; Allowed when it says yes
	ActInstall     Act = "install"      // choose the idle slot, verify, write, read back; Written or Failed
	ActArm         Act = "arm"          // Armed or Failed
	ActAskReboot   Act = "ask-reboot"   // ask the policy; Allowed when it says yes
	ActReboot      Act = "reboot"       // ends the process
	ActEnterRescue Act = "enter-rescue" // arm the rescue system and restart into it; ends the process
	ActCheckHealth Act = "check-health" // Healthy or Failed
	ActConfirm     Act = "confirm"      // Confirmed or Failed
	ActReject      Act = "reject"       // give up the slot on trial; Rejected or Failed
	ActSettle      Act = "settle"       // write the history, the floor and the bad offer; Settled
)

// Event is something that happened. The types of this file implement it.
type Event interface{ event() }

type (
	// Booted comes first at every start of the agent: what the board says.
	Booted struct {
		BootID  string
		Slot    string  // the slot that runs
		Version Version // of the system that runs
		Trial   bool    // the board says: not confirmed
	}
	// Accepted starts an update. The record carries ID, Offer, By, Force,
	// Below, Consent, From, FromSlot and StartedAt; the rest is ignored.
	Accepted struct{ Record Record }
	// Allowed is the policy's yes to the question that was asked.
	Allowed struct{}
	// Progressed: a download checkpoint was made.
	Progressed struct{ Checkpoint Checkpoint }
	// Fetched: the artifact is staged whole in File.
	Fetched struct{ File string }
	// Unstaged: the artifact is not to be staged, but to be streamed into the slot
	// once that is allowed.
	Unstaged struct{}
	// Landed: a part of a streamed artifact is on the medium. Image is that of
	// the slot, once it is done. With a zero Point, all has to come again.
	Landed struct {
		Checkpoint Checkpoint
		Point      StreamPoint
		Image      Image
	}
	// Gained: an attempt that failed brought bytes in that need not come again.
	Gained struct{}
	// Targeted: the idle slot was chosen, before it is touched.
	Targeted struct{ Slot string }
	// Written: the slot holds the image, read back from the medium. Stay: the
	// artifact asks for no restart.
	Written struct {
		Image Image
		Stay  bool
	}
	// Applied: the artifact had nothing for a slot, and the rest is in place in
	// the system that runs, in the boot BootID.
	Applied struct {
		BootID string
		Stay   bool
	}
	// Detoured: the artifact is good, but only the system in the slot Rescue can
	// write it. BootID is of the boot that runs.
	Detoured struct{ Rescue, BootID string }
	// Armed: the bootloader will try the slot. BootID is of the boot that still runs.
	Armed struct{ BootID string }
	// Healthy: the system on trial passed its checks.
	Healthy struct{}
	// Confirmed: the slot on trial is permanent.
	Confirmed struct{}
	// Rejected: the slot on trial was given up; the next boot starts the old one.
	Rejected struct{}
	// Failed: the act could not be done.
	Failed struct{ Fault *Fault }
	// Cancelled: a person (By) stopped the update.
	Cancelled struct{ By string }
	// Consented: the viewer answered.
	Consented struct{ Consent Consent }
	// Deferred: the viewer said: later. Whether that is allowed was judged before.
	Deferred struct {
		At  time.Time
		For time.Duration
	}
	// Waited: what the waiting has come to. It asks for no act.
	Waited struct{ Wait Wait }
	// Pressed: a person said: now. It overrides the policy.
	Pressed struct{}
	// Returning starts a way back to the system that another slot holds still.
	// The record carries what Accepted has, and ToSlot and Image.
	Returning struct{ Record Record }
	// Vouched: a person says that the system on trial is good.
	Vouched struct{}
	// GivenUp: a person (By) does not want the system that is armed or on trial.
	GivenUp struct{ By string }
	// Settled: the outcome is in the history.
	Settled struct{}
)

func (Booted) event()     {}
func (Accepted) event()   {}
func (Allowed) event()    {}
func (Progressed) event() {}
func (Fetched) event()    {}
func (Unstaged) event()   {}
func (Landed) event()     {}
func (Gained) event()     {}
func (Targeted) event()   {}
func (Written) event()    {}
func (Applied) event()    {}
func (Detoured) event()   {}
func (Armed) event()      {}
func (Healthy) event()    {}
func (Confirmed) event()  {}
func (Rejected) event()   {}
func (Failed) event()     {}
func (Cancelled) event()  {}
func (Consented) event()  {}
func (Deferred) event()   {}
func (Waited) event()     {}
func (Pressed) event()    {}
func (Returning) event()  {}
func (Vouched) event()    {}
func (GivenUp) event()    {}
func (Settled) event()    {}

// Limits that keep an update from going round for ever.
const (
	MaxAttempts = 10 // faults in one phase without progress
	MaxChanges  = 40 // phase changes of one update
	MaxBoots    = 6  // boots of the new system on trial
	MaxDetours  = 3  // boots of the system that should have been the rescue system
)

// Resume is the act that belongs to a record: what to do after a restart when
// nothing else happened.
func Resume(r Record) Act {
	switch r.Phase {
	case PhaseOffered:
		return ActAskDownload
	case PhaseDownloading:
		return ActDownload
	case PhaseDownloaded:
		return ActAskInstall
	case PhaseInstalling:
		if r.Rescue != "" {
			return ActAskReboot
		}
		return ActInstall
	case PhaseInstalled:
		return ActArm
	case PhaseArmed:
		return ActAskReboot
	case PhaseTrial:
		switch {
		case r.Failure != nil:
			return ActReject
		case r.Healthy:
			return ActConfirm
		}
		return ActCheckHealth
	case PhaseConfirmed, PhaseRolledBack, PhaseFailed:
		return ActSettle
	}
	return ActNone
}

// Next says what follows from an event: the record to journal, then the act to
// perform. An event that has no meaning in the record's phase (it came too
// late) changes nothing and asks for nothing.
func Next(r Record, e Event) (Record, Act) {
	before := r.Phase
	next, act := step(r, e)
	if next.Phase != before {
		next.Attempts, next.Rescue = 0, ""
		if next.Phase != PhaseIdle {
			next.Changes++
		}
		if next.Changes > MaxChanges && !next.Phase.Ended() && next.Phase != PhaseTrial {
			return fail(next, NewPermanent(CodeAttempts, fmt.Errorf("cannot finish update: more than %d phase changes", MaxChanges)))
		}
	}
	return next, act
}

func step(r Record, e Event) (Record, Act) {
	switch e := e.(type) {
	case Booted:
		return booted(r, e)
	case Cancelled:
		return cancelled(r, e)
	case Consented:
		return consented(r, e)
	case Waited:
		if r.Phase.Waits() {
			r.Wait = e.Wait
		}
		return r, ActNone
	case Deferred:
		return deferred(r, e)
	case Pressed:
		return pressed(r)
	case GivenUp:
		return givenUp(r, e)
	case Failed:
		return failed(r, e.Fault)
	}
	switch r.Phase {
	case PhaseIdle, "":
		switch e := e.(type) {
		case Accepted:
			return accepted(e.Record)
		case Returning:
			return returning(e.Record)
		}
	case PhaseOffered:
		if _, ok := e.(Allowed); ok {
			return enter(r, PhaseDownloading)
		}
	case PhaseDownloading:
		return downloading(r, e)
	case PhaseDownloaded:
		if _, ok := e.(Allowed); ok {
			return enter(r, PhaseInstalling)
		}
	case PhaseInstalling:
		return installing(r, e)
	case PhaseInstalled:
		if e, ok := e.(Armed); ok {
			r.BootID = e.BootID
			return enter(r, PhaseArmed)
		}
	case PhaseArmed:
		if _, ok := e.(Allowed); ok {
			return r, ActReboot
		}
	case PhaseTrial:
		return trial(r, e)
	case PhaseConfirmed, PhaseRolledBack, PhaseFailed:
		if _, ok := e.(Settled); ok {
			return Record{Phase: PhaseIdle}, ActNone
		}
	}
	return r, ActNone
}

// enter changes the phase and returns the act that belongs to it.
func enter(r Record, p Phase) (Record, Act) {
	r.Phase = p
	return r, Resume(r)
}

func fail(r Record, f *Fault) (Record, Act) {
	r.Failure = FailureOf(f)
	return enter(r, PhaseFailed)
}

func accepted(in Record) (Record, Act) {
	return enter(Record{
		ID: in.ID, Offer: in.Offer, By: in.By, Force: in.Force, Below: in.Below,
		Consent: in.Consent, From: in.From, FromSlot: in.FromSlot, StartedAt: in.StartedAt,
	}, PhaseOffered)
}

// returning begins where an update is whose slot is whole: the other slot needs
// no download and no writing.
func returning(in Record) (Record, Act) {
	r, _ := accepted(in)
	r.Back, r.ToSlot, r.Image = true, in.ToSlot, in.Image
	return enter(r, PhaseInstalled)
}

func downloading(r Record, e Event) (Record, Act) {
	switch e := e.(type) {
	case Progressed:
		if e.Checkpoint.SyncedBytes > r.Download.SyncedBytes {
			r.Attempts = 0
		}
		r.Download = e.Checkpoint
	case Fetched:
		r.File = e.File
		return downloaded(r)
	case Unstaged:
		r.Streamed, r.Download = true, Checkpoint{Changes: r.Download.Changes}
		return downloaded(r)
	}
	return r, ActNone
}

func downloaded(r Record) (Record, Act) {
	if r.Consent == ConsentDeclined && !r.Force {
		// The viewer said no while it came in.
		return fail(r, declined())
	}
	return enter(r, PhaseDownloaded)
}

func installing(r Record, e Event) (Record, Act) {
	switch e := e.(type) {
	case Targeted:
		r.ToSlot = e.Slot
	case Landed:
		if e.Checkpoint.SyncedBytes > r.Download.SyncedBytes {
			r.Attempts = 0
		}
		r.Download, r.Stream, r.Image = e.Checkpoint, e.Point, e.Image
	case Gained:
		r.Attempts = 0
	case Written:
		r.Image, r.Stay, r.Stream = e.Image, e.Stay, StreamPoint{}
		return enter(r, PhaseInstalled)
	case Applied:
		r.Applied, r.Stay, r.BootID, r.ToSlot = true, e.Stay, e.BootID, ""
		if e.Stay {
			return enter(r, PhaseTrial)
		}
		return enter(r, PhaseArmed)
	case Detoured:
		r.Rescue, r.BootID, r.Attempts = e.Rescue, e.BootID, 0
		return r, Resume(r)
	case Allowed:
		if r.Rescue != "" {
			return r, ActEnterRescue
		}
	}
	return r, ActNone
}

func trial(r Record, e Event) (Record, Act) {
	switch e.(type) {
	case Healthy, Vouched:
		if r.Failure == nil {
			r.Healthy = true
		}
		return r, Resume(r)
	case Confirmed:
		if r.Healthy && r.Failure == nil {
			return enter(r, PhaseConfirmed)
		}
	case Rejected:
		if r.Failure != nil {
			return r, ActReboot
		}
	}
	return r, ActNone
}

// failed sorts a fault: again, or give up.
func failed(r Record, f *Fault) (Record, Act) {
	switch r.Phase {
	case PhaseIdle, "", PhaseConfirmed, PhaseRolledBack, PhaseFailed:
		return r, ActNone
	case PhaseTrial:
		return failedTrial(r, f)
	case PhaseArmed:
		// The slot is armed: a reboot that could not be asked for is asked for
		// again, as often as it takes.
		r.Attempts++
		return r, ActAskReboot
	}
	if f.Code == CodeReadback && r.Streamed {
		// What was believed to be on the medium is not.
		r.Download.SyncedBytes, r.Stream, r.Image = 0, StreamPoint{}, Image{}
	}
	if f.Code == CodeFirmwareNotFound && r.Offer.URL != "" && r.Phase == PhaseInstalling {
		// The staged file is gone: fetch it again.
		r.File, r.Download = "", Checkpoint{}
		return enter(r, PhaseDownloading)
	}
	r.Attempts++
	// Space is not made by trying: it is remembered how much is needed.
	if f.Class != Transient || f.Code == CodeNoSpace || r.Attempts >= MaxAttempts {
		return fail(r, f)
	}
	return r, Resume(r)
}

// failedTrial: an unhealthy system is rejected, and so is one that cannot be
// confirmed. One that cannot even be rejected (there is nothing to fall back
// to) is left to the bootloader, which counts its tries.
//
// There is nothing to reject where no slot was armed.
func failedTrial(r Record, f *Fault) (Record, Act) {
	if r.Applied && (!r.Healthy || r.Attempts+1 >= MaxAttempts) {
		return fail(r, f)
	}
	if r.Failure == nil && !r.Healthy {
		r.Failure = FailureOf(f)
		return r, ActReject
	}
	r.Attempts++
	if r.Attempts < MaxAttempts {
		return r, Resume(r)
	}
	if r.Failure != nil {
		return enter(r, PhaseFailed)
	}
	r.Healthy, r.Failure, r.Attempts = false, FailureOf(f), 0
	return r, ActReject
}
