package agent

import (
	"testing"

	"otad/agent/control"
	"otad/agent/report"
	"otad/ota"
)

// A viewer who said no is not asked again when the server moves the file, until
// it has something newer.
func TestDeclinedUntilNewer(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	offer := b.publish(system{code: 3, health: "exit 0"})
	offer.Type = ota.UpgradePrompt
	data := b.server.files[offer.URL]
	b.server.set(offer, data)
	a := b.running()
	asks := func(s report.State) bool { return s.Phase == ota.PhaseOffered }
	wait(t, a, "asking", asks)
	if r := do(t, a, control.Request{Verb: control.Consent, Args: control.Args{Answer: "decline"}}); !r.OK {
		t.Fatalf("decline refused: %+v", r)
	}
	wait(t, a, "declined", phase(ota.PhaseIdle))
	offer.URL = "http://host/moved.swu"
	b.server.set(offer, data)
	if r := do(t, a, control.Request{Verb: control.Check}); r.OK || r.Code != ota.CodeBadOffer {
		t.Fatalf("asks again about what was declined: %+v", r)
	}
	offer = b.publish(system{code: 4, health: "exit 0"})
	offer.Type = ota.UpgradePrompt
	b.server.set(offer, b.server.files[offer.URL])
	if r := do(t, a, control.Request{Verb: control.Check}); !r.OK {
		t.Fatalf("does not ask about a newer one: %+v", r)
	}
	wait(t, a, "asking again", asks)
}
