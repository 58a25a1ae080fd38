package ota

import (
	"errors"
	"fmt"
)

// cancelled ends what can still be ended: until the slot is whole.
func cancelled(r Record, e Cancelled) (Record, Act) {
	switch r.Phase {
	case PhaseOffered, PhaseDownloading, PhaseDownloaded, PhaseInstalling:
		return fail(r, NewRefused(CodeCancelled, fmt.Errorf("cannot go on with the update: cancelled by %s", e.By)))
	}
	return r, ActNone
}

// givenUp takes back what is armed, and gives up what is on trial and not found
// healthy yet. What was found healthy is being confirmed: it is too late, and a
// way back is another matter.
func givenUp(r Record, e GivenUp) (Record, Act) {
	f := NewRefused(CodeRejected, fmt.Errorf("cannot keep the new system: given up by %s", e.By))
	switch r.Phase {
	case PhaseInstalled, PhaseArmed:
		return fail(r, f) // settling marks the slot unbootable
	case PhaseTrial:
		if r.Applied && !r.Healthy {
			return fail(r, f)
		}
		if r.Failure == nil && !r.Healthy {
			r.Failure, r.Attempts = FailureOf(f), 0
			return r, ActReject
		}
	}
	return r, ActNone
}

func declined() *Fault {
	return NewRefused(CodeDeclined, errors.New("cannot go on with the update: declined by the viewer"))
}

func consented(r Record, e Consented) (Record, Act) {
	switch r.Phase {
	case PhaseOffered, PhaseDownloaded, PhaseArmed:
		r.Consent = e.Consent
		if e.Consent == ConsentDeclined && r.Phase != PhaseArmed {
			return fail(r, declined())
		}
		return r, Resume(r)
	case PhaseDownloading, PhaseInstalling, PhaseInstalled:
		r.Consent = e.Consent
		switch {
		case r.Rescue == "":
		case e.Consent == ConsentDeclined:
			return fail(r, declined())
		default:
			return r, Resume(r)
		}
	}
	return r, ActNone
}

func pressed(r Record) (Record, Act) {
	if !r.Phase.Waits() {
		return r, ActNone
	}
	r.Force = true
	return r, askAgain(r)
}

func deferred(r Record, e Deferred) (Record, Act) {
	if !r.Phase.Waits() {
		return r, ActNone
	}
	r.Wait.Deferral = r.Wait.Deferral.Again(e.At, e.For)
	r.Wait.Prompted = false // and is asked again after it
	return r, askAgain(r)
}

// askAgain is the question to the policy that r waits with, if it does.
func askAgain(r Record) Act {
	switch {
	case r.Phase == PhaseOffered, r.Phase == PhaseDownloaded, r.Phase == PhaseArmed, r.Rescue != "":
		return Resume(r)
	}
	return ActNone
}
