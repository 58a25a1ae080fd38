package agent

import (
	"context"
	"sync"
	"time"

	"otad/ota"
	"otad/ota/policy"
)

// meteredEvery is how often a download that runs looks at what its link costs.
const meteredEvery = time.Minute

// tooDear asks in the loop, where the record is, whether the link costs by now
// so that the download must wait.
func (a *Agent) tooDear(ctx context.Context) (rec ota.Record, v policy.Verdict, err error) {
	err = a.inLoop(ctx, func(ctx context.Context) error {
		rec = a.rec
		if a.metered(ctx) {
			v = policy.Decide(policy.Download, a.facts(ctx))
		}
		return nil
	})
	if v.Why != policy.WhyMetered { // the rest was answered before it began
		v = policy.Verdict{}
	}
	return rec, v, err
}

// unlessMetered is act, which brings bytes in, made to rest while each of them
// costs. It is interrupted, and goes on from its last checkpoint.
func (a *Agent) unlessMetered(act func(context.Context, ota.Record) (ota.Event, error)) func(context.Context, ota.Record) (ota.Event, error) {
	return func(ctx context.Context, _ ota.Record) (ota.Event, error) {
		for {
			rec, dear, err := a.tooDear(ctx)
			if err != nil {
				return nil, err
			}
			a.explain(dear)
			if dear.Why == "" {
				running, stop := context.WithCancel(ctx)
				var watch sync.WaitGroup
				watch.Go(func() { a.stopWhenMetered(running, stop) })
				event, err := act(running, rec)
				stopped := err != nil && running.Err() != nil && ctx.Err() == nil
				stop()
				watch.Wait()
				if !stopped {
					return event, err
				}
				a.Log.Info("the link is metered now, the download rests", "update", rec.ID)
				continue
			}
			if !sleep(ctx, meteredEvery) {
				return nil, ctx.Err()
			}
		}
	}
}

// stopWhenMetered calls stop once the link is metered.
func (a *Agent) stopWhenMetered(ctx context.Context, stop context.CancelFunc) {
	for sleep(ctx, meteredEvery) {
		if _, dear, err := a.tooDear(ctx); err == nil && dear.Why != "" {
			stop()
			return
		}
	}
}
