package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"otad/agent/report"
	"otad/board"
	"otad/ota"
	"otad/ota/journal"
	"otad/ota/policy"
)

// ask puts a question to the policy; the answer no is asked again when the
// verdict says so, and at least once an hour, in case a clock is set.
func (a *Agent) ask(ctx context.Context, q policy.Question) {
	switch {
	case a.inRescue(): // nobody watches there, and everybody waits
		a.feed(ctx, ota.Allowed{})
		return
	case q == policy.Reboot && a.rec.Stay && !a.rec.Force:
		a.explain(policy.Verdict{Reason: "the artifact asks for no restart: it takes effect with the next one"})
		return
	}
	if !a.settleClock() {
		a.later()
		return
	}
	verdict := policy.Decide(q, a.facts(ctx))
	news, err := a.note(verdict)
	if err != nil {
		a.Log.Error("cannot go on", "phase", a.rec.Phase, "cause", err)
		a.later()
		return
	}
	if news { // a deadline or a countdown runs now
		verdict = policy.Decide(q, a.facts(ctx))
	}
	if a.rec.Rescue != "" && verdict.Reason != "" {
		verdict.Reason = "the running system is not written over, the rescue system installs it: " + verdict.Reason
	}
	a.explain(verdict)
	switch {
	case verdict.Allowed:
		a.feed(ctx, ota.Allowed{})
		return
	case verdict.Choice != "":
		a.unanswered(ctx, verdict.Choice)
		return
	case verdict.Why == policy.WhyConsent:
		a.prompt(ctx, verdict)
	case verdict.Why == policy.WhyCountdown && news:
		a.warn(ctx, verdict)
	}
	a.wake = a.Clock.alarmIn(a.lookAgain(verdict))
}

// lookAgain is how long a verdict holds at the most.
func (a *Agent) lookAgain(v policy.Verdict) time.Duration {
	wait := time.Hour
	if v.Again > 0 {
		wait = min(wait, v.Again)
	}
	if !v.At.IsZero() {
		wait = min(wait, max(0, v.At.Sub(a.Clock.Now())))
	}
	return wait
}

// facts are those of the update under way.
func (a *Agent) facts(ctx context.Context) policy.Facts {
	now, r := a.Clock.Now(), a.rec
	f := policy.Facts{
		Type: policy.Upgrade(r.Offer.Type), Force: r.Force, Agreed: r.Consent == ota.ConsentAccepted,
		Accepted: r.StartedAt, Asked: r.Wait.AskedAt, Deferred: r.Wait.Deferral.Left(now), Begun: r.Wait.CountdownAt,
	}
	if r.Phase == ota.PhaseOffered && r.Download.TotalBytes > 0 {
		free, err := a.Fetcher.FreeBytes(a.Config.Download.Dir)
		if err == nil {
			f.NeedBytes, f.FreeBytes = r.Download.TotalBytes-r.Download.SyncedBytes, free
		}
	}
	return a.boxFacts(ctx, f)
}

// boxFacts adds to f what does not depend on an update. What the board cannot
// say counts against a restart.
func (a *Agent) boxFacts(ctx context.Context, f policy.Facts) policy.Facts {
	f.Now, f.Device, f.Rules = a.Clock.Now(), a.Config.Device.Key, a.Config.Rules()
	use, err := board.UsageOf(ctx, a.Board)
	if err != nil {
		a.Log.Warn("cannot ask whether the box is in use", "cause", err)
		use.Busy = "cannot tell whether it is in use"
	}
	f.Busy, f.Standby = use.Busy, use.Standby
	if use.TimerIn > 0 {
		f.Timer = f.Now.Add(use.TimerIn)
	}
	if b, ok := a.Board.(board.Ready); ok {
		if f.NotReady, err = b.Ready(ctx); err != nil {
			a.Log.Warn("cannot ask whether the box is ready", "cause", err)
			f.NotReady = "cannot tell whether it is"
		}
	}
	f.Metered = a.metered(ctx)
	return f
}

// metered tells whether each byte costs. A board that cannot say is taken to be
// on an ordinary link: a box that never updates is worse.
func (a *Agent) metered(ctx context.Context) bool {
	b, ok := a.Board.(board.Link)
	if a.Config.Policy.Metered || !ok {
		return a.Config.Policy.Metered
	}
	metered, err := b.Metered(ctx)
	if err != nil {
		a.Log.Warn("cannot ask whether the link is metered", "cause", err)
	}
	return metered
}

// note journals what a verdict begins: the wait for an answer, a countdown, a
// notice; and tells the operator of it. It returns whether there was any news.
func (a *Agent) note(v policy.Verdict) (news bool, err error) {
	now, wait := a.Clock.Now().Round(0), a.rec.Wait
	event := report.Event{Update: a.rec.ID, Phase: a.rec.Phase, Text: v.Reason, To: versionOf(a.rec.Offer)}
	switch {
	case v.Why == policy.WhyConsent && wait.AskedAt.IsZero():
		wait.AskedAt, event.Type = now, report.EventAsked
		if d := a.Config.Policy.ConsentDeadline; d > 0 {
			event.At = optional(now.Add(time.Duration(d)))
		}
	case v.Why == policy.WhyCountdown && v.Notice != wait.Notice:
		if wait.CountdownAt.IsZero() {
			wait.CountdownAt = now
		}
		wait.Notice, event.Type, event.At = v.Notice, report.EventNotice, optional(v.At)
	default:
		return false, nil
	}
	next, _ := ota.Next(a.rec, ota.Waited{Wait: wait})
	if err := a.commit(next, &journal.Change{Events: []journal.Event{a.event(event)}}); err != nil {
		return false, err
	}
	a.Log.Info(event.Type, "update", a.rec.ID, "text", v.Reason, "at", event.At)
	return true, nil
}

func versionOf(o ota.Offer) *ota.Version {
	return &ota.Version{Code: o.VersionCode, Name: o.VersionName}
}

// unanswered puts the operator's choice in the place of the viewer's answer.
func (a *Agent) unanswered(ctx context.Context, choice policy.Choice) {
	a.Log.Info("no answer in time", "update", a.rec.ID, "choice", choice)
	switch choice {
	case policy.Accept:
		a.feed(ctx, ota.Consented{Consent: ota.ConsentAccepted})
	case policy.Decline:
		a.feed(ctx, ota.Consented{Consent: ota.ConsentDeclined})
	default:
		a.feed(ctx, ota.Failed{Fault: ota.NewRefused(ota.CodeNoAnswer,
			errors.New("cannot go on with the update: the viewer did not answer in time"))})
	}
}

// mayStop tells whether by may decline or cancel the update under way. The
// operator always may; at the box a forced one is stopped only where the
// settings allow it.
func (a *Agent) mayStop(by string) error {
	if a.rec.Offer.Type != ota.UpgradeForced || a.Config.Policy.ForcedCancel || strings.HasPrefix(by, "mqtt:") {
		return nil
	}
	return ota.NewRefused(ota.CodeForced, fmt.Errorf("cannot stop update %s: it is forced", a.rec.ID)).
		WithHint("policy.forced_cancel allows it")
}

// A clock that is set is told from one that only drifts, or from a box that
// slept, by how far it goes: back at all, or ahead by more than a night.
const (
	jumpBack  = time.Minute
	jumpAhead = 24 * time.Hour
	// settleTime is how long a start in the future is taken for one of a better
	// clock, which this one will be again as soon as it is set.
	settleTime = 24 * time.Hour
)

// settleClock moves the spans of the record along when the clock was set. It is
// false when that could not be journalled.
func (a *Agent) settleClock() bool {
	now, mono := a.Clock.Now().Round(0), time.Now()
	wait := a.rec.Wait
	if a.wallSeen.IsZero() {
		a.started = mono
	} else {
		expected := a.wallSeen.Add(mono.Sub(a.monoSeen))
		if jump := now.Sub(expected); jump < -jumpBack || jump > jumpAhead {
			a.Log.Info("the clock was set", "by", jump.Round(time.Second))
			wait = wait.Moved(expected, jump)
		}
	}
	if mono.Sub(a.started) >= settleTime {
		wait = wait.Begun(now)
	}
	next, _ := ota.Next(a.rec, ota.Waited{Wait: wait})
	if err := a.commit(next, nil); err != nil {
		a.Log.Error("cannot go on", "phase", a.rec.Phase, "cause", err)
		return false // the next look sees the jump again
	}
	a.wallSeen, a.monoSeen = now, mono
	return true
}
