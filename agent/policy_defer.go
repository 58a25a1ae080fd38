package agent

import (
	"context"
	"errors"

	"otad/agent/control"
	"otad/ota"
	"otad/ota/policy"
)

// doDefer puts the update off: the question to the viewer, or the restart,
// comes again when the time is over.
func (a *Agent) doDefer(ctx context.Context, r control.Request) (any, error) {
	err := a.inLoop(ctx, func(ctx context.Context) error {
		if !a.rec.Phase.Waits() {
			return ota.NewRefused(ota.CodeNothing, errors.New("cannot put off: no update waits for the viewer"))
		}
		now, d := a.Clock.Now(), a.rec.Wait.Deferral
		next := d.Again(now, r.Args.Duration())
		if a.rec.Offer.Type == ota.UpgradeForced {
			return ota.NewRefused(ota.CodeForced, errors.New("cannot put off: the update is forced"))
		}
		if err := a.Config.Rules().MayDefer(policy.Deferrals{Count: next.Count, Total: next.Total}); err != nil {
			return ota.NewRefused(ota.CodeDeferLimit, err).WithHint("accept or decline it; policy.defer_count and policy.defer_total set the limits")
		}
		a.Log.Info("put off", "update", a.rec.ID, "for", next.For, "times", next.Count, "by", r.By)
		a.feed(ctx, ota.Deferred{At: now, For: next.For})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a.State(), nil
}
