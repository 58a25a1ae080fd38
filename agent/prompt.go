package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"otad/board"
	"otad/ota"
	"otad/ota/policy"
)

// viewer is who answers on the screen, for the log.
const viewer = "viewer"

// dialog is what is on the screen: a question, or a notice.
type dialog struct {
	update string
	notice bool
	end    context.CancelFunc
	ended  chan struct{}
}

// prompt asks the viewer, once, and again after a deferral. A box that has no
// screen is answered for through the verbs.
func (a *Agent) prompt(ctx context.Context, v policy.Verdict) {
	if a.rec.Wait.Prompted || a.dialog != nil {
		return
	}
	within := time.Duration(a.Config.Policy.PromptTimeout)
	if !v.At.IsZero() {
		within = min(within, v.At.Sub(a.Clock.Now()))
	}
	a.say(ctx, board.Question{Within: within, MayStop: true,
		MayDefer: a.rec.Wait.Deferral.Count < a.Config.Policy.DeferCount})
}

// warn shows a notice of the countdown, in the place of the one before.
func (a *Agent) warn(ctx context.Context, v policy.Verdict) {
	a.endDialog()
	a.say(ctx, board.Question{Notice: true, Within: max(time.Second, v.At.Sub(a.Clock.Now())), MayStop: a.Config.Policy.ForcedCancel})
}

// say puts q on the screen and takes the answer in the loop.
func (a *Agent) say(ctx context.Context, q board.Question) {
	p, ok := a.Board.(board.Prompter)
	if !ok || a.Hold {
		return
	}
	o := a.rec.Offer
	q.Update, q.Text, q.Version = a.rec.ID, o.Prompt, o.VersionName
	if q.Version == "" {
		q.Version = fmt.Sprint(o.VersionCode)
	}
	ctx, end := context.WithCancel(ctx)
	d := &dialog{update: q.Update, notice: q.Notice, end: end, ended: make(chan struct{})}
	a.dialog = d
	go func() {
		defer close(d.ended)
		shown, cancel := context.WithTimeout(ctx, q.Within)
		defer cancel()
		answer, err := p.Prompt(shown, q)
		if shown.Err() != nil {
			answer, err = board.Answer{}, nil // nobody answered in time
		}
		// It fails only when nobody wants the answer any more.
		_ = a.inLoop(ctx, func(ctx context.Context) error {
			a.answered(ctx, d, answer, err)
			return nil
		})
	}()
}

// answered puts the viewer's answer into effect.
func (a *Agent) answered(ctx context.Context, d *dialog, answer board.Answer, err error) {
	if a.dialog != d {
		return
	}
	a.dialog = nil
	if err == nil {
		err = a.choose(ctx, d, answer)
	}
	if err != nil {
		a.Log.Warn("no answer from the screen", "update", d.update, "cause", err)
	}
	if d.notice || a.rec.ID != d.update || (err == nil && answer.Choice != "") {
		return
	}
	wait := a.rec.Wait
	wait.Prompted = true // once is enough: what comes now comes through the verbs
	next, _ := ota.Next(a.rec, ota.Waited{Wait: wait})
	if err := a.commit(next, nil); err != nil {
		a.Log.Error("cannot journal that the viewer was asked", "cause", err)
	}
}

func (a *Agent) choose(ctx context.Context, d *dialog, answer board.Answer) error {
	if answer.Choice == "" {
		return nil
	}
	a.Log.Info("the viewer answered", "update", d.update, "choice", answer.Choice)
	if d.notice {
		if answer.Choice != board.ChoiceDecline {
			return nil
		}
		if err := a.mayStop(viewer); err != nil {
			return err
		}
		return a.obey(ctx, ota.GivenUp{By: viewer})
	}
	switch answer.Choice {
	case board.ChoiceAccept:
		a.feed(ctx, ota.Consented{Consent: ota.ConsentAccepted})
	case board.ChoiceNow:
		a.feed(ctx, ota.Consented{Consent: ota.ConsentAccepted})
		a.feed(ctx, ota.Pressed{})
	case board.ChoiceDecline:
		a.feed(ctx, ota.Consented{Consent: ota.ConsentDeclined})
	case board.ChoiceDefer:
		if answer.For <= 0 {
			return errors.New("the answer does not say how long to put it off")
		}
		return a.putOff(ctx, answer.For, viewer)
	default:
		return fmt.Errorf("the answer %q is not known", answer.Choice)
	}
	return nil
}

// clearScreen takes away a question that was answered elsewhere.
func (a *Agent) clearScreen() {
	d := a.dialog
	if d == nil {
		return
	}
	asks := !d.notice && a.rec.Phase == ota.PhaseOffered && a.rec.Consent == ota.ConsentNone && a.rec.Wait.Deferral.Left(a.Clock.Now()) == 0
	counts := d.notice && a.rec.Phase == ota.PhaseArmed
	if a.rec.ID != d.update || !asks && !counts {
		a.endDialog()
	}
}

// endDialog clears the screen and waits until that is done.
func (a *Agent) endDialog() {
	if a.dialog == nil {
		return
	}
	a.dialog.end()
	<-a.dialog.ended
	a.dialog = nil
}
