package agent

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"otad/agent/control"
	"otad/ota"
	"otad/ota/journal"
)

// Do implements control.Verbs. Verbs are taken one after the other by the
// loop; `check` and `upgrade` answer when the server did.
func (a *Agent) Do(ctx context.Context, r control.Request) (any, error) {
	data, err := a.do(ctx, r)
	a.Audit(r, err)
	return data, err
}

func (a *Agent) do(ctx context.Context, r control.Request) (any, error) {
	switch r.Verb {
	case control.Status:
		select {
		case <-a.ready:
			return a.State(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case control.History:
		limit := r.Args.Limit
		if limit == 0 {
			limit = 10
		}
		if r.Args.Audit {
			return a.Journal.Deeds(min(limit, journal.MaxDeeds))
		}
		return a.Journal.History(min(limit, journal.MaxHistory))
	case control.Config:
		configuration, _ := a.channelStates()
		if configuration == nil {
			return nil, ota.NewRefused(ota.CodeNothing, errors.New("cannot tell of a configuration: this box has no configuration channel")).
				WithHint("see [configuration] key")
		}
		return configuration, nil
	case control.Logs:
		if a.Logs == nil {
			return []string{}, nil
		}
		return a.Logs.Last(r.Args.Limit), nil
	case control.Check:
		return a.doCheck(ctx, r)
	case control.Upgrade:
		return a.doUpgrade(ctx, r)
	case control.Install:
		return a.doInstall(ctx, r)
	case control.Scan:
		return a.doScan(ctx, r)
	case control.Consent:
		return a.doConsent(ctx, r)
	case control.Defer:
		return a.doDefer(ctx, r)
	case control.Cancel:
		return a.doCancel(ctx, r)
	case control.Confirm:
		return a.doConfirm(ctx, r)
	case control.Rollback:
		return a.doRollback(ctx, r)
	case control.Reboot:
		return a.doReboot(ctx, r)
	}
	return nil, ota.NewRefused(ota.CodeUsage, fmt.Errorf("cannot follow request: verb %q is not known", r.Verb))
}

// FollowLogs implements control.LogFollower.
func (a *Agent) FollowLogs(ctx context.Context, n int, each func(lines []string) bool) error {
	if a.Logs == nil {
		return ota.NewRefused(ota.CodeNothing, errors.New("cannot follow the log: none is kept"))
	}
	return a.Logs.Follow(ctx, n, each)
}

// idle refuses what needs an agent without an update under way.
func (a *Agent) idle() error {
	switch {
	case !a.booted:
		return ota.NewTransient(ota.CodeBoard, errors.New("cannot begin: the board does not answer yet"))
	case a.rec.Phase != ota.PhaseIdle:
		return ota.NewRefused(ota.CodeBusy, fmt.Errorf("cannot begin: update %s to version %d is %s (started by %s)",
			a.rec.ID, a.rec.Offer.VersionCode, a.rec.Phase, a.rec.By))
	case a.work != nil && len(a.waiting) > 0:
		return ota.NewRefused(ota.CodeBusy, errors.New("cannot begin: a check is under way"))
	}
	return nil
}

func (a *Agent) doCheck(ctx context.Context, r control.Request) (any, error) {
	c, err := a.askServer(ctx, 0, ota.Record{By: r.By}, false)
	if err != nil {
		return nil, err
	}
	return c.offer, nil
}

// askServer checks in the loop's worker and waits for the answer.
func (a *Agent) askServer(ctx context.Context, appoint int64, asked ota.Record, person bool) (checked, error) {
	answer := make(chan checked, 1)
	err := a.inLoop(ctx, func(ctx context.Context) error {
		if err := a.idle(); err != nil {
			return err
		}
		a.checkFor(ctx, appoint, asked, person)
		a.waiting = append(a.waiting, answer)
		return nil
	})
	if err != nil {
		return checked{}, err
	}
	select {
	case c := <-answer:
		return c, c.err
	case <-ctx.Done():
		return checked{}, ctx.Err()
	}
}

// doUpgrade goes on with the update under way, or checks for one. Whoever asks
// for an upgrade consents to it; only `now` overrides windows and viewers.
func (a *Agent) doUpgrade(ctx context.Context, r control.Request) (any, error) {
	underWay := false
	err := a.inLoop(ctx, func(ctx context.Context) error {
		if a.rec.Phase == ota.PhaseIdle {
			return nil
		}
		underWay = true
		if r.Args.To != 0 && r.Args.To != a.rec.Offer.VersionCode {
			return a.idle()
		}
		a.feed(ctx, ota.Consented{Consent: ota.ConsentAccepted})
		if r.Args.Now {
			a.feed(ctx, ota.Pressed{})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !underWay {
		asked := ota.Record{By: r.By, Force: r.Args.Now, Consent: ota.ConsentAccepted}
		if _, err := a.askServer(ctx, r.Args.To, asked, true); err != nil {
			return nil, err
		}
	}
	return a.State(), nil
}

// doInstall starts an update from a file or a URL that a person names.
func (a *Agent) doInstall(ctx context.Context, r control.Request) (any, error) {
	var offer ota.Offer
	switch u, err := url.Parse(r.Args.Source); {
	case strings.HasPrefix(r.Args.Source, "/"):
		offer = fileOffer(r.Args.Source)
	case err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		offer.URL = r.Args.Source
	default:
		return nil, ota.NewRefused(ota.CodeUsage, fmt.Errorf("cannot install %q: want an absolute path or an http URL", r.Args.Source))
	}
	offer.Type, offer.VersionName = ota.UpgradeSilent, filepath.Base(r.Args.Source)
	err := a.inLoop(ctx, func(ctx context.Context) error {
		if err := a.idle(); err != nil {
			return err
		}
		asked := ota.Record{By: r.By, Force: r.Args.Now, Consent: ota.ConsentAccepted, Below: r.Args.BelowFloor}
		return a.accept(ctx, checked{offer: offer, asked: asked, person: true})
	})
	if err != nil {
		return nil, err
	}
	return a.State(), nil
}

func (a *Agent) doConsent(ctx context.Context, r control.Request) (any, error) {
	consent := ota.ConsentAccepted
	if r.Args.Answer == "decline" {
		consent = ota.ConsentDeclined
	}
	err := a.inLoop(ctx, func(ctx context.Context) error {
		if a.rec.Phase == ota.PhaseIdle || a.rec.Phase.Ended() || a.rec.Phase == ota.PhaseTrial {
			return ota.NewRefused(ota.CodeNothing, errors.New("cannot take consent: no update waits for it"))
		}
		if consent == ota.ConsentDeclined {
			if err := a.mayStop(r.By); err != nil {
				return err
			}
		}
		a.feed(ctx, ota.Consented{Consent: consent})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a.State(), nil
}

func (a *Agent) doCancel(ctx context.Context, r control.Request) (any, error) {
	err := a.inLoop(ctx, func(ctx context.Context) error {
		next, _ := ota.Next(a.rec, ota.Cancelled{By: r.By})
		switch {
		case a.rec.Phase == ota.PhaseIdle || a.rec.Phase.Ended():
			return ota.NewRefused(ota.CodeNothing, errors.New("cannot cancel: no update is under way"))
		}
		if err := a.mayStop(r.By); err != nil {
			return err
		}
		switch {
		case a.rec.Phase == ota.PhaseArmed && a.rec.Offer.Type == ota.UpgradeForced:
			return a.obey(ctx, ota.GivenUp{By: r.By}) // its countdown
		case next.Phase == a.rec.Phase:
			return ota.NewRefused(ota.CodeBusy, fmt.Errorf("cannot cancel: the update is %s, it can only be confirmed or rolled back now", a.rec.Phase))
		}
		a.stopWork()
		a.feed(ctx, ota.Cancelled{By: r.By})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a.State(), nil
}

// First implements control.Once on the journal.
func (a *Agent) First(id string) (bool, error) {
	seen, err := a.Journal.CommandSeen(id)
	if err != nil || seen {
		return false, err
	}
	return true, a.Journal.Commit(journal.Change{Command: id})
}
