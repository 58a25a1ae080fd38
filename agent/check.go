package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"otad/ota"
	"otad/ota/journal"
	"otad/ota/policy"
)

// checked is the outcome of asking the server.
type checked struct {
	offer  ota.Offer
	err    error
	asked  ota.Record // who asked, and how: By, Force, Consent
	person bool       // a person asked, so a remembered bad offer is tried again
}

var errInterrupted = errors.New("interrupted")

func (a *Agent) checkEvery() time.Duration { return time.Duration(a.Config.Policy.CheckEvery) }

// spread is this box's share of d: the same at every start, different from
// box to box, so that a fleet that is powered on together does not ask together.
func (a *Agent) spread(d time.Duration) time.Duration {
	return policy.Share(d, a.Config.Device.Key, "poll")
}

// planCheck sets the time of the next check: in the usual distance, ten per
// cent to either side; sooner, and further apart each time, while the server
// does not answer.
func (a *Agent) planCheck() {
	every := a.checkEvery()
	wait := time.Duration(float64(every) * (0.9 + 0.2*mathrand.Float64()))
	if a.checkFail > 0 {
		wait = min(every, max(ota.Backoff(a.checkFail, time.Minute, every, mathrand.Float64()), a.retryAfter))
	}
	a.nextCheck = a.Clock.alarmIn(wait)
}

// check asks the server in the worker.
func (a *Agent) check(ctx context.Context, appoint int64) {
	a.checkFor(ctx, appoint, ota.Record{By: "poll"}, false)
}

func (a *Agent) checkFor(ctx context.Context, appoint int64, asked ota.Record, person bool) {
	a.start(ctx, func(ctx context.Context) workResult {
		offer, err := a.Server.Offer(ctx, a.Running, appoint)
		return workResult{check: &checked{offer: offer, err: err, asked: asked, person: person}}
	})
}

// checkDone takes the server's answer: an offer is accepted, unless it is
// known to be bad and nobody insists.
func (a *Agent) checkDone(ctx context.Context, c checked) {
	if offset, known := a.Server.Offset(); known {
		a.Clock.learn(offset)
	}
	f := ota.FaultOf(c.err)
	answered := f == nil || f.Code == ota.CodeNothing
	if answered {
		a.checkFail, a.retryAfter = 0, 0
		a.box.CheckAt = a.Clock.Now()
		a.trouble(nil)
	} else {
		a.checkFail++
		a.retryAfter = min(f.RetryAfter, maxRetryAfter)
		a.trouble(f)
		a.Log.Warn("check failed", "code", f.Code, "cause", f)
	}
	a.planCheck()
	a.planRound(0)
	if c.err == nil {
		c.err = a.accept(ctx, c)
	}
	a.show() // who waits looks at the state next
	a.answerWaiting(c)
}

// accept starts an update from an offer.
func (a *Agent) accept(ctx context.Context, c checked) error {
	if bad, is := a.box.Forbids(c.offer, a.Clock.Now()); is && !a.roomFor(bad) {
		switch {
		case c.person:
		case bad.Code == ota.CodeNothing:
			return ota.NewRefused(ota.CodeNothing, fmt.Errorf("nothing to do for version %d: %s", c.offer.VersionCode, bad.Text))
		default:
			return ota.NewRefused(ota.CodeBadOffer, fmt.Errorf("cannot accept version %d: it failed before: %s", c.offer.VersionCode, bad.Text)).
				WithHint("`otad upgrade` tries it again")
		}
		box := a.box.Forget(bad.Key)
		if err := a.Journal.Commit(journal.Change{Box: &box}); err != nil {
			return err
		}
		a.box = box
	}
	rec := c.asked
	rec.ID = rand.Text()[:12]
	rec.Offer = c.offer
	rec.From, rec.FromSlot, rec.StartedAt = a.Running, a.boot.Slot, a.Clock.Now()
	a.Log.Info("offer accepted", "update", rec.ID, "version", c.offer.VersionCode, "type", c.offer.Type, "by", rec.By)
	a.feed(ctx, ota.Accepted{Record: rec})
	if a.held != nil {
		return ota.NewTransient(ota.CodeJournal, errors.New("cannot accept the offer: the journal cannot be written"))
	}
	return nil
}

// roomFor tells whether an offer was bad for want of space that is there now.
func (a *Agent) roomFor(bad ota.BadOffer) bool {
	if bad.NeedBytes == 0 {
		return false
	}
	free, err := a.Fetcher.FreeBytes(a.Config.Download.Dir)
	return err == nil && free >= bad.NeedBytes
}

// answerWaiting tells the verbs that wait for the check.
func (a *Agent) answerWaiting(c checked) {
	for _, w := range a.waiting {
		w <- c
	}
	a.waiting = nil
}
