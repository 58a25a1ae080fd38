package agent

import (
	"context"
	"errors"
	"time"

	"otad/agent/control"
	"otad/ota"
	"otad/ota/policy"
)

// doDefer puts the update off: the question to the viewer, or the restart,
// comes again when the time is over.
func (a *Agent) doDefer(ctx context.Context, r control.Request) (any, error) {
	return a.decide(ctx, func(ctx context.Context) error {
		if !a.rec.Phase.Waits() {
			return ota.NewRefused(ota.CodeNothing, errors.New("cannot put off: no update waits for the viewer"))
		}
		return a.putOff(ctx, r.Args.Duration(), r.By)
	})
}

// putOff holds a deferral to the limits, and journals it.
func (a *Agent) putOff(ctx context.Context, length time.Duration, by string) error {
	if a.rec.Offer.Type == ota.UpgradeForced {
		return ota.NewRefused(ota.CodeForced, errors.New("cannot put off: the update is forced"))
	}
	now := a.Clock.Now().Round(0)
	next := a.rec.Wait.Deferral.Again(now, length)
	facts := policy.Facts{Now: now, Asked: a.rec.Wait.AskedAt, Agreed: a.rec.Consent == ota.ConsentAccepted, Rules: a.Config.Rules()}
	if err := policy.MayDefer(policy.Deferrals{Count: next.Count, Total: next.Total, Last: next.For}, facts); err != nil {
		return ota.NewRefused(ota.CodeDeferLimit, err).WithHint("accept or decline it; policy.defer_count and policy.defer_total set the limits")
	}
	a.Log.Info("put off", "update", a.rec.ID, "for", next.For, "times", next.Count, "by", by)
	a.feed(ctx, ota.Deferred{At: now, For: next.For})
	return nil
}
